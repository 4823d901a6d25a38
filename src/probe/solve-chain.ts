import { difference, norm, plus } from '../linalg/vector.ts';
import type { Chain } from './chain.ts';
import { gmres } from './gmres.ts';
import { sizeOf } from './problem.ts';
import { ask, type Search, type Vector } from './requests.ts';
import { type Stage, type StepReport, type StepSolution, solveStep, type Watch } from './solve.ts';

/** How a chain is solved. */
export interface ChainOptions {
  /** |F(x) - y| / |y| after which no more is done; default 5e-7. */
  readonly tolerance?: number;
  /** Which stages a step may go through; default all. */
  readonly stages?: readonly Stage[];
  readonly watch?: Watch & { onStep?(name: string, report?: StepReport, x?: Vector): void };
}

/** A preimage under a chain. */
export interface ChainSolution {
  /** The preimage; where a step could not be solved, what would have been its input. */
  readonly x: Vector;
  /** Whether every step was solved; the residual says how well. */
  readonly solved: boolean;
  /** |F(x) - y| / |y| as the GPU computes it, in f32; of a step that could not be solved, its own. */
  readonly residual: number;
  /** The same in float64; undefined without a twin. */
  readonly exactResidual: number | undefined;
  /** Last step first, as they were solved. */
  readonly steps: readonly StepReport[];
  /** Sweeps of refinement through the chain. */
  readonly refinements: number;
}

/** A step in f32: to this share of |y|, or where rounding is in the way, to that. */
const STEP_TOLERANCE = 4e-7;
const STEP_FLOOR = 3e-6;
const TOLERANCE = 5e-7;
/** Sweeps by what Broyden's method learnt, if it solved every step: they cost one evaluation; then by derivatives. */
const CHEAP_SWEEPS = 3;
const DEAR_SWEEPS = 4;
/** What GMRES may leave in all steps together, as a share of what is missing; less where a sweep has not gained. */
const DEAR_TOLERANCE = 0.3;
const TIGHTER = 0.1;

/**
 * A preimage under all steps of a chain: one step after another from the last to the first, the preimage under one
 * being the target of the one before it; then Newton's method on the chain as a whole, which solves with the Jacobian
 * of each step in turn.
 * @param y [d]
 */
export function* solveChain(chain: Chain, y: Vector, options: ChainOptions = {}): Search<ChainSolution> {
  const { tolerance = TOLERANCE, stages, watch = {} } = options;
  const solved: StepSolution[] = []; // last step first
  let x = y;
  for (let step = chain.steps.length - 1; step >= 0; step--) {
    const { name } = chain.steps[step];
    watch.onStep?.(name);
    const problem = { step, y: x, tolerance: STEP_TOLERANCE, floor: STEP_FLOOR };
    const solution = yield* solveStep(problem, name, stages, watch);
    watch.onStep?.(name, solution.report, solution.x);
    solved.push(solution);
    x = solution.x;
    if (!solution.report.stage) break;
  }
  const steps = solved.map(({ report }) => report);
  if (steps.length < chain.steps.length || !steps.at(-1)?.stage) {
    return { x, solved: false, residual: steps.at(-1)?.residual ?? 0, exactResidual: undefined, steps, refinements: 0 };
  }

  let best = yield* judge(x);
  let refinements = 0;
  let share = DEAR_TOLERANCE;
  const inverses = solved.flatMap(({ inverse }) => inverse ?? []);
  for (const { count, isDear } of [
    { count: inverses.length === solved.length ? CHEAP_SWEEPS : 0, isDear: false },
    { count: DEAR_SWEEPS, isDear: true },
  ]) {
    for (let i = 0; i < count && best.error > tolerance; i++) {
      const dx = isDear ? yield* byDerivatives(best, share) : inverses.reduce((v, inverse) => inverse(v), best.missing);
      const next = yield* judge(plus(best.x, dx));
      refinements++;
      const gained = next.error < 0.5 * best.error;
      if (next.error < best.error) best = next;
      if (gained) continue;
      if (!isDear || next.exactResidual === undefined) break; // in f32 it may be rounding that is left
      share *= TIGHTER;
    }
  }
  const { residual, exactResidual } = best;
  return { x: best.x, solved: true, residual, exactResidual, steps, refinements };

  /** The chain evaluated at x. */
  function* judge(at: Vector): Search<Judged> {
    const states: Vector[] = [at]; // before each step, and after the last
    for (const step of chain.steps.keys()) states.push(yield* ask({ kind: 'value', step, x: states[step] }));
    const size = sizeOf(y);
    const exact = yield* ask({ kind: 'exact', x: at });
    const missing = difference(y, exact ?? states[states.length - 1]);
    const residual = norm(difference(y, states[states.length - 1])) / size;
    const exactResidual = exact && norm(missing) / size;
    return { x: at, states, missing, residual, exactResidual, error: exactResidual ?? residual };
  }

  /** J^-1 missing, step by step from the last, by derivatives at the states. @param share What may be left of missing. */
  function* byDerivatives({ states, missing }: Judged, share: number): Search<Vector> {
    let dx = missing;
    for (let step = chain.steps.length - 1; step >= 0; step--) {
      // What is left in a step goes through those behind it. Their inverses may make dx long, along directions that they
      // shrink; what is left lies along others, so a small share of dx may be more than all that is missing.
      const most = (share * Math.min(norm(missing), norm(dx))) / chain.steps.length;
      yield* ask({ kind: 'linearize', step, x: states[step] });
      dx = yield* gmres((tangent) => ask({ kind: 'jvp', tangent }), dx, {
        tolerance: most / norm(dx),
        iterations: dx.length, // products enough for any system
      });
    }
    return dx;
  }
}

interface Judged {
  readonly x: Vector;
  readonly states: readonly Vector[];
  readonly missing: Vector;
  readonly residual: number;
  readonly exactResidual: number | undefined;
  /** The better known of both. */
  readonly error: number;
}
