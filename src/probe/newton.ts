import { type Factored, factored } from '../linalg/lu.ts';
import { difference, norm, plus, scaled } from '../linalg/vector.ts';
import type { Problem } from './problem.ts';
import { ask, type Search, type Vector } from './requests.ts';

/** A solution with what its Jacobian says. */
export interface NewtonPoint {
  readonly x: Vector;
  /** |g(x) - y| / |y| */
  readonly residual: number;
  /** Whether it is that of the chain's float64 twin. */
  readonly isExact: boolean;
  /** Of det Dg at x; 0 where it is singular to working precision. */
  readonly sign: Factored['sign'];
}

/** A step is halved at most so often; it must gain a tenth of what it would under a linear map. */
const MOST_HALVINGS = 4;
const LEAST_GAIN = 0.1;
/** Of |y|: no step is longer. */
const LONGEST_STEP = 1;
/** Corrections by the twin: each gains the digits that f32 derivatives hold. */
const MOST_CORRECTIONS = 6;

/**
 * Damped Newton's method with a Jacobian a step. Unlike a path from s = 0 it finds preimages with det Dg of either sign;
 * which one it gets to, if any, is up to the start.
 * @param jacobians After so many it gives up.
 * @returns Where it converged, as `polished` leaves it; undefined where it did not.
 */
export function* newton(problem: Problem, jacobians: number): Search<NewtonPoint | undefined> {
  const { step, y, start = y, tolerance, floor } = problem;
  const size = norm(y);
  let x = start;
  for (let count = 0; count < jacobians; count++) {
    const { value, rows } = yield* ask({ kind: 'jacobian', step, x });
    const missing = difference(y, value);
    const error = norm(missing);
    const factors = factored(rows);
    if (error <= tolerance * size) return yield* polished(problem, x, factors);
    const whole = factors.solve(missing);
    if (!Number.isFinite(norm(whole))) return undefined;
    const next = yield* damped(x, whole, error);
    if (!next) return error <= floor * size ? yield* polished(problem, x, factors) : undefined;
    x = next;
  }
  return undefined;

  /** The longest step along `whole` that gains enough: one of at most |y|, its half, its fourth, ... */
  function* damped(from: Vector, whole: Vector, error: number): Search<Vector | undefined> {
    let part = Math.min(1, (LONGEST_STEP * size) / norm(whole));
    for (let halvings = 0; halvings <= MOST_HALVINGS; halvings++, part /= 2) {
      const next = plus(from, whole, part);
      const left = norm(difference(y, yield* ask({ kind: 'value', step, x: next })));
      if (left <= (1 - LEAST_GAIN * part) * error) return next;
    }
    return undefined;
  }
}

/**
 * A solution taken to the accuracy of the float64 twin by the factors of a Jacobian near by; without a twin, as it is.
 * @param near Where f32 found it.
 */
export function* polished({ step, y }: Problem, near: Vector, { sign, solve }: Factored): Search<NewtonPoint> {
  const size = norm(y);
  const exact = yield* ask({ kind: 'exact', x: near });
  let x = near;
  let missing = difference(y, exact ?? (yield* ask({ kind: 'value', step, x })));
  for (let i = 0; exact && i < MOST_CORRECTIONS; i++) {
    const next = plus(x, solve(missing));
    const left = difference(y, (yield* ask({ kind: 'exact', x: next })) ?? scaled(y, 0));
    if (!(norm(left) < norm(missing) / 2)) break;
    [x, missing] = [next, left];
  }
  return { x, sign, residual: norm(missing) / size, isExact: exact !== undefined };
}
