import { loadReferenceModel } from '../../model/reference.ts';
import { add } from '../../reference/elementwise.ts';
import { matmul } from '../../reference/matmul.ts';
import { readAll } from '../../tensor/tensor.ts';
import type { Vector } from '../requests.ts';
import { type Denoiser, POINT, POINT_EMBEDDING } from './denoiser.ts';

/** The float64 twin of a denoiser: its weights as they are now (f32), arithmetic in f64. */
export interface DenoiserTwin {
  /** The noise in a point [2] as predicted at a time, 1 to `times`. */
  predictNoise(point: Vector, time: number): Vector;
  /** What no prediction is longer than, wherever the point lies. */
  readonly bound: number;
}

/** Reads a denoiser's weights back into a twin. */
export async function denoiserTwin({ model, parameters }: Denoiser): Promise<DenoiserTwin> {
  const values = await readAll(parameters.map(({ tensor }) => tensor));
  const weights = new Map(parameters.map(({ name }, i) => [name, values[i]]));
  const weight = (name: string) => weights.get(name)!;
  const reference = await loadReferenceModel(model.config, async (name) => weight(name));
  const d = model.config.width;

  function predictNoise(point: Vector, time: number): Vector {
    const entering = matmul(point, weight(POINT_EMBEDDING), { m: 1, n: POINT * d, k: POINT });
    const embedded = [0, 1].flatMap((token) => [...reference.embed([token], time - 1)]);
    const states = reference.extend(add(embedded, entering), reference.prefix()); // (2, d)
    return reference.logits(states.subarray(d));
  }

  return { predictNoise, bound: noiseBound(weight, d) };
}

/**
 * A normed row is at most sqrt(d) long, so with head W and its bias b, gain g and bias c of the final LayerNorm, each
 * coordinate of a prediction has `|eps_i| <= sqrt(d) |W_i g| + |W_i c + b_i|`.
 */
function noiseBound(weight: (name: string) => Float32Array, d: number): number {
  const [gain, shift, head, bias] = ['ln_f.weight', 'ln_f.bias', 'lm_head.weight', 'lm_head.bias'].map(weight);
  const bounds = Array.from(bias, (constant, i) => {
    const row = Float64Array.from(head.subarray(i * d, (i + 1) * d));
    const squares = row.reduce((sum, w, j) => sum + (w * gain[j]) ** 2, 0);
    const fixed = row.reduce((sum, w, j) => sum + w * shift[j], constant);
    return Math.sqrt(d * squares) + Math.abs(fixed);
  });
  return Math.hypot(...bounds);
}
