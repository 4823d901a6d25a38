import { dot } from '../linalg/dense.ts';
import { difference, norm, plus, scaled } from '../linalg/vector.ts';
import { applyUpdates, branch, type Problem, shortened, sizeOf, type Update } from './problem.ts';
import type { Search, Vector } from './requests.ts';

const MOST_ITERATIONS = 40;
/** No step is longer than this many times the first residual, and no residual may grow beyond its own. */
const LONGEST_STEP = 3;
const DIVERGED = 5;
/** It gives up when this many iterations gain less than a tenth; not before as many as FIRST_JUDGED. */
const PATIENCE = 6;
const FIRST_JUDGED = 12;
/** An update that would make the inverse nearly singular is left out. */
const LEAST_DENOMINATOR = 0.05;

/** Where a quasi-Newton solve got to. */
export interface QuasiNewton {
  readonly x: Vector;
  /** |g(x) - y| / |y| */
  readonly residual: number;
  readonly solved: boolean;
  /** The inverse Jacobian as it was learnt on the way, applied to a vector: costs no row. */
  inverse(r: Vector): Vector;
}

/**
 * Broyden's method ("good") from the identity: right at once where the block changes little, as |D LN| falls with the
 * norm of x, and one row an iteration where it must learn.
 */
export function* broyden({ step, y, start = y, tolerance, floor }: Problem): Search<QuasiNewton> {
  const size = sizeOf(y);
  const updates: Update[] = [];
  const history: number[] = [];
  let x = start;
  const added = yield* branch(step, x);
  let r = plus(difference(x, y), added);
  const rounding = floor * Math.max(1, norm(added) / size);
  const first = norm(r);
  let best = { x, residual: first / size };
  const result = (): QuasiNewton => ({
    ...best,
    solved: best.residual <= Math.max(tolerance, rounding),
    inverse: (v) => applyUpdates(updates, v),
  });
  for (let iteration = 0; iteration < MOST_ITERATIONS && best.residual > tolerance; iteration++) {
    const whole = scaled(applyUpdates(updates, r), -1);
    const dx = shortened(whole, LONGEST_STEP * first);
    const share = norm(dx) / (norm(whole) || 1); // of the step that the inverse asks for
    const next = plus(x, dx);
    const rNext = plus(difference(next, y), yield* branch(step, next));
    const length = norm(rNext);
    history.push(length / size);
    if (!(length <= DIVERGED * first)) break;
    // The model promised r (1 - share) at the new place: the rest is what it did not know.
    const surprise = scaled(plus(rNext, r, share - 1), 1 / dot(dx, dx));
    const w = applyUpdates(updates, surprise);
    const denominator = 1 + dot(dx, w);
    if (Math.abs(denominator) > LEAST_DENOMINATOR) updates.push({ w: scaled(w, -1 / denominator), v: dx });
    [x, r] = [next, rNext];
    if (length / size < best.residual) best = { x, residual: length / size };
    if (history.length > FIRST_JUDGED) {
      const before = Math.min(...history.slice(0, -PATIENCE));
      if (Math.min(...history.slice(-PATIENCE)) > 0.9 * before) break;
    }
  }
  return result();
}
