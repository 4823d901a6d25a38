import { factored } from '../linalg/lu.ts';
import { difference, norm, plus, scaled } from '../linalg/vector.ts';
import { seededRandom } from '../reference/random.ts';
import { type NewtonPoint, newton, polished } from './newton.ts';
import { followPath } from './path.ts';
import { branch, type Problem } from './problem.ts';
import { ask, type Search, type Vector } from './requests.ts';

/**
 * What came upon a preimage: the first crossing of s = 1 by the path from x = y; a later crossing by that path or
 * another; the first crossing by a path from elsewhere; or Newton's method.
 */
export type Origin = 'path' | 'beyond' | 'another path' | 'newton';

/** How preimages are searched. */
export interface PreimageOptions {
  /** Paths from other starts than y; default 3. */
  readonly paths?: number;
  /** Starts of Newton's method; default 24. */
  readonly newtons?: number;
  /** Every path is followed past s = 1, up to this s, since it may come back; default 3. */
  readonly beyond?: number;
  /** Rows, in all; default 1000 Jacobians. A third each goes to the first path, the others, and Newton's method. */
  readonly budget?: number;
  /** Of the starts, which are the same for the same seed; default 1. */
  readonly seed?: number;
  /** An input known to give y: is it among the preimages? */
  readonly known?: Vector;
}

/** A preimage among others. */
export interface FoundPreimage extends NewtonPoint {
  readonly origin: Origin;
}

/** The preimages of an output that were found: perhaps all of them, perhaps not. */
export interface PreimageList {
  /** Distinct ones, in the order they were found. */
  readonly preimages: readonly FoundPreimage[];
  /**
   * The sum of their signs. Under a residual block it is +1 over all preimages (papers.md, section 2): another sum shows
   * that some are missing; +1 does not show that none is, as they come and go in pairs of opposite sign.
   */
  readonly signSum: number;
  /** The known input, and its index among the preimages; -1 where it was not found. */
  readonly known?: NewtonPoint & { readonly index: number };
}

/** Points with equal signs are one preimage when they are this near, as a share of |x|. */
const SAME = 1e-4;
/** A preimage holds when float64 confirms it to this share of |y|; without a twin, to what its problem accepts. */
const VERIFIED = 1e-8;
const LONGEST_STEP = 0.3;
const MOST_NEWTON_JACOBIANS = 25;

/**
 * Lists distinct preimages of y under one step by all `attempts`, one after another.
 * @param problem Of a chain of one step, whose float64 twin, if it has one, confirms what is found.
 */
export function* preimages(problem: Problem, options: PreimageOptions = {}): Search<PreimageList> {
  const found: FoundPreimage[] = [];
  for (const attempt of attempts(problem, options)) found.push(...(yield* attempt));
  return listed(problem, found, options.known && (yield* inspected(problem, options.known)));
}

/**
 * The searches whose finds make up a list. They know nothing of each other, so that they may as well run side by side,
 * and what is found does not depend on the order.
 *
 *   1. The path from x = y, which is proved to lead to a preimage; and on, past s = 1.
 *   2. Paths from starts all around, whose first crossing of s = 1 has det Dg > 0 as well.
 *   3. Newton's method: from multiples of y with noise, and from `y - u f(z)`, z random, as each preimage is y - f(x).
 */
export function attempts(problem: Problem, options: PreimageOptions = {}): Search<FoundPreimage[]>[] {
  const { y, step } = problem;
  const d = y.length;
  const { paths = 3, newtons = 24, beyond = 3, seed = 1, budget = 1000 * (d + 1) } = options;
  const { normal, next } = seededRandom(seed);
  const third = budget / 3;
  const jacobians = Math.min(MOST_NEWTON_JACOBIANS, Math.ceil(third / (newtons * (d + 1))));
  /** A normal vector of about this share of |y|. */
  const noise = (share: number) => scaled(Float64Array.from(normal(d)), (share * norm(y)) / Math.sqrt(d));

  function* along(origin: Origin, start: Vector, rows: number): Search<FoundPreimage[]> {
    const options = { corrector: 'lu', longestStep: LONGEST_STEP, budget: rows, beyond } as const;
    const { crossings } = yield* followPath({ ...problem, start }, options);
    const found: FoundPreimage[] = [];
    for (const [i, { x }] of crossings.entries()) {
      found.push({ ...(yield* inspected(problem, x)), origin: i === 0 ? origin : 'beyond' });
    }
    return found;
  }

  function* byNewton(start: Vector): Search<FoundPreimage[]> {
    const point = yield* newton({ ...problem, start }, jacobians);
    return point ? [{ ...point, origin: 'newton' }] : [];
  }

  function* fromImage(z: Vector, u: number): Search<FoundPreimage[]> {
    return yield* byNewton(plus(y, yield* branch(step, z), -u));
  }

  return [
    along('path', y, third),
    ...Array.from({ length: paths }, (_, i) =>
      along('another path', plus(y, noise([0.3, 1, 3][i % 3])), third / paths),
    ),
    ...Array.from({ length: newtons }, (_, i) =>
      i % 2 === 0
        ? byNewton(plus(scaled(y, next()), noise([0.03, 0.1, 0.3, 1][(i >> 1) % 4])))
        : fromImage(noise(1), 2 * next()),
    ),
  ];
}

/** The distinct ones among points found, those that hold. @param known From `inspected`. */
export function listed({ floor }: Problem, found: readonly FoundPreimage[], known?: NewtonPoint): PreimageList {
  const preimages: FoundPreimage[] = [];
  for (const point of found) {
    const isNew = !preimages.some((one) => isSame(one, point));
    if (isNew && point.residual <= Math.max(VERIFIED, point.isExact ? 0 : floor)) preimages.push(point);
  }
  return {
    preimages,
    signSum: preimages.reduce((sum, { sign }) => sum + sign, 0),
    known: known && { ...known, index: preimages.findIndex((one) => isSame(one, known)) },
  };
}

/** Whether two preimages are one, up to rounding. */
export const isSame = (a: Pick<NewtonPoint, 'x' | 'sign'>, b: Pick<NewtonPoint, 'x' | 'sign'>): boolean =>
  a.sign === b.sign && norm(difference(a.x, b.x)) <= SAME * norm(b.x);

/** A preimage polished, with its sign: 1 + d rows. */
export function* inspected(problem: Problem, x: Vector): Search<NewtonPoint> {
  const { rows } = yield* ask({ kind: 'jacobian', step: problem.step, x });
  return yield* polished(problem, x, factored(rows));
}
