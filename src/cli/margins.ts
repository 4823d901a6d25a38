import { type Command, InvalidArgumentError } from 'commander';
import { InputError } from '../errors.ts';
import { type MarginOptions, margins, type PrefixMargins } from '../injectivity/margins.ts';
import type { ReportPrefix } from '../injectivity/report.ts';
import { type LoadedModel, type ModelFiles, requireTokenizer } from '../model/load.ts';
import { countFrom } from '../model/model.ts';
import { seededRandom } from '../reference/random.ts';
import { testedLayers } from './collide.ts';
import { writeMarginReport } from './collide-report.ts';
import { readLines } from './lines.ts';
import { showMargins } from './margins-view.ts';
import { type Layers, layerList, type SharedOptions, sharedOptions, tokenIds, wholeNumber } from './options.ts';
import { checkOutputs } from './output.ts';
import { promptIds } from './prompt.ts';
import { EXIT, interruptible, isChatty, withFiles, withLoaded } from './session.ts';
import { note, printJson, progressBar } from './terminal.ts';
import { count, counted } from './text.ts';

interface Options extends SharedOptions {
  readonly ids?: number[];
  readonly prompts?: string;
  readonly lines?: readonly number[];
  readonly depths?: readonly number[];
  readonly layers: Layers;
  readonly tokens?: number;
  readonly seed: number;
  readonly report?: string;
  readonly force?: boolean;
}

/** Adds `preimage margins`. */
export function addMargins(program: Command): void {
  const command = program
    .command('margins')
    .description('how far apart the states of any two next tokens are, at least: the noise an inversion survives')
    .argument('[text]', 'the prompt; margins are measured behind its beginnings')
    .option('--ids <list>', 'token ids in place of text, such as 5,17,3', tokenIds)
    .option('--prompts <file>', 'many prompts in place of text, a line each: margins behind each whole one')
    .option('--lines <list>', 'only these lines of the file, such as 12,45', numberList)
    .option('--depths <list>', 'how many tokens of each prompt come before, such as 0,1,8', numberList)
    .option('--layers <list>', 'all (1 to L), or some: 1,6', layerList, 'all')
    .option('--tokens <n>', 'compare n tokens drawn at random, in place of the whole vocabulary', wholeNumber(2))
    .option('--seed <n>', 'which tokens are drawn', wholeNumber(0), 1)
    .option('--report <file>', 'also write a page of HTML with the results')
    .option('--force', 'overwrite a file that exists');
  sharedOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (text: string | undefined, options: Options) => {
      process.exitCode = await run(text, options);
    });
}

const EXAMPLES = `
The published figures of GPT-2 (arXiv 2510.15511; 1000 tokens, layers 1 to 12) are repeated by
  preimage margins "Any text." --tokens 1000 --model openai-community/gpt2

Examples:
  preimage margins "It was past midnight when the stranger knocked."
  preimage margins --prompts prompts.txt --lines 12,45 --layers 6 --json`;

/** Parser of whole numbers: `0,1,8`. */
function numberList(text: string): number[] {
  const parts = text.split(',').map((part) => part.trim());
  if (parts.every((part) => /^\d{1,9}$/.test(part))) return [...new Set(parts.map(Number))];
  throw new InvalidArgumentError('It must be whole numbers with commas between them, such as 0,1,8.');
}

async function run(text: string | undefined, options: Options): Promise<number> {
  const { prompts, report, force } = options;
  if (prompts !== undefined && (text !== undefined || options.ids !== undefined)) {
    throw new InputError('There are prompts twice: --prompts and another.', 'Give only one of them.');
  }
  if (options.lines && prompts === undefined) {
    throw new InputError('There are --lines of no file.', 'Name the file with --prompts.');
  }
  if (report !== undefined) await checkOutputs([report], prompts === undefined ? [] : [prompts], force);
  return withFiles(options, async (files) => {
    const prefixes =
      prompts === undefined ? beginnings(files, text, options) : await prefixesOf(files, prompts, options);
    const layers = testedLayers(files, options.layers);
    const tokens = options.tokens === undefined ? undefined : drawn(files, options.tokens, options.seed);
    const work = (model: LoadedModel, signal: AbortSignal) =>
      measure(model, prefixes, { layers, tokens, signal }, options);
    return withLoaded(options, files, (model) => interruptible((signal) => work(model, signal)));
  });
}

/** At most so many beginnings of a text, evenly spaced, unless --depths says which. */
const DEPTHS = 8;

function beginnings(files: ModelFiles, text: string | undefined, { ids, depths }: Options): ReportPrefix[] {
  const whole = promptIds(files, text, ids);
  const last = Math.min(whole.length, files.config.contextLength - 1);
  const steps = Math.min(DEPTHS - 1, last);
  const spaced = Array.from({ length: steps + 1 }, (_, i) => Math.round((i * last) / Math.max(steps, 1)));
  return cutAt([{ ids: whole }], depths ?? spaced);
}

async function prefixesOf(files: ModelFiles, path: string, { lines, depths }: Options): Promise<ReportPrefix[]> {
  const { kept } = await readLines(path);
  const missing = lines?.find((line) => !kept.some(({ number }) => number === line));
  if (missing !== undefined) {
    throw new InputError(`${path} has no prompt on line ${missing}.`, 'Name lines, from 1, that hold a prompt.');
  }
  const chosen = lines ? kept.filter(({ number }) => lines.includes(number)) : kept;
  const tokenizer = requireTokenizer(files);
  const prompts = chosen.map(({ number, text }) => ({ line: number, ids: Uint32Array.from(tokenizer.encode(text)) }));
  if (depths) return cutAt(prompts, depths);
  const room = files.config.contextLength - 1;
  const short = prompts.filter(({ ids }) => ids.length <= room);
  const long = prompts.find(({ ids }) => ids.length > room);
  if (long) {
    const first = `the first on line ${long.line}, of ${long.ids.length} tokens; ${room} leave room for another`;
    note(`Skipped: ${counted(prompts.length - short.length, 'prompt')}, ${first}.`);
  }
  if (short.length === 0) throw new InputError(`Every prompt of ${path} is too long.`, 'Cut them with --depths.');
  return short;
}

function cutAt(prompts: readonly ReportPrefix[], depths: readonly number[]): ReportPrefix[] {
  return prompts.flatMap(({ ids, line }) =>
    depths.map((depth) => {
      if (depth <= ids.length) return { ids: ids.slice(0, depth), line };
      const where = line === undefined ? 'The prompt' : `The prompt on line ${line}`;
      throw new InputError(`${where} has ${ids.length} tokens; depth ${depth} is asked for.`, 'Name depths it has.');
    }),
  );
}

/** Distinct tokens at random, ascending. */
function drawn({ config: { vocabularySize } }: ModelFiles, number: number, seed: number): Uint32Array {
  if (number > vocabularySize) {
    throw new InputError(
      `--tokens ${number} is more than the vocabulary of ${vocabularySize}.`,
      'Leave it out for all.',
    );
  }
  const random = seededRandom(seed);
  const all = countFrom(0, vocabularySize);
  for (let i = 0; i < number; i++) {
    const other = i + Math.floor(random.next() * (vocabularySize - i));
    [all[i], all[other]] = [all[other], all[i]];
  }
  return all.slice(0, number).sort();
}

async function measure(
  model: LoadedModel,
  prefixes: readonly ReportPrefix[],
  options: MarginOptions,
  show: Options,
): Promise<number> {
  const bar = progressBar('candidates', isChatty(show), count);
  const found: PrefixMargins[] = [];
  let failure: unknown;
  try {
    const ids = prefixes.map((prefix) => prefix.ids);
    for await (const one of margins(model, ids, { ...options, onProgress: bar.update })) {
      found.push(one);
      const { line } = prefixes[one.prefix];
      if (show.json) printJson({ ...(line !== undefined && { line }), depth: one.depth, layers: one.layers });
    }
  } catch (error) {
    if (found.length === 0) throw error;
    note(`Stopped after ${found.length} of ${prefixes.length} prefixes.`); // what is measured is shown
    if (!options.signal?.aborted || error !== options.signal.reason) failure = error;
  } finally {
    bar.stop();
  }
  if (!show.json) showMargins(model, prefixes, found, show.quiet ?? false);
  if (show.report !== undefined) {
    await writeMarginReport(show.report, found, { model, prefixes, tokens: options.tokens });
  }
  if (failure !== undefined) throw failure;
  return EXIT.done;
}
