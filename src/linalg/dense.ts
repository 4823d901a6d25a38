import { Matrix } from 'ml-matrix';

/** Rows in typed arrays: inner loops over them run many times as fast as through `Matrix.get` and `set`. */
export type Rows = readonly Float64Array[];

/** A [rows, columns] matrix from row-major numbers. */
export function matrixFrom(values: ArrayLike<number>, columns: number): Matrix {
  return Matrix.from1DArray(values.length / columns, columns, values as number[]);
}

/** The rows of a matrix, copied. */
export const rowsOf = (matrix: Matrix): Rows => matrix.to2DArray().map((row) => Float64Array.from(row));

/** A B */
export function product(a: Matrix, b: Matrix): Matrix {
  const right = rowsOf(b);
  return new Matrix(rowsOf(a).map((factors) => addRows(new Float64Array(b.columns), factors, right)));
}

/** sums += the sum of factors[k] rows[k] over k from `begin` to `end`, four rows at a time. @returns sums */
export function addRows(
  sums: Float64Array,
  factors: Float64Array,
  rows: Rows,
  begin = 0,
  end = factors.length,
): Float64Array {
  let k = begin;
  for (; k + 4 <= end; k += 4) {
    const [f0, f1, f2, f3] = [factors[k], factors[k + 1], factors[k + 2], factors[k + 3]];
    const [r0, r1, r2, r3] = [rows[k], rows[k + 1], rows[k + 2], rows[k + 3]];
    for (let j = 0; j < sums.length; j++) sums[j] += f0 * r0[j] + f1 * r1[j] + f2 * r2[j] + f3 * r3[j];
  }
  for (; k < end; k++) {
    const [factor, row] = [factors[k], rows[k]];
    for (let j = 0; j < sums.length; j++) sums[j] += factor * row[j];
  }
  return sums;
}

/** The inner product of two rows, or of their first `length` numbers; by four sums, so that none waits for another. */
export function dot(a: Float64Array, b: Float64Array, length = a.length): number {
  let [s0, s1, s2, s3] = [0, 0, 0, 0];
  let j = 0;
  for (; j + 4 <= length; j += 4) {
    s0 += a[j] * b[j];
    s1 += a[j + 1] * b[j + 1];
    s2 += a[j + 2] * b[j + 2];
    s3 += a[j + 3] * b[j + 3];
  }
  for (; j < length; j++) s0 += a[j] * b[j];
  return s0 + s1 + (s2 + s3);
}
