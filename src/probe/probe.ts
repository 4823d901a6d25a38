import { InputError } from '../errors.ts';
import { checkPlace, type LanguageModel } from '../model/model.ts';
import { positionMap } from '../model/position-map.ts';
import { createPrefixCache } from '../model/prefix-cache.ts';
import type { ReferenceModel } from '../model/reference.ts';
import { upload } from '../tensor/tensor.ts';
import type { Chain } from './chain.ts';
import { enterPrefix } from './prefix.ts';
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
  /** Called when a free vector is found, or given up. */
  readonly onSolution?: (task: number, solution: Probed) => void;
  readonly watch?: (task: number) => Watch;
  /**
   * Called after each round trip with the work on the present positions: of the tasks that are still open, in order. A
   * new list begins with each position.
   */
  readonly onRound?: (work: readonly Work[]) => void;
}

/** One free vector. */
export interface Probed extends ChainSolution {
  /** In the context: behind the prefix and the free vectors before it. */
  readonly position: number;
  readonly target: Vector;
  readonly work: Work;
}

/** What a task came to: its free vectors, in order; fewer than targets where one was not solved, or it was stopped. */
export interface ProbeResult {
  readonly prefix: Uint32Array;
  readonly solutions: readonly Probed[];
  /** Every step of every target was solved; the residuals say how well. */
  readonly solved: boolean;
}

/** Keys and values of all tasks together. */
const CACHE_BYTES = 2 ** 29;
const MOST_TASKS = 256;
const NONE = new Uint32Array();

/**
 * Finds, for every task, the input vectors under which the model's states are the targets, position by position: causal
 * attention makes each a problem of d unknowns once those before it are fixed (papers.md, section 2). All tasks run
 * side by side as rows of one batch.
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
  checkPlace(config, layer);
  checkPlace(config, from);
  if (from >= layer) {
    throw new InputError(
      `There is no step from place ${from} to ${layer}.`,
      'Let the targets stand behind the free vectors.',
    );
  }
  for (const task of tasks) checkTask(model, task, from);
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
  const { layer, from, twin, tolerance, stages, signal, onStep, onSolution, watch, onRound } = options;
  const depth = Math.ceil(layer);
  const prefixes = new Map<string, Uint32Array>();
  // Tasks of one free vector leave their prefix as it is, and share it.
  const slotKeys = tasks.map(({ prefix = NONE, targets }, i) => (targets.length === 1 ? prefix.join() : `own ${i}`));
  slotKeys.forEach((key, i) => {
    prefixes.set(key, tasks[i].prefix ?? NONE);
  });
  const keys = [...prefixes.keys()];
  const slots = slotKeys.map((key) => keys.indexOf(key)); // of each task
  const cache = createPrefixCache(model, { slots: keys.length, capacity, depth });
  try {
    const whole = positionMap(model, depth, cache);
    const twins = [...prefixes.values()].map((prefix, slot) => {
      const held = twin?.prefix(depth);
      if (prefix.length === 0) return held;
      enterPrefix(model, whole, prefix, slot);
      if (twin && held) twin.extend(twin.embed(prefix), held);
      return held;
    });
    const chain: Chain = {
      steps: subBlocks(model, layer, cache, from),
      twin: twin && ((x, slot) => twin.states(x, twins[slot]!, layer, from)),
    };
    const found = tasks.map((): Probed[] => []);
    let open = [...tasks.keys()];
    for (let n = 0; open.length > 0 && !signal?.aborted; n++) {
      const soFar = open.map((task) => begun(tasks[task].targets[n]));
      const runs = open.map((task, i): Run<ChainSolution> => {
        const search = solveChain(chain, tasks[task].targets[n], {
          tolerance,
          stages,
          watch: {
            ...watch?.(first + task),
            onStep(name, report, x) {
              if (report && x) soFar[i] = { ...soFar[i], x, steps: [...soFar[i].steps, report] };
              onStep?.(first + task, n, name, report);
            },
          },
        });
        return { slot: slots[task], search };
      });
      const { results, work } = await runRounds(runs, { context, chain, signal, onRound });
      open.forEach((task, i) => {
        const { targets, prefix = NONE } = tasks[task];
        const solution = results[i] ?? soFar[i];
        found[task].push({ ...solution, position: prefix.length + n, target: targets[n], work: work[i] });
        onSolution?.(first + task, found[task][n]);
      });
      open = open.filter((task) => found[task][n]?.solved && n + 1 < tasks[task].targets.length);
      if (open.length === 0) break;
      const rows = open.map((task) => Float32Array.from(found[task][n].x));
      context.scope(() => {
        const stacked = new Float32Array(rows.length * config.width);
        rows.forEach((row, i) => {
          stacked.set(row, i * config.width);
        });
        const segments = open.map((task) => ({ slot: slots[task], count: 1 }));
        whole.extend(upload(context, stacked, [rows.length, config.width]), segments);
      });
      if (twin) open.forEach((task, i) => void twin.extend(rows[i], twins[slots[task]]!));
    }
    return tasks.map(({ prefix = NONE, targets }, task) => ({
      prefix,
      solutions: found[task],
      solved: found[task].length === targets.length && found[task].every(({ solved }) => solved),
    }));
  } finally {
    cache.dispose();
  }
}

/** Where a solve stands before it starts; one that is stopped ends at the last step it solved. */
const begun = (x: Vector): ChainSolution => ({
  x,
  solved: false,
  residual: Number.POSITIVE_INFINITY,
  exactResidual: undefined,
  steps: [],
  refinements: 0,
});

/** Checks a task before any work is done. @throws InputError as `probe`. */
export function checkTask(
  { config }: Pick<LanguageModel, 'config'>,
  { targets, prefix = NONE }: ProbeTask,
  from: number,
): void {
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
  if (targets.some((target) => target.every((value) => value === 0))) {
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
