import { InputError } from '../../errors.ts';
import type { Context } from '../../gpu/context.ts';
import { runRounds, type Work } from '../rounds.ts';
import { type ChainOptions, type ChainSolution, solveChain } from '../solve-chain.ts';
import type { Diffusion } from './ddim.ts';
import { POINT } from './denoiser.ts';

/** What a target took, and what was found; `solution.x` is the noise. */
export interface FoundNoise extends Work {
  /** [2] */
  readonly target: Float64Array;
  readonly solution: ChainSolution;
}

/**
 * Initial noise from which the diffusion gives each target, step by step backwards; all targets side by side. There is
 * some for every point of the plane (`deterministicDiffusion`), and where there are several, any may be found. Its
 * residual is a share of the target's length, and of 1 at the origin.
 * @param targets [n, 2]
 * @param signal Cuts it short.
 * @returns One for each target that was done with, in their order.
 * @throws InputError for numbers that are no points of the plane.
 */
export async function findNoise(
  context: Context,
  diffusion: Diffusion,
  targets: ArrayLike<number>,
  { signal, ...options }: ChainOptions & { readonly signal?: AbortSignal } = {},
): Promise<FoundNoise[]> {
  const points = pointsOf(targets);
  const runs = points.map((target) => ({ slot: 0, search: solveChain(diffusion, target, options) }));
  const { results, work } = await runRounds(runs, { context, chain: diffusion, signal });
  return results.flatMap((solution, i) => (solution ? [{ target: points[i], solution, ...work[i] }] : []));
}

function pointsOf(targets: ArrayLike<number>): Float64Array[] {
  const values = Float64Array.from(targets);
  const bad = values.find((value) => !Number.isFinite(value));
  if (bad !== undefined || values.length % POINT !== 0) {
    throw new InputError(
      `The targets are ${values.length} numbers${bad === undefined ? '' : `, one of them ${bad}`}.`,
      'Give two finite numbers for each point.',
    );
  }
  return Array.from({ length: values.length / POINT }, (_, i) => values.slice(POINT * i, POINT * (i + 1)));
}
