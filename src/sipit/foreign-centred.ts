import type { Checkpoint } from '../io/checkpoint.ts';
import { layouts } from '../model/layout.ts';
import type { ModelFiles } from '../model/load.ts';
import { resolveParameters } from '../model/parameters.ts';
import { sizeOf } from '../reference/shape.ts';

/** What rounding to bf16 leaves of a mean that was 0, as a share of the row's norm. */
const ROUNDING = 2 ** -8;

/**
 * Whether every row has mean 0, as rows of TransformerLens have by default (`center_writing_weights`): it takes the
 * mean off whatever is added to the residual stream, which no LayerNorm sees.
 *
 * @param rows [T, d]
 * @param d Width of a row.
 */
export function isCentred(rows: Float32Array, d: number): boolean {
  for (let at = 0; at < rows.length; at += d) {
    let sum = 0;
    let squares = 0;
    for (let i = 0; i < d; i++) {
      sum += rows[at + i];
      squares += rows[at + i] ** 2;
    }
    // Errors of d elements add up as their root.
    if (!(Math.abs(sum) <= ROUNDING * Math.sqrt(squares))) return false;
  }
  return rows.length > 0;
}

/**
 * The model whose residual states are those of another with the mean of each row taken off: what writes to the residual
 * stream, embeddings, attention and MLP outputs, is centred over its outputs. To be loaded for states that `isCentred`.
 * Its logits differ from the original's where the head is tied.
 *
 * Source: `center_writing_weights` of TransformerLens.
 */
export function centred(files: ModelFiles): ModelFiles {
  const { config, checkpoint } = files;
  const { attentionOut, transposed } = layouts[config.family];
  const writers = [
    'wte',
    'wpe',
    ...Array.from({ length: config.layers }, (_, l) => [`h.${l}.${attentionOut}`, `h.${l}.mlp.c_proj`]),
  ].flat();
  const names = resolveParameters(config, checkpoint);
  /** By stored name: whether the outputs are the rows of the matrix. */
  const writes = new Map<string, boolean>();
  for (const writer of writers) {
    const isTable = writer === 'wte' || writer === 'wpe';
    for (const part of ['weight', 'bias']) {
      const stored = names.get(`${writer}.${part}`);
      if (stored !== undefined) writes.set(stored, transposed && !isTable && part === 'weight');
    }
  }
  const means = new Map<string, Promise<Float32Array>>();

  async function float32(name: string, begin = 0, end?: number): Promise<Float32Array<ArrayBuffer>> {
    const outputsAreRows = writes.get(name);
    if (outputsAreRows === undefined) return checkpoint.float32(name, begin, end);
    const { shape } = checkpoint.tensors.get(name)!;
    const width = shape.at(-1)!;
    const last = end ?? sizeOf(shape);
    if (outputsAreRows) {
      const mean = means.get(name) ?? meanRow(checkpoint, name, width);
      means.set(name, mean);
      const row = await mean;
      return (await checkpoint.float32(name, begin, last)).map((value, i) => value - row[(begin + i) % width]);
    }
    // Whole rows, of which the ends are cut off again.
    const from = Math.floor(begin / width) * width;
    const values = await checkpoint.float32(name, from, Math.ceil(last / width) * width);
    for (let at = 0; at < values.length; at += width) {
      const row = values.subarray(at, at + width);
      const mean = row.reduce((sum, value) => sum + value, 0) / width;
      row.forEach((value, i) => {
        row[i] = value - mean;
      });
    }
    return values.slice(begin - from, last - from);
  }

  return {
    ...files,
    checkpoint: { ...checkpoint, float32 },
    digest: async () => `${await files.digest()}-centred`,
  };
}

/** The mean of a matrix's rows, [width]. */
async function meanRow(checkpoint: Checkpoint, name: string, width: number): Promise<Float32Array> {
  const values = await checkpoint.float32(name);
  const sums = new Float64Array(width);
  values.forEach((value, i) => {
    sums[i % width] += value;
  });
  return Float32Array.from(sums, (sum) => sum / (values.length / width));
}
