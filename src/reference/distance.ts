import { InputError } from '../errors.ts';
import { countRows, expectShape } from './shape.ts';

/**
 * Euclidean distance of each row from its target, by the exact difference: expanding the square would lose the digits
 * that tell near rows apart.
 * @param x `[rows, d]`
 * @param targets `[targets, d]`
 * @param targetOf `[rows]`: the target row of each row of `x`; left out, all use target 0.
 * @returns `[rows]`: `||x_r - targets[targetOf[r]]||_2`
 * @throws InputError for a target row that does not exist.
 * @throws ShapeError when an operand is not whole rows.
 */
export function distance(
  x: ArrayLike<number>,
  targets: ArrayLike<number>,
  d: number,
  targetOf?: ArrayLike<number>,
): Float64Array {
  const rows = countRows('distance: x', x, d);
  const count = countRows('distance: targets', targets, d);
  if (targetOf) expectShape('distance: targetOf', targetOf, [rows]);
  const out = new Float64Array(rows); // (rows)
  for (let r = 0; r < rows; r++) {
    const target = targetOf ? targetOf[r] : 0;
    if (!Number.isInteger(target) || target < 0 || target >= count)
      throw new InputError(`Row ${r} names target ${target} of ${count}.`, `Use target rows from 0 to ${count - 1}.`);
    let squares = 0;
    for (let j = 0; j < d; j++) squares += (x[r * d + j] - targets[target * d + j]) ** 2;
    out[r] = Math.sqrt(squares);
  }
  return out;
}
