import { type ActivationName, activationSlope, activations } from './activation.ts';
import { add, multiply } from './elementwise.ts';
import { columnSums } from './reduce.ts';
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

/** A derivative in each operand of a product; in a tangent, those left out are zero. */
export interface MatmulDerivatives<Values = ArrayLike<number>> {
  readonly a?: Values;
  readonly b?: Values;
  readonly bias?: Values;
  readonly residual?: Values;
}

/** The slope of the activation at every element: what it is applied to is the product with its bias. */
function slope(a: ArrayLike<number>, b: ArrayLike<number>, options: MatmulOptions): Float64Array {
  const { activation = 'none' } = options;
  return activationSlope(activation, matmul(a, b, { ...options, activation: 'none', residual: undefined }));
}

/**
 * The tangent of a product: `f'(op(A) op(B) + bias) (op(dA) op(B) + op(A) op(dB) + dbias) + dresidual`.
 * @param tangents Of the shapes of the operands.
 * @returns `[batch, m, n]`
 * @throws ShapeError as `matmul`.
 */
export function matmulJvp(
  tangents: MatmulDerivatives,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  options: MatmulOptions,
): Float64Array {
  const { m, n, batch = 1 } = options;
  const plain = { ...options, activation: 'none', bias: undefined, residual: undefined } as const;
  let dz: Float64Array = new Float64Array(batch * m * n); // (batch, m, n)
  if (tangents.a) dz = add(dz, matmul(tangents.a, b, plain));
  if (tangents.b) dz = add(dz, matmul(a, tangents.b, plain));
  if (tangents.bias) dz = dz.map((v, i) => v + tangents.bias![i % n]);
  const dc = multiply(dz, slope(a, b, options));
  return tangents.residual ? add(dc, tangents.residual) : dc;
}

/**
 * The gradients of a product, as its operands are stored: with `dZ = dC f'(op(A) op(B) + bias)`, those of op(A) and
 * op(B) are `dZ op(B)^T` and `op(A)^T dZ` (summed over a batch that shares one B), that of the bias the column sums.
 * @param dc `[batch, m, n]`
 * @param a `[batch, m, k]`: none shared.
 * @throws ShapeError as `matmul`.
 */
export function matmulVjp(
  dc: ArrayLike<number>,
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  options: MatmulOptions,
): Required<MatmulDerivatives<Float64Array>> {
  const { m, n, k, batch = 1, transposeA = false, transposeB = false } = options;
  const dz = multiply(dc, slope(a, b, options)); // (batch, m, n)
  const ofA = transposeA
    ? matmul(b, dz, { m: k, n: m, k: n, batch, transposeA: transposeB, transposeB: true })
    : matmul(dz, b, { m, n: k, k: n, batch, transposeB: !transposeB });
  const ofB = transposeB
    ? matmul(dz, a, { m: n, n: k, k: m, batch, transposeA: true, transposeB: transposeA })
    : matmul(a, dz, { m: k, n, k: m, batch, transposeA: !transposeA });
  return { a: ofA, b: columnSums(ofB, b.length), bias: columnSums(dz, n), residual: Float64Array.from(dc) };
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
