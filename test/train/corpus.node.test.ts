import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { InputError, SourceError } from '../../src/errors.ts';
import { readCorpus } from '../../src/train/corpus.node.ts';

let folder: string;
let clock = 0;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'preimage-corpus-'));
  clock = 0;
  vi.spyOn(performance, 'now').mockImplementation(() => clock);
});
afterEach(async () => {
  vi.restoreAllMocks();
  await rm(folder, { recursive: true });
});

/** Codes of characters, each of which takes a second. */
function slow() {
  const encode = vi.fn((text: string) => {
    clock += 1000 * text.length;
    return Uint32Array.from(text, (c) => c.codePointAt(0)!);
  });
  return { encode, encoder: { digest: 'd'.repeat(64), tokenizer: { vocabularySize: 128, encode } as never } };
}

async function corpus(text: string | Uint8Array): Promise<string> {
  await writeFile(join(folder, 'text'), text);
  return join(folder, 'text');
}

test('what took long to encode is kept', async () => {
  const { encode, encoder } = slow();
  const path = await corpus('abcde');
  const cache = join(folder, 'cache');
  const first = await readCorpus(path, encoder, {}, cache);
  expect(first?.tokens).toEqual(Uint16Array.of(97, 98, 99, 100, 101));
  expect(await readCorpus(path, encoder, {}, cache)).toEqual(first);
  expect(encode).toHaveBeenCalledTimes(1);
  // Another text, another tokenizer and a cache that is broken are encoded.
  await readCorpus(await corpus('abcdf'), encoder, {}, cache);
  await readCorpus(path, { ...encoder, digest: 'e'.repeat(64) }, {}, cache);
  for (const file of await readdir(cache)) await writeFile(join(cache, file), 'no ids');
  expect((await readCorpus(path, encoder, {}, cache))?.tokens).toEqual(Uint16Array.of(97, 98, 99, 100, 102));
  expect(encode).toHaveBeenCalledTimes(4);
});

test('what took no time is not kept, and what is given up neither', async () => {
  const { encoder } = slow();
  const cache = join(folder, 'cache');
  await readCorpus(await corpus('ab'), encoder, {}, cache);
  expect(await readCorpus(await corpus('abcdef'), encoder, { signal: AbortSignal.abort() }, cache)).toBeUndefined();
  expect(await readdir(folder)).toEqual(['text']);
});

test('a cache that cannot be written does no harm', async () => {
  const { encoder } = slow();
  const path = await corpus('abcde');
  expect((await readCorpus(path, encoder, {}, join(path, 'cache')))?.tokens).toHaveLength(5);
});

test('bytes are taken as they are', async () => {
  const path = await corpus(Uint8Array.of(0xff, 0, 0xc3));
  const { tokens, digest } = (await readCorpus(path, 'bytes'))!;
  expect([...tokens]).toEqual([0xff, 0, 0xc3]);
  expect(digest).toMatch(/^[0-9a-f]{64}$/);
  expect([...(await readFile(path))]).toEqual([...tokens]);
});

test('a file that is not UTF-8, or not there, is refused', async () => {
  const { encoder } = slow();
  const path = await corpus(Uint8Array.of(0xff, 0, 0xc3));
  await expect(readCorpus(path, encoder)).rejects.toThrow(InputError);
  await expect(readCorpus(path, encoder)).rejects.toThrow(/is not UTF-8.*--tokenizer bytes/);
  await expect(readCorpus(join(folder, 'none'), encoder)).rejects.toThrow(SourceError);
});
