import { factored } from '../linalg/lu.ts';
import { difference, norm, plus, scaled } from '../linalg/vector.ts';
import { seededRandom } from '../reference/random.ts';
import { type NewtonPoint, newton, polished } from './newton.ts';
import { followPath } from './path.ts';
import type { Problem } from './problem.ts';
import { ask, type Search, type Vector } from './requests.ts';

/** How a preimage was come upon. */
export type Origin = 'path' | 'beyond' | 'another path' | 'newton' | 'deflation';

/** How preimages are searched. */
export interface PreimageOptions {
  /** Paths from other starts than y; default 4. */
  readonly paths?: number;
  /** Starts of Newton's method; default 24. */
  readonly newtons?: number;
  /** Runs of deflated Newton, away from what was found; default 12. */
  readonly deflations?: number;
  /** All paths are followed past s = 1 to this s, since they may come back; default 3. */
  readonly beyond?: number;
  /** Rows in all; default 1500 Jacobians. */
  readonly budget?: number;
  /** The starts are the same for the same seed; default 1. */
  readonly seed?: number;
}

/** A preimage among others. */
export interface FoundPreimage extends NewtonPoint {
  /** What came upon it first. */
  readonly origin: Origin;
}

/** The preimages of an output that were found: all of them or not. */
export interface PreimageList {
  /** Distinct ones, in the order they were found. */
  readonly preimages: readonly FoundPreimage[];
  /** Of their determinants: +1 when none is missing under a residual block (papers.md, section 2); no proof that none is. */
  readonly signSum: number;
}

/** One search for preimages, which brings a few or none. */
export interface Attempt {
  readonly origin: Origin;
  readonly search: Search<FoundPreimage[]>;
}

/** Points are one when they are this near, as a share of |x|, and their signs agree. */
const SAME = 1e-4;
/** A preimage holds when float64 confirms it to this share of |y|. */
const VERIFIED = 1e-8;
const LONGEST_STEP = 0.3;
const JACOBIANS = 1500;

/**
 * Lists preimages of y under one step: by the path from x = y, followed on past s = 1; by paths from other starts, whose
 * first crossings all have det Dg > 0; by Newton's method, which finds either sign; and by Newton's method deflated by
 * what was found. Rows of the budget that one kind leaves are not given to the next: what is found depends on the options alone.
 * @param problem Of a chain of one step, whose float64 twin confirms what is found.
 */
export function* preimages(problem: Problem, options: PreimageOptions = {}): Search<PreimageList> {
  const found: FoundPreimage[] = [];
  for (const { search } of attempts(problem, options)) found.push(...(yield* search));
  return yield* completed(problem, listed(found), options);
}

/** The searches of `preimages` that know nothing of each other: they may as well run side by side. */
export function attempts(problem: Problem, options: PreimageOptions = {}): Attempt[] {
  const { paths = 4, newtons = 24, beyond = 3, seed = 1 } = options;
  const { y } = problem;
  const d = y.length;
  const { normal, next } = seededRandom(seed);
  const { budget = JACOBIANS * (d + 1) } = options;
  /** base + a normal vector of about this share of |y|. */
  const around = (base: Vector, share: number): Vector =>
    plus(base, Float64Array.from(normal(d)), (share * norm(y)) / Math.sqrt(d));
  const along = (origin: Origin, start: Vector, budget: number): Attempt => ({
    origin,
    search: crossings({ ...problem, start }, { origin, beyond, budget }),
  });
  const jacobians = Math.max(2, Math.floor(budget / (4 * (d + 1) * Math.max(1, newtons))));
  return [
    along('path', y, budget / 4),
    ...Array.from({ length: paths }, (_, i) =>
      along('another path', around(y, [0.3, 1, 3][i % 3]), budget / (4 * paths)),
    ),
    ...Array.from({ length: newtons }, (_, i): Attempt => {
      const start = around(scaled(y, next()), [0.03, 0.1, 0.3, 1][i % 4]);
      return { origin: 'newton', search: byNewton({ ...problem, start }, Math.min(25, jacobians)) };
    }),
  ];
}

/** Follows a list up by deflated Newton: from y, and from the neighbourhood of what was found. */
export function* completed(problem: Problem, list: PreimageList, options: PreimageOptions = {}): Search<PreimageList> {
  const { deflations = 12, seed = 1 } = options;
  const { y } = problem;
  const { normal, next } = seededRandom(seed + 1);
  let all = list;
  for (let i = 0; i < deflations; i++) {
    const deflated = all.preimages.map(({ x }) => x);
    const base = i % 2 === 0 ? scaled(y, next()) : (deflated[(i >> 1) % Math.max(1, deflated.length)] ?? y);
    const share = [0.01, 0.1][(i >> 1) % 2];
    const start = plus(base, Float64Array.from(normal(y.length)), (share * norm(y)) / Math.sqrt(y.length));
    const point = yield* newton({ ...problem, start }, { deflated });
    if (point) all = listed([...all.preimages, { ...point, origin: 'deflation' }]);
  }
  return all;
}

/** The distinct ones among points found, those that hold. */
export function listed(found: readonly FoundPreimage[]): PreimageList {
  const preimages: FoundPreimage[] = [];
  for (const one of found) {
    const isNew = preimages.every(({ x, sign }) => sign !== one.sign || !isNear(x, one.x));
    if (isNew && one.residual <= VERIFIED) preimages.push(one);
  }
  return { preimages, signSum: preimages.reduce((sum, { sign }) => sum + sign, 0) };
}

/** Whether two preimages are one, up to rounding. */
export const isNear = (a: Vector, b: Vector): boolean => norm(difference(a, b)) <= SAME * norm(b);

/** What a path crosses at s = 1, each crossing polished: 1 + d rows. */
function* crossings(
  problem: Problem,
  { origin, beyond, budget }: { origin: Origin; beyond: number; budget: number },
): Search<FoundPreimage[]> {
  const path = yield* followPath(problem, { corrector: 'lu', longestStep: LONGEST_STEP, budget, beyond });
  const found: FoundPreimage[] = [];
  for (const [i, { x }] of path.crossings.entries()) {
    const { rows } = yield* ask({ kind: 'jacobian', step: problem.step, x });
    const point = yield* polished(problem, x, factored(rows));
    found.push({ ...point, origin: i === 0 ? origin : 'beyond' });
  }
  return found;
}

function* byNewton(problem: Problem, jacobians: number): Search<FoundPreimage[]> {
  const point = yield* newton(problem, { jacobians });
  return point ? [{ ...point, origin: 'newton' }] : [];
}
