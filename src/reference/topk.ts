import { ShapeError } from '../errors.ts';
import { countRows } from './shape.ts';

/** The best values of each row, best first. */
export interface TopK {
  /** `[rows, k]` */
  readonly values: Float64Array;
  /** `[rows, k]`: where in its row each value stood */
  readonly indices: Uint32Array;
}

/**
 * The k smallest or largest values of each row with their indices; equal values by lower index, NaN after all numbers.
 * @param x `[rows, width]`
 * @param k From 0 to `width`.
 * @throws ShapeError when `x` is not whole rows or `k` does not fit into one.
 */
export function topk(x: ArrayLike<number>, width: number, k: number, order: 'smallest' | 'largest'): TopK {
  const rows = countRows('topk: x', x, width);
  if (!Number.isInteger(k) || k < 0 || k > width)
    throw new ShapeError(`topk: k = ${k} does not fit rows of ${width}.`, `Use k from 0 to ${width}.`);
  const sign = order === 'smallest' ? 1 : -1;
  const values = new Float64Array(rows * k); // (rows, k)
  const indices = new Uint32Array(rows * k); // (rows, k)
  for (let r = 0; r < rows; r++) {
    const key = (i: number) => (Number.isNaN(x[r * width + i]) ? Infinity : sign * x[r * width + i]);
    const isNaNAt = (i: number) => Number(Number.isNaN(x[r * width + i]));
    const ranked = Uint32Array.from({ length: width }, (_, i) => i) // (width)
      .sort((i, j) => compare(key(i), key(j)) || isNaNAt(i) - isNaNAt(j) || i - j)
      .subarray(0, k);
    indices.set(ranked, r * k);
    ranked.forEach((index, rank) => {
      values[r * k + rank] = x[r * width + index];
    });
  }
  return { values, indices };
}

/** Subtraction would give NaN for two equal infinities. */
function compare(a: number, b: number): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
