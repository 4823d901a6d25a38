import { difference, norm } from '../linalg/vector.ts';
import { broyden, type QuasiNewton } from './broyden.ts';
import { followPath, type PathOptions, type PathPoint, type PathResult } from './path.ts';
import type { Problem } from './problem.ts';
import type { Search, Vector } from './requests.ts';

/** The stages of a solve, from cheap to sure. */
export type Stage = 'broyden' | 'gmres' | 'lu';

/** What solving one step took. */
export interface StepReport {
  readonly name: string;
  /** The stage that found the preimage; undefined where none did. */
  readonly stage: Stage | undefined;
  /** |g(x) - y| / |y|, in f32. */
  readonly residual: number;
  /** |x - y|: where the block is x + f(LN x), at most sup |f|. */
  readonly distance: number;
  readonly folds: number;
  readonly rejected: number;
  /** Steps taken back as the path had been left for another. */
  readonly jumps: number;
  /** Paths tried after the first. */
  readonly restarts: number;
  /** The path that led there; empty for `broyden`. */
  readonly path: readonly PathPoint[];
}

/** A solve of one step. */
export interface StepSolution {
  /** The preimage, or the best so far. */
  readonly x: Vector;
  readonly report: StepReport;
  /** The inverse Jacobian as Broyden's method learnt it. */
  readonly inverse: QuasiNewton['inverse'] | undefined;
}

/** What a solve reports while it goes on. */
export interface Watch {
  onStage?(stage: Stage): void;
  onPoint?(point: PathPoint): void;
}

/** Rows that the path by GMRES may cost, in widths: beyond that, Jacobians are cheaper. */
const GMRES_BUDGET = 4;
/** Longest steps of the paths that are tried in turn; the first one goes on where GMRES was stuck. */
const LU_STEPS = [1, 1, 0.3, 0.1, 0.03, 0.01];
/** Jacobians of one path. */
const MOST_JACOBIANS = 300;

/**
 * A preimage under one step, by the cheapest method that finds it (why these: README.md):
 *
 *   A  Broyden's method from the identity;
 *   B  the path from x = y, corrected by GMRES;
 *   C  the same path with a Jacobian a step, whose orientation shows when it was left; with ever shorter steps.
 *
 * @param stages Which of them; default all.
 */
export function* solveStep(
  problem: Problem,
  name: string,
  stages: readonly Stage[] = ['broyden', 'gmres', 'lu'],
  watch: Watch = {},
): Search<StepSolution> {
  const { y, start = y } = problem;
  const d = y.length;
  const tried: PathResult[] = [];
  let best = { x: start, residual: Number.POSITIVE_INFINITY };

  if (stages.includes('broyden')) {
    watch.onStage?.('broyden');
    const found = yield* broyden(problem);
    best = found;
    if (found.solved) return solution('broyden', found.inverse);
  }
  const attempts: Omit<PathOptions, 'onPoint'>[] = [
    { corrector: 'gmres', longestStep: LU_STEPS[0], budget: GMRES_BUDGET * d },
    ...LU_STEPS.map((longestStep) => ({ corrector: 'lu' as const, longestStep, budget: MOST_JACOBIANS * (d + 15) })),
  ];
  for (const attempt of attempts.filter(({ corrector }) => stages.includes(corrector))) {
    watch.onStage?.(attempt.corrector);
    // What the first path reached, the second need not walk again.
    const resume = attempt.corrector === 'lu' && stages.includes('gmres') && tried.length === 1 ? tried[0] : undefined;
    const path = yield* followPath(problem, { ...attempt, resume, onPoint: watch.onPoint });
    tried.push(path);
    const [crossing] = path.crossings;
    if (!crossing) continue;
    best = crossing;
    return solution(attempt.corrector);
  }
  return solution(undefined);

  function solution(stage: Stage | undefined, inverse?: QuasiNewton['inverse']): StepSolution {
    const sum = (of: (path: PathResult) => number) => tried.reduce((total, path) => total + of(path), 0);
    const report = {
      name,
      stage,
      residual: best.residual,
      distance: norm(difference(best.x, y)),
      folds: sum(({ folds }) => folds),
      rejected: sum(({ rejected }) => rejected),
      jumps: sum(({ jumps }) => jumps),
      restarts: Math.max(0, tried.length - 1),
      path: tried.at(-1)?.points ?? [],
    };
    return { x: best.x, report, inverse };
  }
}
