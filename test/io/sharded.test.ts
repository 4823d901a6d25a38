import { describe, expect, test } from 'vitest';
import { FormatError, InputError, MissingTensorError, SourceError } from '../../src/errors.ts';
import { bytesFromArray, bytesFromBlob, filesSource } from '../../src/io/blobs.ts';
import { encodeSafetensors } from '../../src/io/safetensors-writer.ts';
import { openCheckpoint } from '../../src/io/sharded.ts';
import type { Source } from '../../src/io/source.ts';

const shard = (name: string, ...values: number[]) =>
  encodeSafetensors([{ name, dtype: 'F32', shape: [values.length], data: Float32Array.from(values) }], { part: name });

/** A source of files in memory that counts the files open. */
function source(
  files: Record<string, string | Uint8Array<ArrayBuffer>>,
): Source & { readonly openFiles: () => number } {
  const inner = filesSource('model', new Map(Object.entries(files).map(([path, part]) => [path, new Blob([part])])));
  let open = 0;
  return {
    name: inner.name,
    openFiles: () => open,
    async open(path) {
      const file = await inner.open(path);
      if (file !== undefined) open++;
      return file && { ...file, close: async () => void open-- };
    },
  };
}
const index = (weightMap: unknown) => JSON.stringify({ metadata: { total_size: 8 }, weight_map: weightMap });
const INDEX = 'model.safetensors.index.json';

test('one file', async () => {
  const files = source({ 'model.safetensors': shard('wte', 1, 2) });
  const checkpoint = await openCheckpoint(files);
  expect(await checkpoint.float32('wte')).toEqual(Float32Array.of(1, 2));
  await checkpoint.close();
  expect(files.openFiles()).toBe(0);
});

test('shards read as one checkpoint', async () => {
  const files = source({
    [INDEX]: index({ wte: 'model-1.safetensors', __proto__: undefined, wpe: 'sub/model-2.safetensors' }),
    'model-1.safetensors': shard('wte', 1, 2),
    'sub/model-2.safetensors': shard('wpe', 3, 4, 5),
  });
  const checkpoint = await openCheckpoint(files);
  expect([...checkpoint.tensors.keys()]).toEqual(['wte', 'wpe']);
  expect(checkpoint.tensors.get('wpe')).toMatchObject({ dtype: 'F32', shape: [3] });
  expect(checkpoint.metadata).toEqual(new Map([['part', 'wpe']]));
  expect(await checkpoint.float32('wte')).toEqual(Float32Array.of(1, 2));
  expect(await checkpoint.float64('wpe', 1)).toEqual(Float64Array.of(4, 5));
  expect((await checkpoint.bytes('wpe', 0, 1)).length).toBe(4);
  await expect(checkpoint.bytes('lm_head')).rejects.toThrow(MissingTensorError);
  await expect(checkpoint.bytes('wpe', 0, 4)).rejects.toThrow(InputError);
  await checkpoint.close();
  expect(files.openFiles()).toBe(0);
});

test('a tensor may be called __proto__', async () => {
  const files = source({
    [INDEX]: '{"weight_map":{"__proto__":"model-1.safetensors"}}',
    'model-1.safetensors': shard('__proto__', 7),
  });
  expect(await (await openCheckpoint(files)).float32('__proto__')).toEqual(Float32Array.of(7));
});

describe('shards outside the source are refused', () => {
  test.each([
    '../model-1.safetensors',
    'a/../../b',
    '/etc/passwd',
    'C:\\model',
    'a\\b',
    'C:model',
    './a',
    'a//b',
    '',
    'a\u0000b',
    '\ud800',
  ])('%j', async (name) => {
    const files = source({ [INDEX]: index({ wte: name }), [name]: shard('wte', 1) });
    await expect(openCheckpoint(files)).rejects.toThrow(FormatError);
    await expect(openCheckpoint(files)).rejects.toThrow(/plain names/);
  });
  test('a shard name that is no text', async () => {
    await expect(openCheckpoint(source({ [INDEX]: index({ wte: 1 }) }))).rejects.toThrow(FormatError);
  });
});

describe('every failure closes what was opened', () => {
  const good = shard('wte', 1);
  const both = index({ wte: 'a', wpe: 'b' });
  test.each<[string, Record<string, string | Uint8Array<ArrayBuffer>>, new (...a: never[]) => Error, RegExp]>([
    ['malformed file', { 'model.safetensors': 'GIF89a not tensors' }, FormatError, /model\.safetensors/],
    ['index that is not JSON', { [INDEX]: '<html>' }, FormatError, /not valid JSON/],
    ['index without weight_map', { [INDEX]: '{}' }, FormatError, /no object weight_map/],
    ['missing shard', { [INDEX]: both, a: good }, SourceError, /shard "b".*is missing/],
    ['malformed shard', { [INDEX]: both, a: good, b: good.subarray(0, 20) }, FormatError, /model\/b/],
    ['tensor that its shard lacks', { [INDEX]: both, a: good, b: good }, FormatError, /"wpe" into "b", which lacks it/],
    ['nothing', { 'config.json': '{}' }, SourceError, /no model\.safetensors or model\.safetensors\.index\.json/],
    ['a pickle', { 'pytorch_model.bin': 'PK' }, SourceError, /pytorch_model\.bin.*safe_serialization=True/],
  ])('%s', async (_, contents, type, message) => {
    const files = source(contents);
    const error = await openCheckpoint(files).then(
      () => undefined,
      (e) => e,
    );
    expect(error).toBeInstanceOf(type);
    expect(error.message).toMatch(message);
    expect(files.openFiles()).toBe(0);
  });
});

describe('files in memory', () => {
  const content = Uint8Array.of(1, 2, 3, 4);
  test.each([
    bytesFromArray('an array', content.subarray(1)),
    bytesFromBlob('a blob', new Blob([content.subarray(1)])),
  ])('$name', async (file) => {
    expect(file.sizeBytes).toBe(3);
    expect(await file.read(1, 3)).toEqual(Uint8Array.of(3, 4));
    expect(await file.read(3, 3)).toEqual(new Uint8Array());
    for (const [begin, end] of [
      [0, 4],
      [-1, 2],
      [2, 1],
      [0.5, 2],
    ]) {
      await expect(file.read(begin, end)).rejects.toThrow(SourceError);
    }
  });

  test('a blob that cannot be read', async () => {
    const gone = { size: 4, slice: () => ({ arrayBuffer: () => Promise.reject(new Error('NotReadable')) }) };
    const file = bytesFromBlob('wte.bin', gone as unknown as Blob);
    await expect(file.read(0, 4)).rejects.toThrow(/wte\.bin.*NotReadable.*Pick the file again/);
  });
});
