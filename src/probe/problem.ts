import { dot } from '../linalg/dense.ts';
import { difference, norm, plus } from '../linalg/vector.ts';
import { ask, type Search, type Vector } from './requests.ts';

/** Find x with g(x) = y, g one step of a chain. */
export interface Problem {
  /** Index of the step. */
  readonly step: number;
  readonly y: Vector;
  /** Where the search starts; default y, where the path of a residual block is proved to lead to a preimage. */
  readonly start?: Vector;
  /** A preimage is found when |g(x) - y| is at most this share of |y|. */
  readonly tolerance: number;
  /**
   * What is accepted where rounding (f32 on the GPU) lets nothing better be reached: a share of |y| or, where that is
   * larger, of what the block adds to the start.
   */
  readonly floor: number;
}

/** What residuals are shares of: |y|, or 1 where y = 0. */
export const sizeOf = (y: Vector): number => norm(y) || 1;

/** f(x) = g(x) - x: what a residual block adds. */
export function* branch(step: number, x: Vector, kind: 'value' | 'linearize' = 'value'): Search<Vector> {
  return difference(yield* ask({ kind, step, x }), x);
}

/** A vector at most `longest` long, in the same direction. */
export function shortened(v: Vector, longest: number): Vector {
  const length = norm(v);
  return length > longest ? v.map((value) => (value * longest) / length) : v;
}

/** Of a product of rank-one updates (I + w_k v_k^T) ... (I + w_1 v_1^T). */
export interface Update {
  readonly w: Vector;
  readonly v: Vector;
}

/** (I + w_k v_k^T) ... (I + w_1 v_1^T) r */
export function applyUpdates(updates: readonly Update[], r: Vector): Vector {
  let z = r;
  for (const { w, v } of updates) z = plus(z, w, dot(v, z));
  return z;
}
