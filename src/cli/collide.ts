import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { InputError, SourceError } from '../errors.ts';
import { type Cause, findCauses } from '../injectivity/causes.ts';
import { BELOW, CLOSEST, type CollisionCost, type CollisionProgress, collide } from '../injectivity/collide.ts';
import { continueClosest } from '../injectivity/exhaustive.ts';
import { checkTestedLayers } from '../injectivity/last-states.ts';
import { type PromptSet, promptSet } from '../injectivity/prompt-set.ts';
import { PRECISIONS, type Precision } from '../injectivity/quantise.ts';
import { boundOf } from '../injectivity/report-words.ts';
import { type CollisionResult, resultOf, type TestIdentity } from '../injectivity/result.ts';
import { type FolderStore, folderStore, type StoredJob } from '../injectivity/store.node.ts';
import type { Shard } from '../injectivity/tiles.ts';
import { type LoadedModel, type ModelFiles, requireTokenizer } from '../model/load.ts';
import { readCollisions, writeCollisions } from './collide-file.ts';
import { addCollideMerge } from './collide-merge.ts';
import { writeCollisionReport } from './collide-report.ts';
import { exitCodeOf, showCollisions } from './collide-view.ts';
import { shardOption } from './inputs.ts';
import { layersOf } from './lens.ts';
import { type Line, type Lines, readLines } from './lines.ts';
import { decimal, type Layers, layerList, type SharedOptions, sharedOptions, wholeNumber } from './options.ts';
import { checkOutputs } from './output.ts';
import { EXIT, interruptible, isChatty, withFiles, withLoaded } from './session.ts';
import { note, printJson, statusLine } from './terminal.ts';
import { count, counted, duration, printable } from './text.ts';

interface Options extends SharedOptions {
  readonly layers: Layers;
  readonly closest: number;
  readonly below: number;
  readonly precision: readonly Precision[];
  readonly exhaustive?: number;
  readonly shard?: Shard;
  readonly output?: string;
  readonly report?: string;
  readonly resume?: boolean;
  readonly force?: boolean;
}

/** Adds `preimage collide`. */
export function addCollide(program: Command): void {
  const command = shardOption(
    program
      .command('collide')
      .description('compare the last-token states of all pairs of prompts, at every layer: do any two collide?')
      .argument('<prompts>', 'a file with a prompt on each line')
      .option('--layers <list>', 'all (1 to L), or some: 1,6', layerList, 'all')
      .option('--closest <n>', 'how many of the closest pairs are kept of each layer', wholeNumber(1), CLOSEST)
      .option('--below <distance>', 'count the pairs nearer than this', decimal, BELOW)
      .option('--precision <list>', `how states are stored, some of ${PRECISIONS.join(', ')}`, precisionList, ['f32'])
      .option('--exhaustive <k>', 'also continue the k closest prompts of each layer by every token', wholeNumber(1))
      .option('-o, --output <file>', 'JSON file for the result; <file>.work keeps what --resume needs')
      .option('--report <file>', 'also write a page of HTML with the results')
      .option('--resume', 'go on with what an earlier run left in <output>.work'),
    'only part i of n of the pairs, for "collide merge"',
  ).option('--force', 'overwrite files that exist, begin anew');
  sharedOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (path: string, options: Options) => {
      process.exitCode = await run(path, options);
    });
  addCollideMerge(command);
}

/** Parser of precisions: `f32,int8`. */
function precisionList(text: string): Precision[] {
  const list = [...new Set(text.split(',').map((part) => part.trim()))];
  const known = list.filter((name): name is Precision => PRECISIONS.some((precision) => precision === name));
  if (known.length === list.length) return known;
  throw new InvalidArgumentError(`It must be some of ${PRECISIONS.join(', ')}, with commas between them.`);
}

const EXAMPLES = `
Exits with 0 when no pair is nearer than --below, continuations included, 1 when one is.
--resume with a result that is whole shows it again: with --report as a page, with --exhaustive continued.

Examples:
  preimage collide prompts.txt
  preimage collide prompts.txt --layers 1,6 -o collisions.json
  preimage collide prompts.txt --exhaustive 10 --report collisions.html
  preimage collide prompts.txt --precision f32,bf16,int8,int4
  preimage collide prompts.txt -o collisions.json --resume`;

async function run(path: string, options: Options): Promise<number> {
  const { output, force, resume } = options;
  if (resume && output === undefined) {
    throw new InputError('There is nothing to resume.', 'Name the result with -o, as in the run that was stopped.');
  }
  if (options.exhaustive !== undefined && (options.shard?.count ?? 1) > 1) {
    throw new InputError(
      'The closest prompts are known once all shards are merged; --exhaustive cannot be told for one.',
      'Leave --exhaustive out, merge, and run "preimage collide PROMPTS -o MERGED --resume --exhaustive K".',
    );
  }
  if (resume && force) throw new InputError('There are --resume and --force.', 'Give only one of them.');
  if (!(options.below > 0)) throw new InputError(`--below ${options.below} is no distance.`, 'Give one above 0.');
  if (options.report !== undefined) await checkOutputs([options.report], [path], force);
  if (output !== undefined) {
    const others = options.report === undefined ? [path] : [path, options.report];
    await checkOutputs([output], others, force || resume); // a finished result is shown again
    const isBegun = await stat(`${output}.work`).catch(() => undefined);
    if (isBegun && !resume && !force) {
      throw new SourceError(
        `${output}.work exists: a run that was stopped left it.`,
        'Go on with --resume, or begin anew with --force.',
      );
    }
  }
  const lines = await readLines(path);
  return withFiles(options, async (files) => {
    const set = promptsOf(files, lines);
    const layers = testedLayers(files, options.layers);
    const job = await jobOf(files, set, layers, options);
    const before = resume ? await finished(output!, job) : undefined;
    const subject = { files, set, lines: lines.kept, job, before };
    const work = (model: LoadedModel, signal: AbortSignal) => test({ model, ...subject }, options, signal);
    return withLoaded(options, files, (model) => interruptible((signal) => work(model, signal), 'go on'));
  });
}

/** The layers of an injectivity test, ascending. @throws InputError for those that cannot be tested. */
export function testedLayers({ config }: ModelFiles, layers: Layers): readonly number[] {
  const list = layersOf({ config }, layers);
  checkTestedLayers(config, list);
  return [...list].sort((a, b) => a - b);
}

/** Prompts by tokens; blank lines count as skipped. */
function promptsOf(files: ModelFiles, { kept, blank }: Lines): PromptSet {
  const tokenizer = requireTokenizer(files);
  const set = promptSet(
    files.config,
    kept.map(({ number, text }) => ({ line: number, ids: () => tokenizer.encode(text) })),
  );
  const skipped = [...set.skipped, ...blank.map((line) => ({ line, reason: 'The line is blank.' }))];
  return { ...set, skipped: skipped.sort((a, b) => a.line - b.line) };
}

function digestOf({ prompts }: PromptSet): string {
  const hash = createHash('sha256');
  for (const { line, ids } of prompts) hash.update(`${line}:${ids.join()}\n`);
  return hash.digest('hex').slice(0, 16);
}

async function jobOf(
  files: ModelFiles,
  set: PromptSet,
  layers: readonly number[],
  { precision: precisions, exhaustive = 1, closest, below, shard = { index: 0, count: 1 } }: Options,
): Promise<StoredJob> {
  const [model, prompts] = [await files.digest(), digestOf(set)];
  // n prompts are in n - 1 pairs at the most.
  return { model, prompts, layers, precisions, closest: Math.max(closest, exhaustive - 1), shard, below };
}

/** What parts of one job agree in. */
const identityOf = ({ model, prompts, layers, precisions, closest }: StoredJob): TestIdentity => ({
  model,
  prompts,
  layers,
  precisions,
  closest,
});

/**
 * The result that an earlier run of a job has written, continued or not; undefined where there is none.
 * @throws InputError when the file holds another.
 */
async function finished(path: string, job: StoredJob): Promise<CollisionResult | undefined> {
  if (!(await stat(path).catch(() => undefined))) return undefined;
  const result = await readCollisions(path);
  const { index, count } = result.shard ?? { index: 0, count: 1 };
  const isSamePart = index === job.shard.index && count === job.shard.count;
  const isSameTest = JSON.stringify(result.test) === JSON.stringify(identityOf(job)) && boundOf(result) === job.below;
  if (isSamePart && isSameTest) return result;
  throw new InputError(`${path} is the result of another test.`, 'Choose another name, or overwrite it with --force.');
}

/** What is tested. */
interface Subject {
  readonly model: LoadedModel;
  readonly files: ModelFiles;
  readonly set: PromptSet;
  readonly lines: readonly Line[];
  readonly job: StoredJob;
  /** Its result, where an earlier run has written it. */
  readonly before: CollisionResult | undefined;
}

async function test(subject: Subject, options: Options, signal: AbortSignal): Promise<number> {
  const { model, set, lines } = subject;
  const { result, cost, causes } = await compute(subject, options, signal);
  if (options.json) printJson({ ...result, cost });
  else showCollisions(result, { model, set, cost, causes, quiet: options.quiet ?? false });
  if (options.report !== undefined) {
    await writeCollisionReport(options.report, result, { model, set, lines, cost, causes });
  }
  return exitCodeOf(result);
}

interface Computed {
  readonly result: CollisionResult;
  readonly cost?: CollisionCost;
  /** What is in the weights; it explains collisions only. */
  readonly causes?: readonly Cause[];
}

/** Runs what is left of a test, and keeps its result. */
async function compute(
  { model, files, set, job, before }: Subject,
  { exhaustive, output, resume = false, ...options }: Options,
  signal: AbortSignal,
): Promise<Computed> {
  const { width } = model.config;
  const isStored = output !== undefined && !before;
  const store = isStored ? await folderStore(`${output}.work`, job, width, resume) : undefined;
  const progress = progressOf(isChatty(options));
  try {
    const ids = set.prompts.map((prompt) => prompt.ids);
    const nameOf = (prompt: number) => `line ${set.prompts[prompt].line}`;
    const compare = () => collide(model, ids, { ...job, store, signal, nameOf, onProgress: progress.show });
    const collisions = before ? undefined : await compare();
    let result = collisions ? resultOf(collisions, set, identityOf(job)) : before!;
    if (exhaustive !== undefined && exhaustive !== continuedIn(result)) {
      const all = continueClosest(model, set, result.layers, exhaustive, { signal });
      const continued = await gather(all, (one, done) =>
        progress.say(`continuations: layer ${one.layer}, ${counted(done, 'prompt')}`),
      );
      const { causes: _, ...pairs } = result; // causes come last, as in one run
      result = { ...pairs, exhaustive: continued };
    }
    const causes = exitCodeOf(result) === EXIT.negative ? await findCauses(files) : undefined;
    if (causes && !result.causes) result = { ...result, causes: causes.map(({ kind, what }) => ({ kind, what })) };
    if (result !== before) await keep(output, result, store);
    return { result, cost: collisions?.cost, causes };
  } catch (error) {
    if (signal.aborted && error === signal.reason && isStored) {
      progress.clear();
      note(`What is done is in ${printable(output)}.work; the same command with --resume goes on from there.`);
    }
    throw error;
  } finally {
    progress.clear();
    await store?.close();
  }
}

/** How many prompts of each layer a result has continued. */
const continuedIn = ({ layers, exhaustive = [] }: CollisionResult): number =>
  Math.max(0, ...layers.map(({ layer }) => exhaustive.filter((one) => one.layer === layer).length));

async function gather<T>(from: AsyncGenerator<T>, onEach: (one: T, done: number) => void): Promise<T[]> {
  const all: T[] = [];
  for await (const one of from) {
    all.push(one);
    onEach(one, all.length);
  }
  return all;
}

async function keep(
  output: string | undefined,
  result: CollisionResult,
  store: FolderStore | undefined,
): Promise<void> {
  if (output === undefined) return;
  await writeCollisions(output, result);
  await store?.close();
  await store?.remove();
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
      status.show(`  ${what}: ${((100 * done) / total).toFixed(1)} %${speed}`);
    },
  };
}

const perSecond = (rate: number): string =>
  rate < 1e6 ? count(Math.round(rate)) : `${(rate / 1e6).toFixed(1)} million`;
