import type { Context } from '../gpu/context.ts';
import type { Chain } from './chain.ts';
import type { NewtonPoint } from './newton.ts';
import {
  attempts,
  type FoundPreimage,
  inspected,
  listed,
  type PreimageList,
  type PreimageOptions,
} from './preimages.ts';
import type { Problem } from './problem.ts';
import type { Search, Vector } from './requests.ts';
import { runRounds, type Work } from './rounds.ts';

/** An output whose preimages are asked for. */
export interface PreimageTask {
  readonly y: Vector;
  /** The prefix its rows see; default 0. */
  readonly slot?: number;
  /** As in `PreimageOptions`. */
  readonly known?: Vector;
}

/** A list, and what it cost. */
export interface CountedPreimages extends PreimageList {
  readonly work: Work;
}

/** What lists have in common. */
export interface SideBySideOptions extends Omit<PreimageOptions, 'known'> {
  readonly context: Context;
  /** Of one step. */
  readonly chain: Chain;
  readonly signal?: AbortSignal;
  /** Called after each round trip with the rows spent so far. */
  readonly onRound?: (rows: number) => void;
}

/** Of Newton's method and of paths in f32: what is found, the twin takes further. */
const TOLERANCE = 1e-6;
const FLOOR = 1e-5;

/**
 * Lists preimages of many outputs at once: all attempts for all of them run as rows of the same batches. Those that
 * `signal` cuts short bring nothing.
 */
export async function preimagesSideBySide(
  tasks: readonly PreimageTask[],
  { context, chain, signal, onRound, ...options }: SideBySideOptions,
): Promise<CountedPreimages[]> {
  const problems = tasks.map(({ y }): Problem => ({ step: 0, y, tolerance: TOLERANCE, floor: FLOOR }));
  const runs = tasks.flatMap(({ slot = 0, known }, task) => {
    const problem = problems[task];
    const seed = (options.seed ?? 1) + task;
    const searches: Search<readonly FoundPreimage[] | NewtonPoint>[] = attempts(problem, { ...options, seed });
    if (known) searches.push(inspected(problem, known));
    return searches.map((search) => ({ task, slot, search }));
  });
  const { results, work } = await runRounds(runs, {
    context,
    chain,
    signal,
    onRound: (work) => onRound?.(work.reduce((sum, { rows }) => sum + rows, 0)),
  });
  return problems.map((problem, task) => {
    const own = [...runs.keys()].filter((i) => runs[i].task === task);
    const ended = own.flatMap((i) => results[i] ?? []);
    const known = ended.find((one): one is NewtonPoint => 'x' in one && !('origin' in one));
    const found = ended.filter((one): one is FoundPreimage => 'origin' in one);
    const sum = (of: keyof Work) => own.reduce((total, i) => total + work[i][of], 0);
    return { ...listed(problem, found, known), work: { rows: sum('rows'), jacobians: sum('jacobians') } };
  });
}
