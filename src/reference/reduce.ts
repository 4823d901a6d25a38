import { countRows } from './shape.ts';

/**
 * Sums over the rows of a matrix.
 * @param x `[rows, width]`
 * @returns `[width]`
 * @throws ShapeError when `x` is not whole rows.
 */
export function columnSums(x: ArrayLike<number>, width: number): Float64Array {
  const rows = countRows('columnSums: x', x, width);
  const sums = new Float64Array(width); // (width)
  for (let r = 0; r < rows; r++) for (let j = 0; j < width; j++) sums[j] += x[r * width + j];
  return sums;
}
