import { factored } from '../../linalg/lu.ts';
import { difference, norm, plus } from '../../linalg/vector.ts';
import type { Problem } from '../problem.ts';
import { ask, type Replies, type Search, type Vector } from '../requests.ts';

/** What following a line of targets found. */
export interface LineSolution {
  /** The preimage, or the best so far. */
  readonly x: Vector;
  readonly solved: boolean;
  /** |g(x) - y| / |y| */
  readonly residual: number;
  /** Jacobians taken. */
  readonly jacobians: number;
  /** Steps that were taken back and halved. */
  readonly rejected: number;
}

/** A map at a point, with what is missing to a target. */
interface Place extends Readonly<Replies['jacobian']> {
  readonly x: Vector;
}

/** Of |y - g(x)|: how near to its target a step must end. */
const NEAR = 0.1;
const MOST_CORRECTIONS = 6;
const SHORTEST_STEP = 1e-4;
const MOST_JACOBIANS = 500;

/**
 * A preimage under a map without a residual, by the homotopy of targets: g(x(s)) = (1 - s) g(x_0) + s y from any x_0.
 * What the map adds to x need not be bounded, and the homotopy from the identity proves nothing: where det Dg < 0
 * throughout it ends nowhere. Under a homeomorphism with regular pieces, a LeakyReLU MLP with d_ff = d, the line has one
 * preimage, a curve without folds, whatever the sign. Under other maps the curve may fold, which ends the search.
 *
 *   1. Predict x + h J^-1 r, r = y - g(x).
 *   2. Correct by Newton's method onto g(x) + h r.
 *   3. Double h after a step that succeeds, at most to 1; halve it where step 2 does not come near.
 *
 * @param problem Of a chain of one step, whose values are those of its float64 twin if it has one: without a residual,
 *   preimages may be so large that f32 does not hold them well enough. Its `start` is x_0; default y.
 */
export function* followLine({ step, y, start = y, tolerance, floor }: Problem): Search<LineSolution> {
  let jacobians = 0;
  let rejected = 0;
  const size = norm(y) || 1;
  let at = yield* place(start);
  let best = at;
  let h = 1;
  const missing = ({ value }: Place) => norm(difference(y, value)) / size;
  while (missing(at) > tolerance && h >= SHORTEST_STEP && jacobians < MOST_JACOBIANS) {
    const r = difference(y, at.value);
    const next = yield* correct(at, plus(at.value, r, h), NEAR * h * norm(r));
    if (!next) {
      // Down to rounding, steps gain nothing.
      if (missing(best) <= floor) break;
      rejected++;
      h /= 2;
      continue;
    }
    at = next;
    if (missing(at) < missing(best)) best = at;
    h = Math.min(1, 2 * h);
  }
  const residual = missing(best);
  return { x: best.x, solved: residual <= floor, residual, jacobians, rejected };

  /** Newton steps onto a target, from a place; undefined where they do not get within `radius`. */
  function* correct(from: Place, onto: Vector, radius: number): Search<Place | undefined> {
    let now = from;
    for (let i = 0; i < MOST_CORRECTIONS; i++) {
      const change = factored(now.rows.map((row) => row.slice())).solve(difference(onto, now.value));
      if (!Number.isFinite(norm(change))) return undefined;
      now = yield* place(plus(now.x, change));
      if (norm(difference(onto, now.value)) <= radius) return now;
    }
    return undefined;
  }

  function* place(x: Vector): Search<Place> {
    jacobians++;
    const { value, rows } = yield* ask({ kind: 'jacobian', step, x });
    return { x, rows, value: (yield* ask({ kind: 'exact', x })) ?? value };
  }
}
