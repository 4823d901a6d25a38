import { mkdir, mkdtemp, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { SourceError } from '../../src/errors.ts';
import { fileBytes, folderSource, writeFileAtomic } from '../../src/io/folder.node.ts';

const rename = vi.hoisted(() => vi.fn());
vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  rename.mockImplementation(real.rename);
  return { ...real, rename };
});

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'preimage-'));
});
afterEach(() => rm(folder, { recursive: true }));

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (e) => e,
  );

test('a file reads by position', async () => {
  await writeFile(join(folder, 'a'), Uint8Array.of(1, 2, 3, 4));
  const file = await fileBytes(join(folder, 'a'));
  expect(file.sizeBytes).toBe(4);
  expect(await Promise.all([file.read(2, 4), file.read(0, 1)])).toEqual([Uint8Array.of(3, 4), Uint8Array.of(1)]);
  await expect(file.read(2, 5)).rejects.toThrow(/\[2, 5\) are not inside its 4 bytes/);
  await file.close();
});

test('a file that shrinks under the reader is an error, not zeros', async () => {
  await writeFile(join(folder, 'a'), new Uint8Array(100));
  const file = await fileBytes(join(folder, 'a'));
  await truncate(join(folder, 'a'), 40);
  await expect(file.read(20, 80)).rejects.toThrow(/ends at byte 40, though it had 100 bytes/);
  await file.close();
});

test('a folder holds files or does not', async () => {
  await mkdir(join(folder, 'sub'));
  await writeFile(join(folder, 'sub', 'config.json'), '{}');
  const source = folderSource(folder);
  const file = await source.open('sub/config.json');
  expect(file?.sizeBytes).toBe(2);
  await file?.close();
  expect(await source.open('config.json')).toBeUndefined();
  expect(await source.open('sub/config.json/deeper')).toBeUndefined();
  expect(await source.has?.('sub/config.json')).toBe(true);
  expect(await source.has?.('config.json')).toBe(false);
});

test('errors say what is wrong with the path', async () => {
  await writeFile(join(folder, 'file'), 'x');
  await symlink('loop', join(folder, 'loop'));
  const cases: [() => Promise<unknown>, RegExp][] = [
    [() => folderSource(join(folder, 'nowhere')).open('config.json'), /nowhere could not be opened.*typing error/],
    [() => folderSource(join(folder, 'file')).open('config.json'), /is a file, not a folder/],
    [() => fileBytes(join(folder, 'nowhere')), /nowhere could not be opened: no such file/],
    [() => fileBytes(folder), /is not a file/],
    [() => folderSource(folder).open('loop'), /loop could not be opened: too many symbolic links/],
  ];
  for (const [open, message] of cases) {
    const error = await failure(open());
    expect(error).toBeInstanceOf(SourceError);
    expect(error.message).toMatch(message);
  }
});

test('a file is replaced whole', async () => {
  const path = join(folder, 'model.safetensors');
  await writeFileAtomic(path, Uint8Array.of(1));
  await writeFileAtomic(path, Uint8Array.of(2, 3));
  expect(new Uint8Array(await readFile(path))).toEqual(Uint8Array.of(2, 3));
  expect(await readdir(folder)).toEqual(['model.safetensors']);
});

test('a failed write leaves the old file and nothing else', async () => {
  const path = join(folder, 'model.safetensors');
  await writeFileAtomic(path, Uint8Array.of(1));
  rename.mockRejectedValueOnce(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' }));
  const error = await failure(writeFileAtomic(path, Uint8Array.of(2, 3)));
  expect(error).toBeInstanceOf(SourceError);
  expect(error.message).toMatch(/written \(2 bytes\).*Free space/);
  expect(new Uint8Array(await readFile(path))).toEqual(Uint8Array.of(1));
  expect(await readdir(folder)).toEqual(['model.safetensors']);
  await expect(writeFileAtomic(join(folder, 'no', 'x'), Uint8Array.of(1))).rejects.toThrow(/Check the path/);
});
