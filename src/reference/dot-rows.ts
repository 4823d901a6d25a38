import { countRows, expectShape } from './shape.ts';

/**
 * Inner products of each row with the table rows picked for it, plus the bias of those.
 * @param x `[rows, d]`
 * @param table `[vocabulary, d]`
 * @param ids `[rows, picks]`
 * @param bias `[vocabulary]`
 * @returns `[rows, picks]`: `<x_r, table[ids[r, j]]> + bias[ids[r, j]]`
 * @throws ShapeError when an operand does not fill its shape.
 */
export function dotRows(
  x: ArrayLike<number>,
  table: ArrayLike<number>,
  ids: ArrayLike<number>,
  d: number,
  bias?: ArrayLike<number>,
): Float64Array {
  const rows = countRows('dotRows: x', x, d);
  const vocabulary = countRows('dotRows: table', table, d);
  if (bias) expectShape('dotRows: bias', bias, [vocabulary]);
  const picks = countRows('dotRows: ids', ids, rows);
  return Float64Array.from(ids, (id, i) => {
    const r = Math.floor(i / picks);
    let sum = bias ? bias[id] : 0;
    for (let k = 0; k < d; k++) sum += x[r * d + k] * table[id * d + k];
    return sum;
  });
}
