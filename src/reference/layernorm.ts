import { countRows, expectShape } from './shape.ts';

/** What a layer norm returns: the normed rows and the statistics its gradient needs. */
export interface LayerNormResult {
  /** `[rows, d]` */
  readonly y: Float64Array;
  /** `[rows]` */
  readonly mean: Float64Array;
  /** `[rows]`: `1 / sqrt(variance + epsilon)` */
  readonly rstd: Float64Array;
}

/**
 * LayerNorm of each row, `(x - mean) * rstd * weight + bias`, with the biased variance, in two passes
 * (Ba et al. 2016, arXiv 1607.06450).
 * @param x `[rows, d]`
 * @param weight `[d]`
 * @param bias `[d]`
 * @throws ShapeError when `x` is not whole rows or `bias` has another width than `weight`.
 */
export function layernorm(
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  epsilon: number,
): LayerNormResult {
  const d = weight.length;
  const rows = countRows('layernorm: x', x, d);
  expectShape('layernorm: bias', bias, [d]);
  const y = new Float64Array(rows * d); // (rows, d)
  const mean = new Float64Array(rows); // (rows)
  const rstd = new Float64Array(rows); // (rows)
  for (let r = 0; r < rows; r++) {
    const at = r * d;
    let sum = 0;
    for (let j = 0; j < d; j++) sum += x[at + j];
    mean[r] = sum / d;
    let squares = 0;
    for (let j = 0; j < d; j++) squares += (x[at + j] - mean[r]) ** 2;
    rstd[r] = 1 / Math.sqrt(squares / d + epsilon);
    for (let j = 0; j < d; j++) y[at + j] = (x[at + j] - mean[r]) * rstd[r] * weight[j] + bias[j];
  }
  return { y, mean, rstd };
}
