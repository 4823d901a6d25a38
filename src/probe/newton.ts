import { type Factored, factored } from '../linalg/lu.ts';
import { difference, norm, plus } from '../linalg/vector.ts';
import { type Problem, shortened } from './problem.ts';
import { ask, type Search, type Vector } from './requests.ts';

/** How Newton's method is run. */
export interface NewtonOptions {
  /** Jacobians after which it gives up; default 25. */
  readonly jacobians?: number;
  /** Solutions it is to stay away from, [d] each. */
  readonly deflated?: readonly Vector[];
}

/** A point that Newton's method got to. */
export interface NewtonPoint {
  readonly x: Vector;
  /** |g(x) - y| / |y|: in float64 where the chain has a twin, else in f32. */
  readonly residual: number;
  /** Of det Dg; 0 where it is singular to working precision. */
  readonly sign: Factored['sign'];
}

const MOST_JACOBIANS = 25;
const MOST_HALVINGS = 4;
/** Of |y|: no step is longer. */
const LONGEST_STEP = 1;
/** Steps of `polished`. */
const MOST_CORRECTIONS = 6;

/**
 * Damped Newton's method with a Jacobian a step. Unlike a path from s = 0 it finds preimages of either sign; where it
 * gets to depends on the start.
 *
 * Deflation (Brown and Gearhart 1971; Farrell, Birkisson and Funke 2015) multiplies the residual by
 * `m(x) = product of (1 + |y|^2 / |x - x_i|^2)` over known solutions x_i. The step is Newton's own dx times
 * `1 / (1 - dx . grad m / m)`, by the formula of Sherman and Morrison: it costs nothing.
 * @returns Where it converged, polished; undefined where it did not.
 */
export function* newton(problem: Problem, options: NewtonOptions = {}): Search<NewtonPoint | undefined> {
  const { step, y, start = y, tolerance, floor } = problem;
  const { jacobians = MOST_JACOBIANS, deflated = [] } = options;
  const size = norm(y);
  let at = { x: start, missing: Number.POSITIVE_INFINITY };
  for (let count = 0; count < jacobians; count++) {
    const { value, rows } = yield* ask({ kind: 'jacobian', step, x: at.x });
    const r = difference(y, value);
    const missing = norm(r);
    const { sign, solve } = factored(rows);
    const whole = solve(r);
    if (missing <= tolerance * size) return yield* polished(problem, at.x, { sign, solve });
    if (!Number.isFinite(norm(whole))) return undefined;
    const [merit, stretch] = deflation(at.x, whole);
    let dx = shortened(
      whole.map((value) => stretch * value),
      LONGEST_STEP * size,
    );
    let next: typeof at | undefined;
    for (let halvings = 0; !next && halvings <= MOST_HALVINGS; halvings++) {
      const x = plus(at.x, dx);
      const missed = norm(difference(y, yield* ask({ kind: 'value', step, x })));
      const gain = (missed * deflation(x, dx)[0]) / (missing * merit);
      if (gain < 1 - 0.1 * 2 ** -halvings) next = { x, missing: missed };
      dx = dx.map((value) => value / 2);
    }
    if (!next) return missing <= floor * size ? yield* polished(problem, at.x, { sign, solve }) : undefined;
    at = next;
  }
  return undefined;

  /** m(x), and what deflation stretches a step by. */
  function deflation(x: Vector, dx: Vector): [merit: number, stretch: number] {
    let merit = 1;
    let slope = 0; // dx . grad m / m
    for (const known of deflated) {
      const away = difference(x, known);
      const square = away.reduce((sum, value) => sum + value * value, 0) || Number.MIN_VALUE;
      const along = away.reduce((sum, value, i) => sum + value * dx[i], 0);
      merit *= 1 + size ** 2 / square;
      slope -= (2 * along * size ** 2) / (square * (size ** 2 + square));
    }
    return [merit, 1 / (1 - slope)];
  }
}

/** A solution taken to the accuracy of the float64 twin, with the factors of a Jacobian near by; without one, as it is. */
export function* polished({ step, y }: Problem, start: Vector, { sign, solve }: Factored): Search<NewtonPoint> {
  const size = norm(y);
  const first = yield* ask({ kind: 'exact', x: start });
  if (!first) {
    const value = yield* ask({ kind: 'value', step, x: start });
    return { x: start, sign, residual: norm(difference(y, value)) / size };
  }
  let at = { x: start, r: difference(y, first) };
  for (let i = 0; i < MOST_CORRECTIONS; i++) {
    const x = plus(at.x, solve(at.r));
    const r = difference(y, (yield* ask({ kind: 'exact', x }))!);
    if (!(norm(r) < norm(at.r) / 2)) break;
    at = { x, r };
  }
  return { x: at.x, sign, residual: norm(at.r) / size };
}
