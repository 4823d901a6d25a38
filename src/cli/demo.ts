import { basename } from 'node:path';
import type { Command } from 'commander';
import { bytesFromArray } from '../io/blobs.ts';
import { openSafetensors } from '../io/safetensors.ts';
import { forward } from '../model/forward.ts';
import type { LoadedModel } from '../model/load.ts';
import { checkLayer } from '../model/model.ts';
import { encodeStates, readStates } from '../sipit/states-file.ts';
import type { Inversion } from '../sipit/types.ts';
import { warmUpInverter } from '../sipit/warm-up.ts';
import { take } from '../tensor/tensor.ts';
import { watchInversion } from './invert.ts';
import { lensProgress } from './lens-progress.ts';
import { type SharedOptions, sharedOptions, wholeNumber } from './options.ts';
import { packagePath } from './package.ts';
import { promptIds } from './prompt.ts';
import { jsonResult } from './result-line.ts';
import { EXIT, interruptible, isChatty, withModel } from './session.ts';
import { columns, paint, print, printJson } from './terminal.ts';
import { byteSize, cut, duration, printable, quoted, wrap } from './text.ts';

interface Options extends SharedOptions {
  readonly layer?: number;
}

const SENTENCE = 'It was past midnight when the stranger knocked softly at our door.';

const INTRODUCTION =
  'A sentence goes into a language model. The hidden states of one layer are kept, the sentence is thrown away. ' +
  'Then it is recovered, token by token, from those numbers alone.';

const LEGEND =
  'For each position: the token whose state lies nearest to the one kept; its distance, and the radius that rounding ' +
  'could explain; how much farther every other token is (≥: at least; the bar: 1 to 10,000 times the radius); how many ' +
  'were tried, and the next nearest of them.';

/** Adds `preimage demo`. */
export function addDemo(program: Command): void {
  const command = program
    .command('demo')
    .description('see a sentence go in and come back out of its hidden states')
    .argument('[text]', 'a sentence of your own', SENTENCE);
  sharedOptions(command.option('--layer <n>', 'layer to keep (default: the middle one)', wholeNumber(0)))
    .addHelpText('after', EXAMPLES)
    .action(async (text: string, options: Options) => {
      process.exitCode = await demo(text, options);
    });
}

const EXAMPLES = `
Examples:
  preimage demo
  preimage demo "Write anything you like here." --layer 6`;

async function demo(text: string, options: Options): Promise<number> {
  const say = (line = '') => {
    if (isChatty(options)) print(line);
  };
  say(paint('bold', 'preimage: a language model, run backwards'));
  say();
  say(wrap(INTRODUCTION, columns(), ''));
  say();
  const started = performance.now();
  const run = async (model: LoadedModel): Promise<number> => {
    const { config, context } = model;
    const layer = options.layer ?? Math.floor(config.layers / 2);
    checkLayer(config, layer);
    const original = promptIds(model, text, undefined);
    const file = await statesFile(model, original, layer);
    const seconds = (performance.now() - started) / 1000;

    const fact = (label: string, value: string) =>
      say(`  ${paint('dim', label.padEnd(9))}${cut(printable(value), columns() - 11)}`);
    const { layers, width } = config;
    fact('model', `${config.family} with ${layers} layers of width ${width}, ${where(options.model)}`);
    fact('adapter', `${context.adapter.name} (${context.adapter.kind === 'cpu' ? 'runs on the CPU' : 'GPU'})`);
    fact('kernels', `${context.pipelines.statistics.pipelinesCreated} compiled; all was ready in ${duration(seconds)}`);
    fact('goes in', quoted(text));
    fact('is kept', `layer ${layer} of ${layers}: ${original.length} x ${width} numbers, ${byteSize(file.length)}`);
    say();
    say(wrap(LEGEND, columns(), ''));
    say();

    return interruptible(async (signal) => {
      const result = await recover(model, file, options, signal);
      const same = result.text === text && result.tokens.join() === original.join();
      if (options.json) printJson({ original: text, same, ...jsonResult(result) });
      else if (options.quiet) print(printable(result.text ?? ''));
      if (signal.aborted) return EXIT.negative;
      say();
      say(
        same ? 'This is the sentence that went in, character for character.' : 'This is not the sentence that went in.',
      );
      return same && result.exact ? EXIT.done : EXIT.negative;
    });
  };
  return withModel(options, run, warmUpInverter);
}

const where = (model: string) => (model === packagePath('weights') ? 'in weights/' : `in ${basename(model)}`);

/** The bytes of a states file: all that the search will know. */
async function statesFile(model: LoadedModel, ids: Uint32Array, layer: number): Promise<Uint8Array> {
  const values = await take(forward(model, ids, { layer }));
  return encodeStates([{ values, width: model.config.width, layer, dtype: 'F32', model: await model.digest() }]);
}

async function recover(
  model: LoadedModel,
  file: Uint8Array,
  options: Options,
  signal: AbortSignal,
): Promise<Inversion> {
  const { records } = await readStates(await openSafetensors(bytesFromArray('the states in memory', file)));
  return watchInversion(model, records[0], { signal }, lensProgress(options, signal), isChatty(options));
}
