import { PreimageError } from '../errors.ts';
import { bytesFromArray } from '../io/blobs.ts';
import type { FileCache } from '../io/cache.ts';
import { openSafetensors } from '../io/safetensors.ts';
import type { ByteSource } from '../io/source.ts';
import type { LoadedModel } from '../model/load.ts';
import { encodeLenses, tryReadLens } from './file.ts';
import { type FitOptions, fitLens } from './fit.ts';
import type { LayerLens } from './lens.ts';

/** A model's own file of lenses, beside its weights. */
export const LENS_FILE = 'lens.safetensors';

/** Where lenses come from, besides the model's own file. */
export interface LensOptions extends FitOptions {
  /** Keeps fitted lenses: `folderCache` under Node, `opfsCache` in browsers. */
  readonly cache?: FileCache;
  /** Called before a fit, which takes about as long as 60 forward passes of 128 tokens. */
  readonly onFit?: (layers: readonly number[]) => void;
  /** Called when a fitted lens could not be kept; it is used all the same. */
  readonly onCacheError?: (error: PreimageError) => void;
}

const known = new WeakMap<LoadedModel, Map<number, LayerLens>>();

/**
 * The lenses of some layers: those used before, those of the model's `lens.safetensors`, those of the cache under the
 * digest of the weights; what is left is fitted, all in one set of forward passes, and kept.
 *
 * @returns In the order of `layers`.
 * @throws InputError for layers the model does not have; what `fitLens` throws.
 */
export async function lensesOf(
  model: LoadedModel,
  layers: readonly number[],
  { cache, onFit, onCacheError, ...fit }: LensOptions = {},
): Promise<LayerLens[]> {
  const lenses = known.get(model) ?? new Map<number, LayerLens>();
  known.set(model, lenses);
  const isMissing = (layer: number) => !lenses.has(layer);
  if (layers.some(isMissing)) {
    const digest = await model.digest();
    const load = async (file: Promise<ByteSource | undefined> | undefined, wanted: readonly number[]) => {
      for (const lens of await readAll(file, wanted, digest, model.config.width)) lenses.set(lens.layer, lens);
    };
    await load(model.open(LENS_FILE), layers.filter(isMissing));
    for (const layer of layers.filter(isMissing)) await load(cache?.open(lensKey(digest, layer)), [layer]);
    const missing = [...new Set(layers)].filter(isMissing);
    if (missing.length > 0) {
      if (missing.some((layer) => layer > 0)) onFit?.(missing);
      for (const lens of await fitLens(model, missing, fit)) {
        lenses.set(lens.layer, lens);
        await keep(cache, lensKey(digest, lens.layer), encodeLenses([lens], digest), onCacheError);
      }
    }
  }
  return layers.map((layer) => lenses.get(layer)!);
}

/** Where a cache keeps the lens of a layer of the model with this digest. */
export const lensKey = (digest: string, layer: number): string => `lens/${digest}/${layer}.safetensors`;

/** The lenses wanted that a file holds; it is closed. One that cannot be opened or read, as when offline, holds none. */
async function readAll(
  opening: Promise<ByteSource | undefined> | undefined,
  layers: readonly number[],
  model: string,
  width: number,
): Promise<LayerLens[]> {
  let file: ByteSource | undefined;
  try {
    file = await opening;
    if (!file) return [];
    // Read as a whole: a lens has many small tensors, and a URL would be asked for each.
    const bytes = await file.read(0, file.sizeBytes);
    const checkpoint = await openSafetensors(bytesFromArray(file.name, bytes));
    const lenses = await Promise.all(layers.map((layer) => tryReadLens(checkpoint, { model, layer, width })));
    return lenses.filter((lens) => lens !== undefined);
  } catch (error) {
    if (error instanceof PreimageError) return [];
    throw error;
  } finally {
    await file?.close();
  }
}

async function keep(
  cache: FileCache | undefined,
  key: string,
  bytes: Uint8Array,
  onError: LensOptions['onCacheError'],
): Promise<void> {
  if (!cache) return;
  try {
    const writer = await cache.writer(key);
    try {
      await writer.restart(undefined);
      await writer.append(bytes, bytes.length);
      await writer.commit();
    } finally {
      await writer.close();
    }
  } catch (error) {
    if (!(error instanceof PreimageError)) throw error;
    onError?.(error);
  }
}
