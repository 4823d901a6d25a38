import { InputError } from '../errors.ts';
import type { LanguageModel } from '../model/model.ts';
import { countFrom } from '../model/model.ts';
import { positionMap } from '../model/position-map.ts';
import { createPrefixCache } from '../model/prefix-cache.ts';
import type { ReferenceModel, ReferencePrefix } from '../model/reference.ts';
import { upload } from '../tensor/tensor.ts';
import type { Chain } from './chain.ts';
import type { Vector } from './requests.ts';
import { type Run, runRounds, type Work } from './rounds.ts';
import { subBlocks } from './row-map.ts';
import type { Stage, StepReport, Watch } from './solve.ts';
import { type ChainSolution, solveChain } from './solve-chain.ts';

/** Outputs to reach behind a prefix. */
export interface ProbeTask {
  /** The state that each free vector is to reach, [d] each: of consecutive positions behind the prefix. */
  readonly targets: readonly Vector[];
  /** Token ids before the first free vector; default none. */
  readonly prefix?: Uint32Array;
}

/** What to probe, and how. */
export interface ProbeOptions {
  /** Where the targets stand, in half blocks as those of `PositionMap`; default L, before `ln_f`. */
  readonly layer?: number;
  /** Where the free vectors stand; default 0, the input. Behind it only one free vector is possible. */
  readonly from?: number;
  /** The float64 twin: what residuals are verified by and refined to. */
  readonly twin?: ReferenceModel;
  /** |F(x) - y| / |y| after which no more is done. */
  readonly tolerance?: number;
  readonly stages?: readonly Stage[];
  readonly signal?: AbortSignal;
  /** Called when a step of a task's position begins (no report) and ends. */
  readonly onStep?: (task: number, position: number, name: string, report?: StepReport) => void;
  readonly watch?: (task: number) => Watch;
  /** Called after each round trip with the work of every task on its present position. */
  readonly onRound?: (work: readonly Work[]) => void;
}

/** One free vector. */
export interface Probed extends ChainSolution {
  /** In the context: behind the prefix and the free vectors before it. */
  readonly position: number;
  readonly target: Vector;
  readonly work: Work;
}

/** What a task came to: its free vectors, in order; fewer than targets where one could not be solved, or it was stopped. */
export interface ProbeResult {
  readonly prefix: Uint32Array;
  readonly solutions: readonly Probed[];
  /** All targets reached. */
  readonly solved: boolean;
}

/** Keys and values of all tasks together. */
const CACHE_BYTES = 2 ** 29;
const MOST_TASKS = 256;

/**
 * Finds, for every task, the input vectors under which the model's states are the targets, position by position: causal
 * attention makes each a problem of d unknowns once those before it are fixed (papers.md, section 2). All tasks run side
 * by side as rows of one batch.
 * @throws InputError for targets of another width or that are not finite, prefixes the model cannot take, or places it
 *   does not have.
 */
export async function probe(
  model: LanguageModel,
  tasks: readonly ProbeTask[],
  options: ProbeOptions = {},
): Promise<ProbeResult[]> {
  const { config } = model;
  const { layer = config.layers, from = 0 } = options;
  for (const task of tasks) check(model, task, from);
  const longest = Math.max(1, ...tasks.map(({ prefix = [], targets }) => prefix.length + targets.length));
  const bytes = 8 * longest * config.width * Math.max(1, Math.ceil(layer));
  const together = Math.max(1, Math.min(MOST_TASKS, Math.floor(CACHE_BYTES / bytes)));
  const results: ProbeResult[] = [];
  for (let first = 0; first < tasks.length; first += together) {
    const some = tasks.slice(first, first + together);
    results.push(...(await probeTogether(model, some, first, longest, { ...options, layer, from })));
  }
  return results;
}

async function probeTogether(
  model: LanguageModel,
  tasks: readonly ProbeTask[],
  first: number,
  capacity: number,
  options: ProbeOptions & { readonly layer: number; readonly from: number },
): Promise<ProbeResult[]> {
  const { context, config } = model;
  const { layer, from, twin, tolerance, stages, signal, onStep, watch, onRound } = options;
  const depth = Math.ceil(layer);
  const cache = createPrefixCache(model, { slots: tasks.length, capacity, depth });
  try {
    const whole = positionMap(model, depth, cache);
    const twins = tasks.map(({ prefix = new Uint32Array() }, slot) => {
      const held = twin?.prefix(depth);
      if (prefix.length > 0) {
        context.scope(() => {
          whole.extend(model.embed(prefix, countFrom(0, prefix.length)), [{ slot, count: prefix.length }]);
        });
        if (twin && held) twin.extend(twin.embed(prefix), held);
      }
      return held as ReferencePrefix;
    });
    const chain: Chain = {
      steps: subBlocks(model, layer, cache, from),
      twin: twin && ((x, slot) => twin.states(x, twins[slot], layer, from)),
    };
    const found = tasks.map((): Probed[] => []);
    for (let n = 0; n < Math.max(...tasks.map(({ targets }) => targets.length)); n++) {
      const slots = [...tasks.keys()].filter((slot) => tasks[slot].targets.length > n && found[slot].length === n);
      if (slots.length === 0 || signal?.aborted) break;
      const runs = slots.map((slot): Run<ChainSolution> => {
        const search = solveChain(chain, tasks[slot].targets[n], {
          tolerance,
          stages,
          watch: { ...watch?.(first + slot), onStep: (name, report) => onStep?.(first + slot, n, name, report) },
        });
        return { slot, search };
      });
      const { results, work } = await runRounds(runs, { context, chain, signal, onRound });
      const settled: number[] = [];
      slots.forEach((slot, i) => {
        const solution = results[i];
        const { targets, prefix = [] } = tasks[slot];
        if (!solution) return;
        found[slot].push({ ...solution, position: prefix.length + n, target: targets[n], work: work[i] });
        if (solution.solved && n + 1 < targets.length) settled.push(slot);
      });
      if (settled.length === 0) break;
      const rows = new Float32Array(settled.length * config.width);
      settled.forEach((slot, i) => {
        rows.set(found[slot][n].x, i * config.width);
        if (twin) twin.extend(rows.subarray(i * config.width, (i + 1) * config.width), twins[slot]);
      });
      context.scope(() => {
        const segments = settled.map((slot) => ({ slot, count: 1 }));
        whole.extend(upload(context, rows, [settled.length, config.width]), segments);
      });
    }
    return tasks.map(({ prefix = new Uint32Array(), targets }, slot) => ({
      prefix,
      solutions: found[slot],
      solved: found[slot].length === targets.length && found[slot].every(({ solved }) => solved),
    }));
  } finally {
    cache.dispose();
  }
}

function check({ config }: LanguageModel, { targets, prefix = new Uint32Array() }: ProbeTask, from: number): void {
  const { width, contextLength } = config;
  const wrong = targets.find((target) => target.length !== width);
  if (wrong || targets.length === 0) {
    throw new InputError(
      wrong ? `A target has ${wrong.length} elements; the model's states have ${width}.` : 'There is no target.',
      'Give a state of the model for each free vector, such as "preimage states" writes.',
    );
  }
  if (targets.some((target) => !target.every(Number.isFinite))) {
    throw new InputError('A target holds NaN or infinity.', 'Give finite numbers: such a state cannot be reached.');
  }
  if (targets.every((target) => target.every((value) => value === 0))) {
    throw new InputError('A target is zero.', 'Residuals are shares of its norm: give another, however small.');
  }
  if (prefix.length + targets.length > contextLength) {
    throw new InputError(
      `${prefix.length} tokens and ${targets.length} free vectors do not fit the ${contextLength} positions of the model.`,
      `Leave out ${prefix.length + targets.length - contextLength}.`,
    );
  }
  if (from > 0 && targets.length > 1) {
    throw new InputError(
      `${targets.length} free vectors are asked for at place ${from}.`,
      'Only at the input (place 0) can one follow another: what follows sees the blocks below.',
    );
  }
}
