import { access, constants } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { InputError, SourceError, TrainingError } from '../errors.ts';
import type { Context } from '../gpu/context.ts';
import { errorCode, fileError } from '../io/folder.node.ts';
import { largestBinding, loadModel } from '../model/load.ts';
import { namedConfigs } from '../train/configs.ts';
import { checkData } from '../train/data.ts';
import { isEmptyFolder, writeTrainingFolder } from '../train/folder.node.ts';
import { largestActivation, type TrainingPlan } from '../train/plan.ts';
import { planOf, stepsWithin, train } from '../train/train.ts';
import { errorReport, showError } from './failure.ts';
import { decimal, runOptions, wholeNumber } from './options.ts';
import { EXIT, interruptible, isChatty, withContext } from './session.ts';
import { note, paint, print, printJson, warn } from './terminal.ts';
import { count, counted, printable } from './text.ts';
import { type Job, newJob, resumedJob, type TrainCommandOptions } from './train-job.ts';
import { showResult, trainView } from './train-view.ts';

const DEFAULT_MINUTES = 10;

/** Adds `preimage train`. */
export function addTrain(program: Command): void {
  const command = program
    .command('train')
    .description('train a GPT-2 on a text, from scratch or from a model')
    .argument('[corpus]', 'a text file (UTF-8, or anything with --tokenizer bytes)')
    .requiredOption('-o, --out <folder>', 'where the model goes, with all that going on needs')
    .option('--config <name>', `${Object.keys(namedConfigs).join(', ')}, or a config.json (default: tiny)`)
    .option('--init <model>', 'begin with the weights of a model: folder, URL or hub id')
    .option('--tokenizer <where>', 'tokenizer.json, a model that has one, or bytes (default: the one in weights/)')
    .option('--valid <file>', 'held-out text (default: the last twentieth of the corpus)')
    .option('--steps <n>', 'steps to take', wholeNumber(1))
    .option('--minutes <m>', `take the steps that fit into this time (default: ${DEFAULT_MINUTES})`, decimal)
    .option('--batch <n>', 'windows of text a step', wholeNumber(1))
    .option('--window <n>', 'tokens a window (default: the context of the model)', wholeNumber(1))
    .option('--accumulate <n>', 'parts to cut a batch into, to save memory', wholeNumber(1))
    .addOption(
      new Option('--optimizer <name>', 'sgd is plain gradient descent').choices(['adamw', 'sgd']).default('adamw'),
    )
    .option('--learning-rate <r>', 'the highest', decimal)
    .option('--warmup <n>', 'steps over which the learning rate rises', wholeNumber(0))
    .option('--weight-decay <w>', 'of matrices and embeddings (default: 0.1)', decimal)
    .option('--clip <norm>', 'largest norm of the gradient, 0 for any (default: 1)', decimal)
    .option('--seed <n>', 'same seed, same losses on the same adapter', wholeNumber(0), 0)
    .option('--evaluate-every <n>', 'steps between looks at held-out text', wholeNumber(1))
    .option('--checkpoint-every <minutes>', 'how often to save', decimal, 5)
    .option(
      '--resume',
      'go on where the run in --out stopped; of the options above, only --steps may change, and --valid if it moved',
    )
    .option('--force', 'overwrite a run in --out');
  runOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (corpus: string | undefined, options: TrainCommandOptions) => {
      process.exitCode = await run(corpus, options, command);
    });
}

const EXAMPLES = `
Ctrl-C saves the state; --resume goes on as if nothing had been.

Examples:
  preimage train book.txt --out runs/book --minutes 5
  preimage train --resume --out runs/book
  preimage train book.txt --out runs/bytes --config tiny --tokenizer bytes --steps 500
  preimage generate "Once upon a time" --model runs/book --temperature 0.8`;

async function run(corpus: string | undefined, options: TrainCommandOptions, command: Command): Promise<number> {
  if (!(options.checkpointEvery > 0)) {
    throw new InputError(`--checkpoint-every is ${options.checkpointEvery} minutes.`, 'Use more than 0.');
  }
  if (options.resume) checkResumeOptions(command);
  else await checkOptions(corpus, options);
  return interruptible(async (signal) => {
    const job = options.resume ? await resumedJob(corpus, options, signal) : await newJob(corpus!, options, signal);
    if (!job) {
      note('Stopped before training began; nothing was written.');
      return EXIT.negative;
    }
    return perform(job, options, signal).finally(() => job.files.checkpoint.close());
  });
}

function checkResumeOptions(command: Command): void {
  const kept = ['out', 'resume', 'steps', 'valid', 'checkpointEvery', 'adapter', 'json', 'quiet'];
  const changed = command.options.find(
    (option) =>
      !kept.includes(option.attributeName()) && command.getOptionValueSource(option.attributeName()) === 'cli',
  );
  if (!changed) return;
  throw new InputError(
    `${changed.long} is given with --resume, which goes on with the options of the run.`,
    'Leave it out, or begin a new run with --init.',
  );
}

async function checkOptions(corpus: string | undefined, options: TrainCommandOptions): Promise<void> {
  const refuse = (when: boolean, what: string, cure: string) => {
    if (when) throw new InputError(what, cure);
  };
  refuse(
    corpus === undefined,
    'There is no corpus.',
    'Name a text file, or go on with a run by --resume --out FOLDER.',
  );
  const { steps, minutes, config, init, optimizer, weightDecay, out, force } = options;
  refuse(steps !== undefined && minutes !== undefined, 'There are --steps and --minutes.', 'Give only one of them.');
  refuse(minutes !== undefined && !(minutes > 0), `There are ${minutes} minutes.`, 'Use more than 0.');
  refuse(config !== undefined && init !== undefined, 'There are --config and --init.', 'A model has its config.');
  refuse(optimizer === 'sgd' && weightDecay !== undefined, 'sgd has no weight decay.', 'Leave out --weight-decay.');
  if (!force && !(await isEmptyFolder(out))) {
    throw new SourceError(
      `${out} exists and is not empty.`,
      'Go on with its run by --resume, overwrite it with --force, or choose another folder.',
    );
  }
  await checkWritable(out);
}

/** @throws SourceError unless the folder can be made, or written to. */
async function checkWritable(folder: string): Promise<void> {
  for (let place = resolve(folder); ; place = dirname(place)) {
    try {
      return await access(`${place}/.`, constants.W_OK);
    } catch (cause) {
      if (errorCode(cause) !== 'ENOENT' || place === dirname(place)) throw fileError(folder, 'written', cause);
    }
  }
}

async function perform(job: Job, options: TrainCommandOptions, signal: AbortSignal): Promise<number> {
  const { config } = job.files;
  const plan = planOf({ ...job.plan, resume: job.resume }, config);
  checkData(job.data, plan, config.vocabularySize); // before a device is asked for
  const bindingBytes = Math.max(largestBinding(config), largestActivation(plan, config));
  try {
    return await withContext(options, (context) => trainOn(context, job, plan, options, signal), bindingBytes);
  } catch (error) {
    if (!(error instanceof TrainingError)) throw error;
    if (options.json) printJson(errorReport(error));
    else showError(error);
    return EXIT.negative;
  }
}

async function trainOn(
  context: Context,
  { files, tokenizer, data, about, plan: given, resume }: Job,
  plan: TrainingPlan,
  options: TrainCommandOptions,
  signal: AbortSignal,
): Promise<number> {
  const { config } = files;
  const { out, minutes = DEFAULT_MINUTES } = options;
  for (const warning of config.warnings) warn(warning);
  const model = await loadModel(context, files);
  const view = trainView(options);
  try {
    if (isChatty(options)) introduce({ files, data, about, resume }, plan, context.adapter.name);
    view.status('compiling kernels');
    const isTimed = !resume && options.steps === undefined;
    const steps = isTimed ? await stepsWithin(model, data, given, 60 * minutes) : plan.steps;
    const result = await train(model, data, {
      ...given,
      steps,
      resume,
      signal,
      checkpointSeconds: 60 * options.checkpointEvery,
      onStep: view.onStep,
      onEvaluation: view.onEvaluation,
      async onCheckpoint(state) {
        await files.checkpoint.close(); // read by now; a file in use cannot be replaced on every system
        view.status('saving');
        await writeTrainingFolder(out, state, { config, tokenizerFiles: tokenizer.files, about: { ...about } });
      },
    });
    view.clear();
    showResult(result, out, options);
    if (result.step === result.steps) return EXIT.done;
    note(`Stopped after step ${count(result.step)} of ${count(result.steps)}. To go on:`);
    note(`  preimage train --resume --out ${printable(out)}`);
    return EXIT.negative;
  } finally {
    view.clear();
    model.dispose();
  }
}

function introduce(
  { data, about, files, resume }: Omit<Job, 'tokenizer' | 'plan'>,
  plan: TrainingPlan,
  adapter: string,
): void {
  const { layers, width, vocabularySize } = files.config;
  const fact = (label: string, value: string) => print(`  ${paint('dim', label.padEnd(10))}${printable(value)}`);
  fact('model', `${counted(layers, 'layer')} of width ${width}, ${counted(vocabularySize, 'token')}: ${files.name}`);
  const share = about.valid ? about.valid.name : 'the last twentieth of it';
  fact('text', `${about.corpus.name}, ${counted(data.train.length, 'token')}`);
  fact('held out', `${share}, ${counted(data.heldOut.length, 'token')}`);
  fact('a step', `${plan.batch} windows of ${plan.window} tokens, ${plan.optimizer.name}`);
  fact('adapter', adapter);
  if (resume) fact('goes on', `after step ${count(resume.losses.length)} of ${count(plan.steps)}`);
  print();
}
