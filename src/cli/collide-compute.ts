import { InputError } from '../errors.ts';
import { type Cause, findCauses } from '../injectivity/causes.ts';
import { type CollisionCost, type CollisionProgress, collide } from '../injectivity/collide.ts';
import { continueClosest } from '../injectivity/exhaustive.ts';
import type { PromptSet } from '../injectivity/prompt-set.ts';
import { type CollisionResult, resultOf, type TestIdentity } from '../injectivity/result.ts';
import { folderStore, isBegun, type StoredJob } from '../injectivity/store.node.ts';
import type { LoadedModel, ModelFiles } from '../model/load.ts';
import { writeCollisions } from './collide-file.ts';
import { exitCodeOf } from './collide-view.ts';
import { EXIT } from './session.ts';
import { note, statusLine } from './terminal.ts';
import { count, counted, duration, printable } from './text.ts';

/** A test of injectivity that is to be run. */
export interface CollisionTest {
  readonly model: LoadedModel;
  readonly files: ModelFiles;
  readonly set: PromptSet;
  readonly job: StoredJob;
  /** What an earlier run has finished of it: the pairs, and perhaps continuations. */
  readonly before: CollisionResult | undefined;
}

/** How it is run. */
export interface ComputeOptions {
  /** How many of the closest prompts of each layer are continued. */
  readonly exhaustive?: number;
  /** Where the result is kept. */
  readonly output?: string;
  /** Overwrites what is there, or goes on with it. */
  readonly force?: boolean;
  readonly resume?: boolean;
  readonly isChatty: boolean;
  readonly signal: AbortSignal;
  /** Called with what there is when continuing fails and nothing is kept: pairs are too dear to be lost. */
  readonly onLost: (result: CollisionResult) => void;
}

/** What it came to. */
export interface Computed {
  readonly result: CollisionResult;
  /** Of the pairs, where they were compared now. */
  readonly cost?: CollisionCost;
  /** What is in the weights; it explains collisions only. */
  readonly causes?: readonly Cause[];
}

/** What parts of one job agree in. */
export const identityOf = ({ model, config, prompts, layers, precisions, closest }: StoredJob): TestIdentity => ({
  model,
  config,
  prompts,
  layers,
  precisions,
  closest,
});

/** Does what is left of a test, and keeps each part as it is done: pairs, continuations, causes. */
export async function compute(
  { model, files, set, job, before }: CollisionTest,
  { exhaustive, output, force, resume, isChatty, signal, onLost }: ComputeOptions,
): Promise<Computed> {
  const progress = progressOf(isChatty);
  const work = output === undefined ? undefined : `${output}.work`;
  let result = before;
  let cost: CollisionCost | undefined;
  try {
    result ??= await compareAll();
    if (exhaustive !== undefined) await continueEach(result, exhaustive);
    const causes = exitCodeOf(result) === EXIT.negative ? await findCauses(files) : undefined;
    if (causes && !result.causes) {
      result = await kept({ ...result, causes: causes.map(({ kind, what }) => ({ kind, what })) });
    }
    return { result, cost, causes };
  } catch (error) {
    progress.clear();
    const place = result ? output : work && (await isBegun(work)) ? work : undefined;
    if (place !== undefined && !(error instanceof InputError)) {
      note(`What is done is in ${printable(place)}; the same command with --resume goes on from there.`);
    }
    if (result && output === undefined) onLost(result);
    throw error;
  } finally {
    progress.clear();
  }

  async function compareAll(): Promise<CollisionResult> {
    const options = { force, resume };
    const store = work === undefined ? undefined : await folderStore(work, job, model.config.width, options);
    try {
      const ids = set.prompts.map((prompt) => prompt.ids);
      const nameOf = (prompt: number) => `line ${set.prompts[prompt].line}`;
      const collisions = await collide(model, ids, { ...job, store, signal, nameOf, onProgress: progress.show });
      cost = collisions.cost;
      const all = await kept(resultOf(collisions, set, identityOf(job)));
      await store?.remove();
      return all;
    } finally {
      await store?.close();
    }
  }

  async function continueEach(pairs: CollisionResult, most: number): Promise<void> {
    const { causes: _, exhaustive: known = [], ...bare } = pairs; // causes come last
    const all = [...known];
    for await (const one of continueClosest(model, set, pairs.layers, most, { known, signal })) {
      all.push(one);
      result = await kept({ ...bare, exhaustive: all.toSorted((a, b) => a.layer - b.layer) });
      progress.say(`continuations: layer ${one.layer}, ${counted(all.length, 'prompt')}`);
    }
  }

  async function kept(done: CollisionResult): Promise<CollisionResult> {
    if (output !== undefined) await writeCollisions(output, done);
    return done;
  }
}

/** The line at the bottom: what is being done, how fast, and how long this part will take. */
function progressOf(enabled: boolean) {
  const status = statusLine(enabled);
  let since: { readonly phase: string; readonly at: number; readonly done: number } | undefined;
  return {
    clear: status.clear,
    say: (text: string) => status.show(`  ${text}`),
    show({ phase, layer, done, total }: CollisionProgress) {
      const now = performance.now();
      if (since?.phase !== phase) since = { phase, at: now, done };
      const rate = (done - since.done) / ((now - since.at) / 1000);
      const speed = rate > 0 ? `, ${perSecond(rate)}/s, ${duration((total - done) / rate)} left` : '';
      const what = phase === 'states' ? `states of ${counted(total, 'prompt')}` : `pairs, layer ${layer}`;
      status.show(`  ${what}: ${((100 * done) / (total || 1)).toFixed(1)} %${speed}`);
    },
  };
}

const perSecond = (rate: number): string =>
  rate < 1e6 ? count(Math.round(rate)) : `${(rate / 1e6).toFixed(1)} million`;
