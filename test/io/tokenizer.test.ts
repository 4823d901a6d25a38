import { describe, expect, test } from 'vitest';
import { FormatError, InputError } from '../../src/errors.ts';
import { filesSource } from '../../src/io/blobs.ts';
import { loadTokenizer } from '../../src/io/tokenizer.ts';

/** Byte-level BPE over a few characters: 'Ġ' is a space, 'ð', 'Ł', 'ĺ', 'Ģ' are the bytes f0 9f 98 80 of an emoji. */
const tiny = {
  version: '1.0',
  added_tokens: [{ id: 10, content: '<end>', special: true, normalized: false }],
  normalizer: null,
  pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
  post_processor: null,
  decoder: { type: 'ByteLevel' },
  model: {
    type: 'BPE',
    unk_token: null,
    vocab: { a: 0, b: 1, '.': 2, Ġ: 3, ab: 4, ð: 5, Ł: 6, ĺ: 7, Ģ: 8, Ġab: 9 },
    merges: ['a b', 'Ġ ab'],
  },
};
const source = (files: Record<string, unknown>) =>
  filesSource(
    'tiny',
    new Map(
      Object.entries(files).map(([path, value]) => [
        path,
        new Blob([typeof value === 'string' ? value : JSON.stringify(value)]),
      ]),
    ),
  );
const load = async () => (await loadTokenizer(source({ 'tokenizer.json': tiny })))!;

describe('a tokenizer', () => {
  test('encodes and decodes without moving a space', async () => {
    const tokenizer = await load();
    expect(tokenizer.vocabularySize).toBe(11);
    expect(tokenizer.encode('ab ab .')).toEqual(Uint32Array.of(4, 9, 3, 2));
    expect(tokenizer.decode([4, 9, 3, 2])).toBe('ab ab .');
    expect(tokenizer.decode(tokenizer.encode('a<end>b'))).toBe('a<end>b');
    expect([...tokenizer.encode('a<end>')]).toEqual([0, 10]);
  });

  test('knows the empty text', async () => {
    const tokenizer = await load();
    expect(tokenizer.encode('')).toEqual(new Uint32Array());
    expect(tokenizer.decode([])).toBe('');
  });

  test('shows tokens', async () => {
    const tokenizer = await load();
    expect([9, 10, 5].map(tokenizer.token)).toEqual([' ab', '<end>', '\uFFFD']);
  });

  test('refuses ids outside the vocabulary', async () => {
    const tokenizer = await load();
    for (const id of [11, -1, 0.5, Number.NaN]) expect(() => tokenizer.decode([0, id])).toThrow(InputError);
    expect(() => tokenizer.token(11)).toThrow(/Token id 11.*from 0 to 10/);
  });

  test('refuses text that has neither a token nor an unknown token', async () => {
    const words = {
      ...tiny,
      added_tokens: [],
      pre_tokenizer: { type: 'Whitespace' },
      decoder: { type: 'WordPiece', prefix: '##', cleanup: false },
      model: { type: 'WordPiece', vocab: { a: 0, '##b': 1 }, unk_token: '[UNK]', continuing_subword_prefix: '##' },
    };
    const tokenizer = (await loadTokenizer(source({ 'tokenizer.json': words })))!;
    expect([...tokenizer.encode('ab')]).toEqual([0, 1]);
    expect(() => tokenizer.encode('a c')).toThrow(InputError);
  });
});

describe('a stream', () => {
  const stream = async (ids: number[]) => {
    const decoder = (await load()).streamDecoder();
    return [...ids.map((id) => decoder.push(id)), decoder.end()];
  };
  test('gives a character once its last byte came', async () => {
    expect(await stream([9, 5, 6, 7, 8, 2])).toEqual([' ab', '', '', '', '😀', '.', '']);
  });
  test('gives up on bytes that cannot become a character', async () => {
    expect(await stream([5, 6, 0])).toEqual(['', '', '\uFFFDa', '']);
    expect(await stream([5, 10, 5])).toEqual(['', '\uFFFD<end>', '', '\uFFFD']);
    expect(await stream([8, 8, 5])).toEqual(['', '', '', '\uFFFD\uFFFD\uFFFD']);
  });
  test('joined is the text of all ids, whatever they are', async () => {
    const tokenizer = await load();
    let state = 1;
    for (let round = 0; round < 200; round++) {
      const decoder = tokenizer.streamDecoder();
      const ids = Array.from({ length: round % 23 }, () => {
        state = (state * 48271) % 2147483647;
        return state % 11;
      });
      const pieces = ids.map((id) => decoder.push(id));
      expect(pieces.join('') + decoder.end()).toBe(tokenizer.decode(ids));
      expect(decoder.push(0) + decoder.end()).toBe('a');
    }
  });
});

test('a model without a tokenizer has none', async () => {
  expect(await loadTokenizer(source({ 'config.json': {} }))).toBeUndefined();
});

test.each<[string, Record<string, unknown>]>([
  ['not JSON', { 'tokenizer.json': '{"model"' }],
  ['not an object', { 'tokenizer.json': [] }],
  ['no model', { 'tokenizer.json': { added_tokens: [] } }],
  ['an unknown kind of model', { 'tokenizer.json': { ...tiny, model: { type: 'Runes' } } }],
  ['no vocabulary', { 'tokenizer.json': { ...tiny, added_tokens: [], model: { type: 'BPE', vocab: {}, merges: [] } } }],
  ['added tokens that are none', { 'tokenizer.json': { ...tiny, added_tokens: 5 } }],
  ['a config that is a list', { 'tokenizer.json': tiny, 'tokenizer_config.json': [] }],
])('malformed: %s', async (_, files) => {
  await expect(loadTokenizer(source(files))).rejects.toThrow(FormatError);
  await expect(loadTokenizer(source(files))).rejects.toThrow(/tiny.*tokenizer\.json/);
});
