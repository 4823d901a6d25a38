import { describe, expect, test } from 'vitest';
import { checkoutSource } from '#context';
import { bytesFromArray } from '../../src/io/blobs.ts';
import { loadTokenizer } from '../../src/io/tokenizer.ts';
import { byteTokenizerJson } from '../../src/train/byte-tokenizer.ts';
import { encodeText } from '../../src/train/encode.ts';

/** Text with all that tokenizers stumble over at the ends of pieces, longer than several of them. */
const TEXT = Array.from(
  { length: 8000 },
  (_, i) => `Line ${i} isn't "short"\n\n  and ends in words\r\nor, at times, ${i % 7 ? 'not.' : 'in é\n\n\n'}\t\n`,
).join('');

describe('a long text', () => {
  test('gives the ids of the whole, with progress', async () => {
    const tokenizer = (await loadTokenizer(checkoutSource('weights')))!;
    const shares: number[] = [];
    const ids = await encodeText(TEXT, tokenizer, { onProgress: (share) => shares.push(share) });
    expect(ids).toBeInstanceOf(Uint16Array);
    expect(Uint32Array.from(ids!)).toEqual(tokenizer.encode(TEXT));
    expect(shares.length).toBeGreaterThan(4);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    expect(shares.at(-1)).toBe(1);
  });

  test('gives the ids of the whole with a tokenizer that joins lines', async () => {
    // Ids tell how far from the beginning of the text they are.
    const counting = { vocabularySize: 2 ** 20, encode: (text: string) => Uint32Array.from(text, (_, i) => i >> 12) };
    const ids = await encodeText(TEXT, counting);
    expect(ids).toBeInstanceOf(Uint32Array);
    expect(ids).toEqual(counting.encode(TEXT));
  });

  test('of two pieces is tried, too', async () => {
    const text = TEXT.slice(0, 1.5 * 2 ** 16);
    const counting = { vocabularySize: 2 ** 20, encode: (part: string) => Uint32Array.from(part, (_, i) => i >> 12) };
    expect(await encodeText(text, counting)).toEqual(counting.encode(text));
  });

  test('can be given up', async () => {
    const tokenizer = { vocabularySize: 2, encode: (text: string) => new Uint32Array(text.length) };
    expect(await encodeText(TEXT, tokenizer, { signal: AbortSignal.abort() })).toBeUndefined();
  });

  test('may be no text at all', async () => {
    const tokenizer = { vocabularySize: 2, encode: (text: string) => new Uint32Array(text.length) };
    expect(await encodeText('', tokenizer)).toHaveLength(0);
  });
});

test('the tokenizer of bytes has the byte as the id of each token', async () => {
  const json = new TextEncoder().encode(JSON.stringify(byteTokenizerJson()));
  const open = async (file: string) => (file === 'tokenizer.json' ? bytesFromArray(file, json) : undefined);
  const tokenizer = (await loadTokenizer({ name: 'bytes', open }))!;
  expect(tokenizer.vocabularySize).toBe(256);
  const text = 'Tabs\t, ends\r\n, "quotes", \u0000, é, 漢字 and 🙂.';
  const bytes = new TextEncoder().encode(text);
  expect([...tokenizer.encode(text)]).toEqual([...bytes]);
  expect(tokenizer.decode(bytes)).toBe(text);
  // Bytes that no UTF-8 text holds have a token, too.
  expect(tokenizer.decode([0xff])).toBe('\uFFFD');
});
