import { FormatError, PreimageError } from '../errors.ts';
import type { Checkpoint } from '../io/checkpoint.ts';
import { encodeSafetensors, type TensorToWrite } from '../io/safetensors-writer.ts';
import type { LayerLens, LinearLens } from './lens.ts';

/** Raised when lenses of older files would be read wrongly. */
const VERSION = '1';

/**
 * Writes lenses as safetensors: `layers.4.rest.embedding` and so on; metadata `model` (the digest of the weights they
 * were fitted on) and `lens` (the version of this layout).
 */
export function encodeLenses(lenses: readonly LayerLens[], model: string): Uint8Array<ArrayBuffer> {
  const tensors: TensorToWrite[] = [];
  const write = (name: string, data: Float32Array, ...shape: number[]) =>
    tensors.push({ name, dtype: 'F32', shape, data });
  for (const { layer, rms, first, rest } of lenses) {
    write(`layers.${layer}.rms`, Float32Array.of(rms), 1);
    for (const [place, { embedding, previous, intercept, covariance, kappa }] of Object.entries({ first, rest })) {
      const at = `layers.${layer}.${place}`;
      const d = intercept.length;
      write(`${at}.embedding`, embedding, d, d);
      if (previous) write(`${at}.previous`, previous, d, d);
      write(`${at}.intercept`, intercept, d);
      write(`${at}.covariance`, covariance, d, d);
      write(`${at}.kappa`, Float32Array.of(kappa), 1);
    }
  }
  return encodeSafetensors(tensors, { lens: VERSION, model });
}

/**
 * Reads the lens of a layer from a file of lenses.
 * @param model Digest of the weights it must have been fitted on.
 * @param width d
 * @returns Undefined when the file is of another model or version, or does not hold the layer.
 * @throws FormatError for a file whose tensors are not a lens.
 */
export async function readLens(
  file: Checkpoint,
  { model, layer, width: d }: { model: string; layer: number; width: number },
): Promise<LayerLens | undefined> {
  if (file.metadata.get('lens') !== VERSION || file.metadata.get('model') !== model) return undefined;
  if (!file.tensors.has(`layers.${layer}.rms`)) return undefined;

  async function values(name: string, size: number): Promise<Float32Array> {
    const read = await file.float32(`layers.${layer}.${name}`);
    if (read.length === size && read.every(Number.isFinite)) return read;
    throw new FormatError(
      `layers.${layer}.${name} in ${file.name} is not ${size} finite numbers.`,
      'Delete the file: the lens is then fitted again.',
    );
  }
  async function kappaOf(place: string): Promise<number> {
    const [kappa] = await values(`${place}.kappa`, 1);
    if (kappa > 0) return kappa;
    throw new FormatError(`${file.name} holds a kappa of ${kappa}.`, 'Delete the file: the lens is then fitted again.');
  }
  async function linear(place: string): Promise<LinearLens> {
    const hasPrevious = file.tensors.has(`layers.${layer}.${place}.previous`);
    return {
      embedding: await values(`${place}.embedding`, d * d),
      ...(hasPrevious && { previous: await values(`${place}.previous`, d * d) }),
      intercept: await values(`${place}.intercept`, d),
      covariance: await values(`${place}.covariance`, d * d),
      kappa: await kappaOf(place),
    };
  }
  const [rms] = await values('rms', 1);
  return { layer, rms, first: await linear('first'), rest: await linear('rest') };
}

/** As `readLens`, where a file that cannot be read counts as none: a lens can always be fitted again. */
export async function tryReadLens(...args: Parameters<typeof readLens>): Promise<LayerLens | undefined> {
  try {
    return await readLens(...args);
  } catch (error) {
    if (error instanceof PreimageError) return undefined;
    throw error;
  }
}
