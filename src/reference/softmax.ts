import { countRows } from './shape.ts';

/**
 * Softmax of each row, shifted by the row's largest value so that nothing overflows.
 * @param x `[rows, width]`
 * @returns `[rows, width]`; every row sums to 1.
 * @throws ShapeError when `x` is not whole rows.
 */
export function softmax(x: ArrayLike<number>, width: number): Float64Array {
  return logSoftmax(x, width).map(Math.exp);
}

/**
 * Logarithm of the softmax of each row: `x - max - log(sum(exp(x - max)))`.
 * @param x `[rows, width]`
 * @returns `[rows, width]`
 * @throws ShapeError when `x` is not whole rows.
 */
export function logSoftmax(x: ArrayLike<number>, width: number): Float64Array {
  const rows = countRows('softmax: x', x, width);
  const out = Float64Array.from(x); // (rows, width)
  for (let r = 0; r < rows; r++) {
    const row = out.subarray(r * width, (r + 1) * width); // (width)
    const largest = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const sum = row.reduce((total, value) => total + Math.exp(value - largest), 0);
    const logSum = Math.log(sum);
    // two subtractions: largest + logSum would round logSum away beside a huge score
    for (let j = 0; j < width; j++) row[j] = row[j] - largest - logSum;
  }
  return out;
}
