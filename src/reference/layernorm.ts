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

/** The gradients of a layer norm. */
export interface LayerNormGradients {
  /** `[rows, d]` */
  readonly dx: Float64Array;
  /** `[d]` */
  readonly dweight: Float64Array;
  /** `[d]` */
  readonly dbias: Float64Array;
}

/**
 * Gradients of `<dy, layernorm(x)>`. With `n` the normed row and `g = dy * weight`:
 * `dx = rstd (g - mean(g) - n mean(g n))`, `dweight = sum of dy n`, `dbias = sum of dy` over the rows.
 * @param dy `[rows, d]`
 * @param x `[rows, d]`
 * @param weight `[d]`
 * @throws ShapeError when `dy` or `x` does not fill its shape.
 */
export function layernormVjp(
  dy: ArrayLike<number>,
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  epsilon: number,
): LayerNormGradients {
  const d = weight.length;
  expectShape('layernormVjp: dy', dy, [x.length]);
  const { normed, rstd } = norm(x, d, epsilon);
  const dx = Float64Array.from(dy, (v, i) => v * weight[i % d]); // (rows, d)
  const dweight = new Float64Array(d); // (d)
  const dbias = new Float64Array(d); // (d)
  for (let i = 0; i < dy.length; i++) {
    dweight[i % d] += dy[i] * normed[i];
    dbias[i % d] += dy[i];
  }
  rstd.forEach((factor, r) => {
    const row = dx.subarray(r * d, (r + 1) * d); // (d)
    project(row, normed.subarray(r * d, (r + 1) * d), factor);
  });
  return { dx, dweight, dbias };
}

/**
 * The tangent of `layernorm(x)`: `weight rstd (dx - mean(dx) - n mean(dx n)) + dweight n + dbias`, n the normed row.
 * @param tangents Of each operand and of its shape; left out, zero.
 * @param x `[rows, d]`
 * @param weight `[d]`
 * @returns `[rows, d]`
 * @throws ShapeError when an operand does not fill its shape.
 */
export function layernormJvp(
  { dx, dweight, dbias }: { readonly [K in keyof LayerNormGradients]?: ArrayLike<number> },
  x: ArrayLike<number>,
  weight: ArrayLike<number>,
  epsilon: number,
): Float64Array {
  const d = weight.length;
  if (dx) expectShape('layernormJvp: dx', dx, [x.length]);
  if (dweight) expectShape('layernormJvp: dweight', dweight, [d]);
  if (dbias) expectShape('layernormJvp: dbias', dbias, [d]);
  const { normed, rstd } = norm(x, d, epsilon);
  const dn = dx ? Float64Array.from(dx) : new Float64Array(x.length); // (rows, d)
  rstd.forEach((factor, r) => {
    project(dn.subarray(r * d, (r + 1) * d), normed.subarray(r * d, (r + 1) * d), factor);
  });
  return dn.map((v, i) => v * weight[i % d] + (dweight?.[i % d] ?? 0) * normed[i] + (dbias?.[i % d] ?? 0));
}

/** The rows before weight and bias. */
function norm(x: ArrayLike<number>, d: number, epsilon: number): { normed: Float64Array; rstd: Float64Array } {
  const { y, rstd } = layernorm(x, new Float64Array(d).fill(1), new Float64Array(d), epsilon);
  return { normed: y, rstd };
}

/** The Jacobian of the normed row, which is symmetric, times a vector in place: `rstd (v - mean(v) - n mean(v n))`. */
function project(v: Float64Array, normed: Float64Array, rstd: number): void {
  const mean = v.reduce((sum, value) => sum + value, 0) / v.length;
  const along = v.reduce((sum, value, j) => sum + value * normed[j], 0) / v.length;
  for (let j = 0; j < v.length; j++) v[j] = rstd * (v[j] - mean - normed[j] * along);
}
