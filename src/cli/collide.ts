import { stat } from 'node:fs/promises';
import { type Command, InvalidArgumentError } from 'commander';
import { InputError } from '../errors.ts';
import { BELOW, CLOSEST, checkBound } from '../injectivity/collide.ts';
import { checkTestedLayers } from '../injectivity/last-states.ts';
import { type PromptSet, promptSet } from '../injectivity/prompt-set.ts';
import { PRECISIONS, type Precision } from '../injectivity/quantise.ts';
import { boundOf } from '../injectivity/report-words.ts';
import type { CollisionResult } from '../injectivity/result.ts';
import { checkNew, isBegun, type StoredJob } from '../injectivity/store.node.ts';
import type { Shard } from '../injectivity/tiles.ts';
import { type LoadedModel, type ModelFiles, requireTokenizer } from '../model/load.ts';
import { type CollisionTest, type Computed, compute, identityOf } from './collide-compute.ts';
import { readCollisions } from './collide-file.ts';
import { addCollideMerge } from './collide-merge.ts';
import { writeCollisionReport } from './collide-report.ts';
import { exitCodeOf, showCollisions } from './collide-view.ts';
import { fingerprint, shardOption } from './inputs.ts';
import { layersOf } from './lens.ts';
import { type Line, type Lines, readLines } from './lines.ts';
import { decimal, type Layers, layerList, type SharedOptions, sharedOptions, wholeNumber } from './options.ts';
import { checkOutputs } from './output.ts';
import { interruptible, isChatty, withFiles, withLoaded } from './session.ts';
import { printJson } from './terminal.ts';

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
      .option('--resume', 'go on with what an earlier run left in <output>.work, or show what it finished'),
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
--resume of a finished result shows it again: with --report as a page, with --exhaustive continued.

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
  const { exhaustive = 0, closest } = options;
  if (exhaustive > 0 && (options.shard?.count ?? 1) > 1) {
    const more = exhaustive - 1 > closest ? `, give --closest ${exhaustive - 1}` : '';
    throw new InputError(
      'The closest prompts are known once all shards are merged; --exhaustive cannot be told for one.',
      `Leave it out${more}, merge, and run "preimage collide PROMPTS -o MERGED --resume --exhaustive ${exhaustive}" with the other options.`,
    );
  }
  if (exhaustive > 0 && !options.precision.includes('f32')) {
    throw new InputError(
      `--exhaustive continues by the states as computed; --precision ${options.precision.join()} leaves them out.`,
      'Put f32 among --precision.',
    );
  }
  if (resume && force) throw new InputError('There are --resume and --force.', 'Give only one of them.');
  checkBound(options.below);
  if (options.report !== undefined)
    await checkOutputs([options.report], [path], force, resume ? 'Choose another name.' : undefined);
  if (output !== undefined) {
    const others = options.report === undefined ? [path] : [path, options.report];
    await checkOutputs([output], others, force || resume); // a finished result is shown again
    if (!resume && !force) await checkNew(`${output}.work`);
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

const promptsDigest = ({ prompts }: PromptSet): string =>
  fingerprint(prompts.map(({ line, ids }) => `${line}:${ids.join()}\n`));

/** What the forward is by, besides the weights. */
function configDigest({ config }: ModelFiles): string {
  const { heads, activation, layerNormEpsilon, layers } = config;
  const blocks = Array.from({ length: layers }, (_, i) => [config.attentionScale(i), config.attentionWindow(i)]);
  return fingerprint([JSON.stringify([heads, activation, layerNormEpsilon, blocks])]);
}

async function jobOf(
  files: ModelFiles,
  set: PromptSet,
  layers: readonly number[],
  { precision: precisions, exhaustive = 1, closest, below, shard = { index: 0, count: 1 } }: Options,
): Promise<StoredJob> {
  const [model, config, prompts] = [await files.digest(), configDigest(files), promptsDigest(set)];
  // So many prompts may need as many pairs; where pairs share prompts, fewer are continued.
  return { model, config, prompts, layers, precisions, closest: Math.max(closest, exhaustive - 1), shard, below };
}

/**
 * The result that an earlier run of a job has finished, continued or not; undefined where there is none.
 * @throws InputError when the file holds another, or too few of the closest pairs.
 */
async function finished(path: string, job: StoredJob): Promise<CollisionResult | undefined> {
  if (!(await stat(path).catch(() => undefined)) || (await isBegun(`${path}.work`))) return undefined;
  const result = await readCollisions(path);
  const { closest } = result.test;
  const { index, count } = result.shard ?? { index: 0, count: 1 };
  const isSamePart = index === job.shard.index && count === job.shard.count;
  const isSameTest = JSON.stringify(result.test) === JSON.stringify({ ...identityOf(job), closest });
  if (!isSamePart || !isSameTest || boundOf(result) !== job.below) {
    throw new InputError(
      `${path} is the result of another test.`,
      'Choose another name, or overwrite it with --force.',
    );
  }
  if (job.closest > closest) {
    throw new InputError(
      `${path} keeps the ${closest} closest pairs of a layer; ${job.closest} are asked for.`,
      `Give --closest ${closest} and --exhaustive ${closest + 1} at the most, or compare anew under another name.`,
    );
  }
  return result;
}

async function test(
  subject: CollisionTest & { readonly lines: readonly Line[] },
  options: Options,
  signal: AbortSignal,
): Promise<number> {
  const { model, set, lines } = subject;
  const show = (result: CollisionResult, more: Partial<Computed> = {}) => {
    if (options.json) printJson({ ...result, cost: more.cost });
    else showCollisions(result, { model, set, ...more, quiet: options.quiet ?? false });
  };
  const computed = await compute(subject, { ...options, isChatty: isChatty(options), signal, onLost: show });
  const { result, cost, causes } = computed;
  show(result, { cost, causes });
  if (options.report !== undefined) {
    await writeCollisionReport(options.report, result, { model, set, lines, cost, causes });
  }
  return exitCodeOf(result);
}
