import type { Matrix } from 'ml-matrix';
import type { Context } from '../gpu/context.ts';
import { matrixFrom, product } from '../linalg/dense.ts';
import { ridged, solvePositive } from '../linalg/positive.ts';
import { matmul } from '../ops/matmul.ts';
import { readAll, type Tensor, upload } from '../tensor/tensor.ts';

/** Rows of a block: products over more would lose digits in f32. */
const BLOCK = 256;

/**
 * X^T Y of x [n, a] and y [n, b], each with its width: a block of rows in f32 on the GPU, the blocks summed in float64.
 * @returns [a, b]
 */
export async function crossProduct(
  context: Context,
  [x, a]: readonly [Float32Array, number],
  [y, b]: readonly [Float32Array, number],
): Promise<Matrix> {
  const total = new Float64Array(a * b);
  const n = x.length / a;
  for (let first = 0; first < n; first += 8 * BLOCK) {
    const parts = context.scope(() => {
      const products: Tensor[] = []; // (a, b)
      for (let begin = first; begin < Math.min(first + 8 * BLOCK, n); begin += BLOCK) {
        const end = Math.min(begin + BLOCK, n);
        const block = upload(context, x.subarray(begin * a, end * a), [end - begin, a]);
        const other = y === x ? block : upload(context, y.subarray(begin * b, end * b), [end - begin, b]);
        products.push(matmul(block, other, { transposeA: true }));
      }
      return products;
    });
    for (const part of await readAll(parts).finally(() => parts.forEach((tensor) => void tensor.dispose()))) {
      for (let i = 0; i < total.length; i++) total[i] += part[i];
    }
  }
  return matrixFrom(total, b);
}

/** Mean of the columns of [n, width], and the rows without it. */
export function centred(rows: Float32Array, width: number): { mean: Float64Array; rows: Float32Array } {
  const n = rows.length / width;
  const sums = new Float64Array(width);
  rows.forEach((value, i) => {
    sums[i % width] += value;
  });
  // Divided last: what never varies is left exactly zero.
  const mean = sums.map((sum) => sum / n);
  return { mean, rows: rows.map((value, i) => value - mean[i % width]) };
}

/** y ~ x A + c with the covariance of what is left. */
export interface LinearFit {
  /** [a, b] */
  readonly slope: Matrix;
  /** [b] */
  readonly intercept: Float64Array;
  /** [b, b]. From no more samples than features it is zero but for rounding: add noise before it is inverted. */
  readonly covariance: Matrix;
}

/** Share of each diagonal element that the ridge adds: in the features, and in what they leave. */
const RIDGE = { features: 1e-5, residual: 1e-4 } as const;

/**
 * Ridge regression of y [n, b] on features x [n, a], with the covariance of its residual.
 * @throws InputError when the features are not finite.
 */
export async function regress(
  context: Context,
  [x, a]: readonly [Float32Array, number],
  [y, b]: readonly [Float32Array, number],
): Promise<LinearFit> {
  const n = x.length / a;
  const features = centred(x, a);
  const values = centred(y, b);
  const xx = await crossProduct(context, [features.rows, a], [features.rows, a]);
  const xy = await crossProduct(context, [features.rows, a], [values.rows, b]);
  const yy = await crossProduct(context, [values.rows, b], [values.rows, b]);
  const raised = ridged(xx, RIDGE.features);
  const slope = solvePositive(raised, xy); // (a, b)
  // (y - x A)^T (y - x A), with A^T X^T X A = A^T X^T y up to the ridge.
  const explained = product(slope.transpose(), xy);
  const left = yy.sub(explained);
  // Each feature takes a degree of freedom; where there are few samples, no more than three quarters of them.
  const covariance = left.div(Math.max(n - a, n / 4));
  const symmetric = covariance.clone().add(covariance.transpose()).div(2);
  const shift = product(matrixFrom(features.mean, a), slope).to1DArray();
  return {
    slope,
    intercept: values.mean.map((value, j) => value - shift[j]),
    covariance: ridged(symmetric, RIDGE.residual),
  };
}
