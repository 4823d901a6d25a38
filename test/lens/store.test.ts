import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { InputError, type PreimageError, SourceError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { bytesFromArray } from '../../src/io/blobs.ts';
import type { FileCache } from '../../src/io/cache.ts';
import { opfsCache } from '../../src/io/opfs.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { encodeLenses, readLens } from '../../src/lens/file.ts';
import { fitLens } from '../../src/lens/fit.ts';
import type { LayerLens } from '../../src/lens/lens.ts';
import { LENS_FILE, type LensOptions, lensesOf } from '../../src/lens/store.ts';
import { type LoadedModel, loadModel, type ModelFiles, openModel } from '../../src/model/load.ts';

let context: Context;
let files: ModelFiles;
let digest: string;
/** Lenses of layers 1 and 2 as they come out of a fit. */
let fitted: LayerLens[];
beforeAll(async () => {
  context = await testContext();
  files = await openModel(checkoutSource('test/data/gpt2-unscaled-attention')); // 11 tokens, width 7, 2 layers
  const model = await freshModel();
  digest = await model.digest();
  fitted = await fitLens(model, [1, 2]);
});
afterAll(async () => {
  await files.checkpoint.close();
  context.destroy();
});

/** A model that no lens has been asked of yet. @param lensFile What opening its own file of lenses gives. */
const freshModel = (lensFile: () => Promise<Uint8Array | undefined> = async () => undefined): Promise<LoadedModel> =>
  loadModel(context, {
    ...files,
    async open(path) {
      const bytes = path === LENS_FILE ? await lensFile() : undefined;
      return bytes && bytesFromArray(path, bytes);
    },
  });

/** A cache in memory that notes what is asked of it. */
function memoryCache(): FileCache & { readonly files: Map<string, Uint8Array>; readonly opened: string[] } {
  const kept = new Map<string, Uint8Array>();
  const opened: string[] = [];
  return {
    files: kept,
    opened,
    async open(key) {
      opened.push(key);
      const bytes = kept.get(key);
      return bytes && bytesFromArray(key, bytes);
    },
    async writer(key) {
      let parts: number[] = [];
      return {
        sizeBytes: 0,
        validator: undefined,
        restart: async () => {
          parts = [];
        },
        append: async (bytes) => {
          parts.push(...bytes);
        },
        commit: async () => void kept.set(key, Uint8Array.from(parts)),
        close: async () => {},
      };
    },
  };
}

const keyOf = (layer: number): string => `lens/${digest}/${layer}.safetensors`;
/** A lens that can be told from a fitted one. */
const marked = (lens: LayerLens, rms: number): LayerLens => ({ ...lens, rms });

let cache: ReturnType<typeof memoryCache>;
let fits: (readonly number[])[];
let options: LensOptions;
beforeEach(() => {
  cache = memoryCache();
  fits = [];
  options = { cache, onFit: (layers) => fits.push(layers) };
});

describe('a lens is taken', () => {
  test('from a fit at first, which is kept; then from memory, and by another process from the cache', async () => {
    const model = await freshModel();
    const first = await lensesOf(model, [2, 1], options);
    expect(first).toEqual([fitted[1], fitted[0]]);
    expect(fits).toEqual([[2, 1]]);
    expect([...cache.files.keys()].sort()).toEqual([keyOf(1), keyOf(2)]);

    const asked = cache.opened.length;
    const again = await lensesOf(model, [1, 2], options);
    expect(again[0]).toBe(first[1]);
    expect(cache.opened).toHaveLength(asked);

    expect(await lensesOf(await freshModel(), [1, 2], options)).toEqual(fitted);
    expect(fits).toHaveLength(1);
  });

  test("from the model's own file before the cache", async () => {
    const own = encodeLenses([marked(fitted[1], 200)], digest);
    cache.files.set(keyOf(1), encodeLenses([marked(fitted[0], 10)], digest));
    cache.files.set(keyOf(2), encodeLenses([marked(fitted[1], 20)], digest));
    const lenses = await lensesOf(await freshModel(async () => own), [1, 2], options);
    expect(lenses.map(({ rms }) => rms)).toEqual([10, 200]);
    expect(fits).toEqual([]);
  });

  test('from a fit for no more layers than are missing, each once', async () => {
    cache.files.set(keyOf(2), encodeLenses([marked(fitted[1], 20)], digest));
    const lenses = await lensesOf(await freshModel(), [2, 1, 1, 2], options);
    expect(lenses.map(({ layer, rms }) => [layer, rms])).toEqual([
      [2, 20],
      [1, fitted[0].rms],
      [1, fitted[0].rms],
      [2, 20],
    ]);
    expect(fits).toEqual([[1]]);
    expect(cache.files.size).toBe(2);
  });

  test('without a fit worth telling of for layer 0, the embedding', async () => {
    const [lens] = await lensesOf(await freshModel(), [0], options);
    expect(lens).toMatchObject({ layer: 0, first: { kappa: 1 } });
    expect(lens.rest).toEqual(lens.first);
    expect(fits).toEqual([]);
  });

  test('for no layers from nowhere', async () => {
    expect(await lensesOf(await freshModel(), [], options)).toEqual([]);
    expect(cache.opened).toEqual([]);
  });
});

/** A lens file of layer 1 with its header changed, the same in length. */
function withHeader(change: (header: string) => string): Uint8Array {
  const bytes = encodeLenses([fitted[0]], digest);
  const size = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = change(new TextDecoder().decode(bytes.subarray(8, 8 + size)));
  expect(header).toHaveLength(size);
  bytes.set(new TextEncoder().encode(header), 8);
  return bytes;
}

const BAD_FILES: [string, () => Uint8Array][] = [
  ['that is empty', () => new Uint8Array()],
  ['cut off in its header', () => encodeLenses([fitted[0]], digest).subarray(0, 100)],
  ['cut off in the middle', () => encodeLenses([fitted[0]], digest).subarray(0, 1500)],
  ['without its last byte', () => encodeLenses([fitted[0]], digest).slice(0, -1)],
  ['of something else', () => new TextEncoder().encode('<!doctype html><title>Not found</title>'.repeat(50))],
  ["of another model's digest", () => encodeLenses([marked(fitted[0], 7)], digest.replace(/^./, '_'))],
  ['of another version', () => withHeader((header) => header.replace(/"lens":"\d"/, '"lens":"_"'))],
  ['that lacks a tensor', () => withHeader((header) => header.replace('first.intercept', 'first.interzept'))],
  ['with a tensor of another size', () => encodeLenses([{ ...marked(fitted[0], 7), ...wider(fitted[0]) }], digest)],
  ['with a NaN', () => encodeLenses([marked(fitted[0], Number.NaN)], digest)],
  ['of another layer', () => encodeLenses([fitted[1]], digest)],
];

/** The lens of a model with one more dimension. */
const wider = ({ first }: LayerLens): Pick<LayerLens, 'first' | 'rest'> => {
  const matrix = new Float32Array(64).fill(0.5);
  const linear = { embedding: matrix, intercept: new Float32Array(8), covariance: matrix, kappa: first.kappa };
  return { first: linear, rest: { ...linear, previous: matrix } };
};

describe('a cached file is not used but fitted again and replaced', () => {
  test.each(BAD_FILES)('%s', async (_, bytes) => {
    cache.files.set(keyOf(1), bytes());
    expect(await lensesOf(await freshModel(), [1], options)).toEqual([fitted[0]]);
    expect(fits).toEqual([[1]]);
    const stored = await openSafetensors(bytesFromArray('lens', cache.files.get(keyOf(1))!));
    expect(await readLens(stored, { model: digest, layer: 1, width: 7 })).toEqual(fitted[0]);
  });
});

describe("a model's own file is passed over", () => {
  test.each(BAD_FILES)('%s', async (_, bytes) => {
    cache.files.set(keyOf(1), encodeLenses([marked(fitted[0], 10)], digest));
    const [lens] = await lensesOf(await freshModel(async () => bytes()), [1], options);
    expect(lens.rms).toBe(10);
    expect(fits).toEqual([]);
  });

  test('where it cannot be had, as without a network', async () => {
    cache.files.set(keyOf(1), encodeLenses([marked(fitted[0], 10)], digest));
    const offline = () => Promise.reject(new SourceError('huggingface.co cannot be reached.', 'Go online.'));
    expect((await lensesOf(await freshModel(offline), [1], options))[0].rms).toBe(10);
  });
});

describe('a cache', () => {
  const refuse = () => Promise.reject(new SourceError('The disk is full.', 'Free some space.'));

  test.each([
    ['that cannot be written', (): FileCache => ({ ...memoryCache(), writer: refuse })],
    ['that can be neither read nor written', (): FileCache => ({ open: refuse, writer: refuse })],
    [
      'that fills up',
      (): FileCache => {
        const { open, writer } = memoryCache();
        return { open, writer: async (key) => ({ ...(await writer(key)), append: refuse }) };
      },
    ],
  ])('%s is told of, and the lens is used all the same', async (_, make) => {
    const errors: PreimageError[] = [];
    const onCacheError = (error: PreimageError) => errors.push(error);
    const model = await freshModel();
    const broken = { ...options, cache: make(), onCacheError };
    const [lens] = await lensesOf(model, [1], broken);
    expect(lens).toEqual(fitted[0]);
    expect(errors.map(String)).toEqual([expect.stringContaining('The disk is full.')]);
    expect((await lensesOf(model, [1], broken))[0]).toBe(lens);
    expect(fits).toEqual([[1]]);
  });

  test('that breaks by a fault of ours is not passed over', async () => {
    const broken: FileCache = { ...cache, open: () => Promise.reject(new TypeError('a fault')) };
    await expect(lensesOf(await freshModel(), [1], { ...options, cache: broken })).rejects.toThrow(TypeError);
  });

  test('gets nothing of a layer that does not exist, nor of a fit that was stopped', async () => {
    const model = await freshModel();
    await expect(lensesOf(model, [1, 3], options)).rejects.toThrow(InputError);
    await expect(lensesOf(model, [1], { ...options, signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      'enough',
    );
    expect(cache.files.size).toBe(0);
    expect(await lensesOf(model, [1], options)).toEqual([fitted[0]]);
  });
});

describe("in the browser's file system", () => {
  const storage = typeof navigator === 'undefined' ? undefined : navigator.storage;
  const hasStorage = storage?.getDirectory !== undefined;
  const NAME = 'preimage-lens-test';
  afterEach(async () => {
    if (hasStorage) await (await storage.getDirectory()).removeEntry(NAME, { recursive: true }).catch(() => {});
  });

  test.skipIf(!hasStorage)('lenses are kept, and replaced where they are of no use', async () => {
    const root = await (await storage!.getDirectory()).getDirectoryHandle(NAME, { create: true });
    const kept = { ...options, cache: opfsCache(root) };
    expect(await lensesOf(await freshModel(), [1, 2], kept)).toEqual(fitted);
    expect(await lensesOf(await freshModel(), [1, 2], { ...options, cache: opfsCache(root) })).toEqual(fitted);
    expect(fits).toEqual([[1, 2]]);

    const writer = await kept.cache.writer(keyOf(1));
    await writer.restart(undefined);
    await writer.append(encodeLenses([fitted[0]], digest).subarray(0, 1000), undefined);
    await writer.commit();
    await writer.close();
    expect(await lensesOf(await freshModel(), [1, 2], kept)).toEqual(fitted);
    expect(await lensesOf(await freshModel(), [1, 2], kept)).toEqual(fitted);
    expect(fits).toEqual([[1, 2], [1]]);
  });
});
