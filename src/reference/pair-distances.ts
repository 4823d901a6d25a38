import { countRows } from './shape.ts';

/** Which pairs of rows count, and where their histogram begins. */
export interface PairOptions {
  readonly width: number;
  /** Numbers of the first rows among all: pairs i < j count. */
  readonly firstA: number;
  readonly firstB: number;
}

/**
 * Squared distances of the pairs of rows of A and B.
 * @param a `[m, width]`
 * @param b `[n, width]`
 * @returns `[m, n]`; NaN where the pair does not count.
 * @throws ShapeError when an operand is not whole rows.
 */
export function pairSquares(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  { width, firstA, firstB }: PairOptions,
): Float64Array {
  const m = countRows('pairSquares: a', a, width);
  const n = countRows('pairSquares: b', b, width);
  const squares = new Float64Array(m * n).fill(Number.NaN);
  for (let i = 0; i < m; i++) {
    for (let j = Math.max(0, firstA + i + 1 - firstB); j < n; j++) {
      let sum = 0;
      for (let k = 0; k < width; k++) sum += (a[i * width + k] - b[j * width + k]) ** 2;
      squares[i * n + j] = sum;
    }
  }
  return squares;
}
