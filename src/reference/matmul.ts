import { type ActivationName, activations } from './activation.ts';
import { expectShape } from './shape.ts';

/** Sizes and extras of a matrix product. */
export interface MatmulOptions {
  /** Rows of the result. */
  readonly m: number;
  /** Columns of the result. */
  readonly n: number;
  /** Length of the sums. */
  readonly k: number;
  /** How many products side by side; 1 unless given. */
  readonly batch?: number;
  /** `a` is stored `[k, m]` instead of `[m, k]`. */
  readonly transposeA?: boolean;
  /** `b` is stored `[n, k]` instead of `[k, n]`. */
  readonly transposeB?: boolean;
  /** `[n]`, added to every row. */
  readonly bias?: ArrayLike<number>;
  /** Applied after the bias. */
  readonly activation?: ActivationName;
  /** `[batch, m, n]`, added last. */
  readonly residual?: ArrayLike<number>;
}

/**
 * `C = activation(op(A) op(B) + bias) + residual`.
 * @param a `[batch, m, k]`, or one matrix `[m, k]` shared by the batch.
 * @param b `[batch, k, n]`, or one matrix `[k, n]` shared by the batch.
 * @returns `[batch, m, n]`
 * @throws ShapeError when an operand does not fill its shape.
 */
export function matmul(a: ArrayLike<number>, b: ArrayLike<number>, options: MatmulOptions): Float64Array {
  const { m, n, k, batch = 1, transposeA = false, transposeB = false, bias, residual } = options;
  const sharedA = a.length === m * k;
  const sharedB = b.length === k * n;
  if (!sharedA) expectShape('matmul: a', a, [batch, m, k]);
  if (!sharedB) expectShape('matmul: b', b, [batch, k, n]);
  if (bias) expectShape('matmul: bias', bias, [n]);
  if (residual) expectShape('matmul: residual', residual, [batch, m, n]);

  const f = activations[options.activation ?? 'none'];
  const out = new Float64Array(batch * m * n); // (batch, m, n)
  const row = new Float64Array(k); // (k)
  for (let s = 0; s < batch; s++) {
    const aAt = sharedA ? 0 : s * m * k;
    const bAt = sharedB ? 0 : s * k * n;
    for (let i = 0; i < m; i++) {
      for (let p = 0; p < k; p++) row[p] = a[transposeA ? aAt + p * m + i : aAt + i * k + p];
      const outAt = (s * m + i) * n;
      const sums = out.subarray(outAt, outAt + n); // (n)
      if (transposeB) addDots(sums, row, b, bAt);
      else addRows(sums, row, b, bAt);
      for (let j = 0; j < n; j++) sums[j] = f(sums[j] + (bias ? bias[j] : 0)) + (residual ? residual[outAt + j] : 0);
    }
  }
  return out;
}

/** `sums += row B^T`, B `[n, k]`: dot products, so that B is read in storage order. */
function addDots(sums: Float64Array, row: Float64Array, b: ArrayLike<number>, bAt: number) {
  const k = row.length;
  for (let j = 0; j < sums.length; j++) {
    let sum = 0;
    for (let p = 0; p < k; p++) sum += row[p] * b[bAt + j * k + p];
    sums[j] += sum;
  }
}

/** `sums += row B`, B `[k, n]`: row after scaled row, so that B is read in storage order. */
function addRows(sums: Float64Array, row: Float64Array, b: ArrayLike<number>, bAt: number) {
  const n = sums.length;
  for (let p = 0; p < row.length; p++) {
    const factor = row[p];
    for (let j = 0; j < n; j++) sums[j] += factor * b[bAt + p * n + j];
  }
}
