import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import { InputError, SourceError } from '../errors.ts';
import { BELOW, CLOSEST, type CollisionProgress, collide } from '../injectivity/collide.ts';
import { checkTestedLayers } from '../injectivity/last-states.ts';
import { type PromptSet, promptSet } from '../injectivity/prompt-set.ts';
import { type CollisionResult, resultOf, type TestIdentity } from '../injectivity/result.ts';
import { type FolderStore, folderStore } from '../injectivity/store.node.ts';
import type { Shard } from '../injectivity/tiles.ts';
import { writeFileAtomic } from '../io/folder.node.ts';
import { type LoadedModel, type ModelFiles, requireTokenizer } from '../model/load.ts';
import { showCollisions } from './collide-view.ts';
import { shardOption } from './inputs.ts';
import { type Lines, readLines } from './lines.ts';
import { decimal, type Layers, layerList, type SharedOptions, sharedOptions, wholeNumber } from './options.ts';
import { checkOutputs } from './output.ts';
import { EXIT, interruptible, isChatty, withFiles, withLoaded } from './session.ts';
import { note, printJson, statusLine } from './terminal.ts';
import { count, counted, duration, printable } from './text.ts';

interface Options extends SharedOptions {
  readonly layers: Layers;
  readonly closest: number;
  readonly below: number;
  readonly shard?: Shard;
  readonly output?: string;
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
      .option('-o, --output <file>', 'JSON file for the result; <file>.work keeps what --resume needs')
      .option('--resume', 'go on with what an earlier run left in <output>.work'),
    'only part i of n of the pairs, for "collide merge"',
  ).option('--force', 'overwrite files that exist, begin anew');
  sharedOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (path: string, options: Options) => {
      process.exitCode = await run(path, options);
    });
}

const EXAMPLES = `
Exits with 0 when no pair is nearer than --below, 1 when one is.

Examples:
  preimage collide prompts.txt
  preimage collide prompts.txt --layers 1,6 -o collisions.json
  preimage collide prompts.txt -o collisions.json --resume`;

async function run(path: string, options: Options): Promise<number> {
  const { output, force, resume } = options;
  if (resume && output === undefined) {
    throw new InputError('There is nothing to resume.', 'Name the result with -o, as in the run that was stopped.');
  }
  if (resume && force) throw new InputError('There are --resume and --force.', 'Give only one of them.');
  if (!(options.below > 0)) throw new InputError(`--below ${options.below} is no distance.`, 'Give one above 0.');
  if (output !== undefined) {
    await checkOutputs([output], [path], force);
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
    const layers = layersOf(files, options.layers);
    const work = (model: LoadedModel, signal: AbortSignal) => test(model, set, { ...options, layers }, signal);
    return withLoaded(options, files, (model) => interruptible((signal) => work(model, signal), 'go on'));
  });
}

function layersOf({ config }: ModelFiles, layers: Layers): readonly number[] {
  const list = layers === 'all' ? Array.from({ length: config.layers }, (_, i) => i + 1) : layers;
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

async function test(
  model: LoadedModel,
  set: PromptSet,
  options: Options & { layers: readonly number[] },
  signal: AbortSignal,
): Promise<number> {
  const { layers, closest, below, shard = { index: 0, count: 1 }, output, resume = false } = options;
  const identity: TestIdentity = { model: await model.digest(), prompts: digestOf(set), layers, closest };
  const store =
    output === undefined
      ? undefined
      : await folderStore(`${output}.work`, { ...identity, shard, below }, model.config.width, resume);
  const progress = progressOf(isChatty(options));
  try {
    const ids = set.prompts.map((prompt) => prompt.ids);
    const collisions = await collide(model, ids, {
      layers,
      closest,
      below,
      shard,
      store,
      signal,
      onProgress: progress.show,
    });
    progress.clear();
    const result = resultOf(collisions, set, identity);
    await keep(output, result, store);
    if (options.json) printJson({ ...result, cost: collisions.cost });
    else showCollisions(result, collisions.cost, model, options.quiet ?? false);
    return result.layers.every((layer) => Object.values(layer.below).every((pairs) => pairs === 0))
      ? EXIT.done
      : EXIT.negative;
  } catch (error) {
    progress.clear();
    if (signal.aborted && error === signal.reason && output !== undefined) {
      note(`What is done is in ${printable(output)}.work; the same command with --resume goes on from there.`);
    }
    throw error;
  } finally {
    await store?.close();
  }
}

async function keep(
  output: string | undefined,
  result: CollisionResult,
  store: FolderStore | undefined,
): Promise<void> {
  if (output === undefined) return;
  await writeFileAtomic(output, new TextEncoder().encode(`${JSON.stringify(result, undefined, 1)}\n`));
  await store?.close();
  await store?.remove();
}

/** The line at the bottom: what is being done, how fast, and how long this part will take. */
function progressOf(enabled: boolean) {
  const status = statusLine(enabled);
  let since: { readonly phase: string; readonly at: number; readonly done: number } | undefined;
  return {
    clear: status.clear,
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
