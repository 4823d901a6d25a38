import { appendFile, writeFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { InputError } from '../errors.ts';
import { fileBytes, fileError } from '../io/folder.node.ts';
import { openSafetensors } from '../io/safetensors.ts';
import type { LoadedModel } from '../model/load.ts';
import { invert } from '../sipit/invert.ts';
import { readStates, type StatesFile } from '../sipit/states-file.ts';
import type { Inversion, PolicyName, StateRecord } from '../sipit/types.ts';
import { errorReport, showError } from './failure.ts';
import { liveView, summary } from './live.ts';
import { type SharedOptions, sharedOptions, wholeNumber } from './options.ts';
import { checkOutputs } from './output.ts';
import { EXIT, interruptible, isChatty, withModel } from './session.ts';
import { columns, paint, print, printJson, statusLine, warn } from './terminal.ts';
import { cell, count, counted, cut, duration, printable, quoted } from './text.ts';

interface Options extends SharedOptions {
  readonly layer?: number;
  readonly policy: PolicyName;
  readonly batch?: number;
  readonly output?: string;
  readonly force?: boolean;
}

/** Adds `preimage invert`. */
export function addInvert(program: Command): void {
  const command = program
    .command('invert')
    .description('recover the text, token by token, from a file of hidden states')
    .argument('<file>', 'safetensors: one tensor [T, d], or many, of one layer');
  sharedOptions(
    command
      .option('--layer <n>', 'layer of the states, where the file does not say', wholeNumber(0))
      .addOption(
        new Option('--policy <name>', 'which candidates to try')
          .choices(['likely-first', 'exhaustive'])
          .default('likely-first'),
      )
      .option('--batch <n>', 'most candidates at once', wholeNumber(1))
      .option('-o, --output <file>', 'also write the results as JSON, a line for each record')
      .option('--force', 'overwrite a file that exists'),
  )
    .addHelpText('after', EXAMPLES)
    .action(async (file: string, options: Options) => {
      process.exitCode = await invertFile(file, options);
    });
}

const EXAMPLES = `
Exits with 0 if every text was recovered exactly, 1 if not, 2 for bad input.

Examples:
  preimage states "Nobody knows this sentence." --layer 4 -o s.safetensors
  preimage invert s.safetensors
  preimage invert from-python.safetensors --layer 6 --policy exhaustive --json`;

async function invertFile(path: string, options: Options): Promise<number> {
  const { output } = options;
  if (output !== undefined) await checkOutputs([output], [path], options.force);
  const { records, skipped } = await readFile(path, options.layer);
  for (const { name, reason } of skipped) warn(`tensor ${name} is skipped: ${reason}.`);
  return withModel(options, async (model) => {
    await warnOfOtherModel(records, model);
    const save = resultFile(output);
    return interruptible(
      (signal) =>
        records.length === 1
          ? invertOne(model, records[0], options, save, signal)
          : invertMany(model, records, options, save, signal),
      output === undefined ? 'stop' : 'go on',
    );
  });
}

async function readFile(path: string, layer: number | undefined): Promise<StatesFile> {
  const file = await fileBytes(path);
  try {
    return await readStates(await openSafetensors(file), { layer });
  } finally {
    await file.close();
  }
}

async function warnOfOtherModel(records: readonly StateRecord[], model: LoadedModel): Promise<void> {
  const made = records[0]?.model;
  if (made === undefined) return;
  const loaded = await model.digest();
  if (made === loaded) return;
  warn(
    `the states come from a model with digest ${made}; ${model.name} has ${loaded}. Pass the right one with --model.`,
  );
}

/** Appends results to a file as they come, so that an interruption loses none. */
function resultFile(path: string | undefined): (result: object) => Promise<void> {
  let begun = false;
  return async (result) => {
    if (path === undefined) return;
    const write = begun ? appendFile : writeFile;
    begun = true;
    await write(path, `${JSON.stringify(result)}\n`).catch((cause) => {
      throw fileError(path, 'written', cause);
    });
  };
}

async function invertOne(
  model: LoadedModel,
  record: StateRecord,
  options: Options,
  save: (result: object) => Promise<void>,
  signal: AbortSignal,
): Promise<number> {
  const { policy, batch } = options;
  const result = await watchInversion(model, record, { policy, batch, signal }, isChatty(options));
  const line = { name: record.name, ...jsonResult(result) };
  // First to the user: what cannot be saved is not lost.
  if (options.json) printJson(line);
  else if (options.quiet) print(recovered(result));
  await save(line);
  return result.exact ? EXIT.done : EXIT.negative;
}

/** Inverts one record, position by position before the user's eyes if `live`. */
export async function watchInversion(
  model: LoadedModel,
  record: StateRecord,
  options: { policy?: PolicyName; batch?: number; signal: AbortSignal },
  live: boolean,
): Promise<Inversion> {
  if (!live) return invert(model, record, options);
  const view = liveView(model, record.values.length / record.width);
  const result = await invert(model, record, { ...options, ...view }).finally(view.end);
  print(summary(result, model, options.signal.aborted));
  return result;
}

/** A line for each record. A record the model cannot have made is reported, and the others are inverted all the same. */
async function invertMany(
  model: LoadedModel,
  records: readonly StateRecord[],
  options: Options,
  save: (result: object) => Promise<void>,
  signal: AbortSignal,
): Promise<number> {
  const { policy, batch } = options;
  const status = statusLine(isChatty(options));
  const started = performance.now();
  let done = 0;
  let exact = 0;
  let bad = 0;
  const showProgress = () => {
    const seconds = (performance.now() - started) / 1000;
    const left =
      done > 0
        ? `, ${(done / seconds).toFixed(2)} records/s, ${duration((seconds / done) * (records.length - done))} left`
        : '';
    status.show(cut(`  ${done} of ${count(records.length)}${left}`, columns() - 1));
  };

  for (const record of records) {
    showProgress();
    let result: Inversion;
    try {
      result = await invert(model, record, { policy, batch, signal });
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      status.clear();
      bad++;
      done++;
      const line = { name: record.name, ...errorReport(error) };
      if (options.json) printJson(line);
      else showError(error);
      await save(line);
      continue;
    }
    status.clear();
    if (result.exact) exact++;
    done++;
    const line = { name: record.name, ...jsonResult(result) };
    if (options.json) printJson(line);
    else if (options.quiet) print(quoted(recovered(result)));
    else print(recordLine(record, result));
    await save(line);
    if (signal.aborted) break;
  }
  status.clear();
  if (isChatty(options)) {
    const seconds = (performance.now() - started) / 1000;
    print();
    const stopped = signal.aborted ? `, stopped after ${count(done)}` : '';
    print(
      `${count(exact)} of ${counted(records.length, 'record')} exact${stopped}, ${duration(seconds)} on ${model.context.adapter.name}`,
    );
  }
  if (bad > 0) return EXIT.badInput;
  return exact === records.length ? EXIT.done : EXIT.negative;
}

function recordLine({ name = 'states' }: StateRecord, result: Inversion): string {
  const verdict = result.exact ? paint('green', cell('EXACT', 9)) : paint('red', cell('NOT EXACT', 9));
  const tokens = cell(`${result.positions.length}/${result.length}`, 8, 'right');
  const head = `${cell(printable(name), 14)} `;
  const time = cell(duration(result.cost.seconds), 10, 'right');
  const room = columns() - 14 - 1 - 9 - 8 - 7 - 10 - 2;
  return `${head}${verdict}${tokens} tokens${time}  ${cut(quoted(recovered(result)), room)}`;
}

const recovered = ({ text, tokens }: Inversion): string => (text === undefined ? tokens.join(',') : printable(text));

/** The result as `--json` prints it. */
export function jsonResult({ text, tokens, exact, layer, policy, scope, length, positions, cost }: Inversion) {
  return {
    text,
    tokens,
    exact,
    layer,
    policy,
    scope,
    length,
    positions: positions.map(({ token, text, distance, runnerUp, margin, candidates, verdict, radius }) => ({
      token,
      text,
      distance,
      runnerUp,
      margin,
      candidates,
      verdict,
      radius,
    })),
    cost,
  };
}
