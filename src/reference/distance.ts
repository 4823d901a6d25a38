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

/**
 * Gradients of `<dy, distance(x, targets)>`, `dx = dy (x - t) / |x - t|`, and 0 where a row meets its target.
 * @param dy `[rows]`
 * @param x `[rows, d]`
 * @param targets `[1, d]` for all rows, or `[rows, d]`.
 * @returns `dx [rows, d]`, and `dtargets` of the shape of `targets`.
 * @throws ShapeError when an operand does not fill its shape.
 */
export function distanceVjp(
  dy: ArrayLike<number>,
  x: ArrayLike<number>,
  targets: ArrayLike<number>,
  d: number,
): { dx: Float64Array; dtargets: Float64Array } {
  const directions = unitDifferences(x, targets, d);
  expectShape('distanceVjp: dy', dy, [directions.length / d]);
  const dx = directions.map((v, i) => v * dy[Math.floor(i / d)]); // (rows, d)
  const dtargets = new Float64Array(targets.length);
  for (let i = 0; i < dx.length; i++) dtargets[i % targets.length] -= dx[i];
  return { dx, dtargets };
}

/**
 * The tangent of `distance(x, targets)`: `<dx - dt, x - t> / |x - t|`, and 0 where a row meets its target.
 * @param tangents Of each operand and of its shape; left out, zero.
 * @param x `[rows, d]`
 * @param targets `[1, d]` for all rows, or `[rows, d]`.
 * @returns `[rows]`
 * @throws ShapeError when an operand does not fill its shape.
 */
export function distanceJvp(
  { dx, dtargets }: { readonly dx?: ArrayLike<number>; readonly dtargets?: ArrayLike<number> },
  x: ArrayLike<number>,
  targets: ArrayLike<number>,
  d: number,
): Float64Array {
  if (dx) expectShape('distanceJvp: dx', dx, [x.length]);
  if (dtargets) expectShape('distanceJvp: dtargets', dtargets, [targets.length]);
  const directions = unitDifferences(x, targets, d);
  const out = new Float64Array(x.length / d); // (rows)
  directions.forEach((v, i) => {
    out[Math.floor(i / d)] += v * ((dx?.[i] ?? 0) - (dtargets?.[i % targets.length] ?? 0));
  });
  return out;
}

/** `(x - t) / |x - t|`, `[rows, d]`. */
function unitDifferences(x: ArrayLike<number>, targets: ArrayLike<number>, d: number): Float64Array {
  const rows = Uint32Array.from({ length: countRows('distance: x', x, d) }, (_, r) => r);
  if (targets.length !== d) expectShape('distance: targets', targets, [rows.length, d]);
  const distances = distance(x, targets, d, targets.length === d ? undefined : rows);
  return Float64Array.from(x, (v, i) => (v - targets[i % targets.length]) / (distances[Math.floor(i / d)] || 1));
}
