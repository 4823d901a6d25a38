import { type Command, Option } from 'commander';
import { InputError } from '../errors.ts';
import { writeFileAtomic } from '../io/folder.node.ts';
import { forward } from '../model/forward.ts';
import type { LoadedModel } from '../model/load.ts';
import { checkLayer } from '../model/model.ts';
import { encodeStates } from '../sipit/states-file.ts';
import type { StateRecord } from '../sipit/types.ts';
import { take } from '../tensor/tensor.ts';
import { type Line, type Lines, readLines } from './lines.ts';
import { type SharedOptions, sharedOptions, tokenIds, wholeNumber } from './options.ts';
import { checkOutputs } from './output.ts';
import { promptIds } from './prompt.ts';
import { EXIT, interruptible, isChatty, withModel } from './session.ts';
import { note, print, printJson, progressBar } from './terminal.ts';
import { byteSize, count, counted, printable } from './text.ts';

interface Options extends SharedOptions {
  readonly ids?: number[];
  readonly prompts?: string;
  readonly layer?: number;
  readonly output: string;
  readonly dtype: 'f32' | 'f16' | 'bf16';
  readonly answer?: string;
  readonly force?: boolean;
}

/** Adds `preimage states`. */
export function addStates(program: Command): void {
  const command = program
    .command('states')
    .description('write the hidden states of a text: the residual stream after one layer, without the text')
    .argument('[text]', 'the prompt');
  sharedOptions(
    command
      .requiredOption('-o, --output <file>', 'safetensors file to write')
      .option('--layer <n>', '0 = embedding, L = after the last block (default: L)', wholeNumber(0))
      .addOption(new Option('--dtype <type>', 'how to store them').choices(['f32', 'f16', 'bf16']).default('f32'))
      .option('--ids <list>', 'token ids in place of text, such as 5,17,3', tokenIds)
      .option('--prompts <file>', 'many prompts in place of text, a line each')
      .option('--answer <file>', 'JSON file for text and token ids, to compare with later')
      .option('--force', 'overwrite files that exist'),
  )
    .addHelpText('after', EXAMPLES)
    .action(async (text: string | undefined, options: Options) => {
      process.exitCode = await states(text, options);
    });
}

const EXAMPLES = `
Examples:
  preimage states "Nobody knows this sentence." --layer 4 -o s.safetensors
  preimage states --prompts prompts.txt --dtype bf16 -o many.safetensors --answer many.json
  preimage invert s.safetensors`;

/** A prompt to run, and where it stands in the input. */
interface Prompt {
  readonly text?: string;
  readonly ids: Uint32Array;
}

async function states(text: string | undefined, options: Options): Promise<number> {
  const { output, answer, force } = options;
  if (options.prompts !== undefined && (text !== undefined || options.ids !== undefined)) {
    throw new InputError('There are prompts twice: --prompts and another.', 'Give only one of them.');
  }
  const outputs = answer === undefined ? [output] : [output, answer];
  await checkOutputs(outputs, options.prompts === undefined ? [] : [options.prompts], force);
  const lines = options.prompts === undefined ? undefined : await readLines(options.prompts);
  return withModel(options, (model) => interruptible((signal) => writeStates(model, text, lines, options, signal)));
}

async function writeStates(
  model: LoadedModel,
  text: string | undefined,
  lines: Lines | undefined,
  options: Options,
  signal: AbortSignal,
): Promise<number> {
  const { output, answer } = options;
  const layer = options.layer ?? model.config.layers;
  checkLayer(model.config, layer);
  const prompts = lines
    ? lines.kept.map((line) => promptOfLine(model, options.prompts!, line))
    : [{ text, ids: promptIds(model, text, options.ids) }];
  const records = await run(model, prompts, layer, options, signal);
  if (signal.aborted) {
    note(`Stopped after ${count(records.length)} of ${counted(prompts.length, 'prompt')}; nothing was written.`);
    return EXIT.negative;
  }
  const bytes = encodeStates(records);
  await writeFileAtomic(output, bytes);
  if (answer !== undefined) await writeFileAtomic(answer, answerFile(model, prompts));

  const { width } = model.config;
  const positions = prompts.reduce((sum, { ids }) => sum + ids.length, 0);
  const skipped = lines?.blank.length ?? 0;
  if (options.json) {
    printJson({
      file: output,
      layer,
      dtype: options.dtype,
      records: records.length,
      positions,
      width,
      skipped,
      bytes: bytes.length,
      answer,
    });
  } else if (!options.quiet) {
    const which = options.layer === undefined ? `${layer}, the last (--layer picks another)` : `${layer}`;
    const many = lines ? `${counted(records.length, 'record')}, ` : '';
    print(
      `${printable(output)}: ${many}${count(positions)} x ${width} states of layer ${which}, ${options.dtype}, ${byteSize(bytes.length)}`,
    );
    if (skipped > 0) print(`${counted(skipped, 'blank line')} of ${printable(options.prompts!)} skipped`);
    if (answer !== undefined) print(`${printable(answer)}: the text and its token ids`);
  }
  return EXIT.done;
}

async function run(
  model: LoadedModel,
  prompts: readonly Prompt[],
  layer: number,
  options: Options,
  signal: AbortSignal,
): Promise<StateRecord[]> {
  const dtype = options.dtype.toUpperCase() as StateRecord['dtype'];
  const digest = await model.digest();
  const bar = progressBar('prompts', isChatty(options) && prompts.length > 1, count);
  const records: StateRecord[] = [];
  try {
    for (const { ids } of prompts) {
      if (signal.aborted) break;
      const values = await take(forward(model, ids, { layer }));
      checkRange(values, dtype, layer);
      records.push({ values, width: model.config.width, layer, dtype, model: digest });
      bar.update(records.length, prompts.length);
    }
  } finally {
    bar.stop();
  }
  return records;
}

const LARGEST_F16 = 65504;

function checkRange(values: Float32Array, dtype: string, layer: number): void {
  const largest = dtype === 'F16' ? values.find((value) => Math.abs(value) > LARGEST_F16) : undefined;
  if (largest === undefined) return;
  throw new InputError(
    `A state of layer ${layer} is ${largest.toPrecision(6)}, beyond the range of f16.`,
    'Store them with --dtype bf16 or f32.',
  );
}

function promptOfLine(model: LoadedModel, path: string, { number, text }: Line): Prompt {
  try {
    return { text, ids: promptIds(model, text, undefined) };
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(`${path}, line ${number}: ${error.what}`, error.cure, { cause: error });
  }
}

function answerFile({ tokenizer }: LoadedModel, prompts: readonly Prompt[]): Uint8Array {
  const answers = prompts.map(({ text, ids }) => ({ text: text ?? tokenizer?.decode(ids), tokens: [...ids] }));
  return new TextEncoder().encode(`${JSON.stringify(answers.length === 1 ? answers[0] : answers)}\n`);
}
