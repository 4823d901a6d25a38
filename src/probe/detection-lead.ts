import { dot } from '../linalg/dense.ts';
import { norm, plus, scaled } from '../linalg/vector.ts';
import { normed, rowsFrom } from './certificates/normed.ts';
import type { UnembeddingBlock } from './certificates/types.ts';
import type { Vector } from './requests.ts';

/** How far a token is ahead at a state. */
export interface Lead {
  /** Its logit above that of the next; negative where another wins. */
  readonly margin: number;
  /** The derivative of the margin in the state, [d]. */
  readonly gradient: Vector;
}

/**
 * How far tokens are ahead of all others at states before `ln_f`, and which way the states would have to move. With
 * z = (h - mean h) / sigma and a the centred difference of both tokens' rows of the unembedding times gamma, the margin
 * is `a . z + constant` and its derivative `(a - z (a . z) / d) / sigma`. In float64.
 * @param head The output head, as `headPart` reads it.
 * @param epsilon Of `ln_f`.
 */
export function leads(head: UnembeddingBlock, epsilon: number): (state: Vector, token: number) => Lead {
  const { width: d, axis, centre } = normed(head.norm);
  const raw = rowsFrom(head.weight, d);
  const rows = raw.map(axis);
  const offsets = raw.map((row, j) => centre(row) + (head.bias?.[j] ?? 0));
  return (state, token) => {
    const mean = state.reduce((sum, value) => sum + value, 0) / d;
    const level = state.map((value) => value - mean);
    const sigma = Math.sqrt(norm(level) ** 2 / d + epsilon);
    const z = scaled(level, 1 / sigma);
    let [rival, most] = [-1, Number.NEGATIVE_INFINITY];
    rows.forEach((row, j) => {
      const logit = j === token ? Number.NEGATIVE_INFINITY : dot(row, z) + offsets[j];
      if (logit > most) [rival, most] = [j, logit];
    });
    const a = plus(rows[token], rows[rival], -1);
    const along = dot(a, z);
    const margin = along + offsets[token] - offsets[rival];
    return { margin, gradient: scaled(plus(a, z, -along / d), 1 / sigma) };
  };
}
