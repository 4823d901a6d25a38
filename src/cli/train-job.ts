import { join, resolve } from 'node:path';
import { ConfigError, InputError } from '../errors.ts';
import { folderSource } from '../io/folder.node.ts';
import { readJson } from '../io/json.ts';
import { parseConfig } from '../model/config.ts';
import { type ModelFiles, modelFiles } from '../model/load.ts';
import type { SavedTraining } from '../train/checkpoint.ts';
import { type Corpus, readCorpus } from '../train/corpus.node.ts';
import { holdOut, type TrainingData } from '../train/data.ts';
import { openTraining } from '../train/folder.node.ts';
import { completePlan, type TrainingPlan } from '../train/plan.ts';
import type { SharedOptions } from './options.ts';
import { packagePath } from './package.ts';
import { isChatty } from './session.ts';
import { progressBar } from './terminal.ts';
import {
  type About,
  freshModel,
  openTokenizer,
  readAbout,
  type TokenizerFiles,
  trainedModel,
} from './train-sources.ts';

/** The options of `preimage train`. */
export interface TrainCommandOptions extends Pick<SharedOptions, 'adapter' | 'json' | 'quiet'> {
  readonly out: string;
  readonly config?: string;
  readonly init?: string;
  readonly tokenizer?: string;
  readonly valid?: string;
  readonly steps?: number;
  readonly minutes?: number;
  readonly batch?: number;
  readonly window?: number;
  readonly accumulate?: number;
  readonly optimizer: 'adamw' | 'sgd';
  readonly learningRate?: number;
  readonly warmup?: number;
  readonly weightDecay?: number;
  readonly clip?: number;
  readonly seed: number;
  readonly evaluateEvery?: number;
  readonly checkpointEvery: number;
  readonly resume?: boolean;
  readonly force?: boolean;
}

/** A run that is ready: what to train, on what, and how. */
export interface Job {
  readonly files: ModelFiles;
  readonly tokenizer: TokenizerFiles;
  readonly data: TrainingData;
  readonly about: About;
  readonly plan: Partial<TrainingPlan>;
  readonly resume?: SavedTraining;
}

/** @returns Undefined when the signal fired first. */
export async function newJob(
  path: string,
  options: TrainCommandOptions,
  signal: AbortSignal,
): Promise<Job | undefined> {
  const { init, seed } = options;
  const fallback = init ?? packagePath('weights');
  const tokenizer = await openTokenizer(options.tokenizer ?? fallback);
  const { files, plan } = init
    ? await trainedModel(init, options.tokenizer === undefined ? undefined : tokenizer)
    : await freshModel(options.config ?? 'tiny', tokenizer, seed);
  const wanted = { ...suggested(plan, options), ...planOf(options) };
  completePlan(wanted, files.config); // says what is wrong before the text is encoded
  const texts = await readTexts(path, options.valid, tokenizer, options, signal);
  if (!texts) return undefined;
  const { corpus, valid, data } = texts;
  const fileId = (name: string, digest: string) => ({ name, digest });
  return {
    files,
    tokenizer,
    data,
    plan: wanted,
    about: {
      corpus: fileId(resolve(path), corpus.digest),
      valid: valid && fileId(resolve(options.valid!), valid.digest),
      tokenizer: fileId(tokenizer.name, tokenizer.digest),
    },
  };
}

/** What a config suggests; its learning rate is for AdamW alone. */
function suggested({ learningRate, ...rest }: Partial<TrainingPlan>, options: TrainCommandOptions) {
  return options.optimizer === 'sgd' || learningRate === undefined ? rest : { ...rest, learningRate };
}

/** What the options say of the plan. */
function planOf(options: TrainCommandOptions): Partial<TrainingPlan> {
  const {
    steps,
    batch,
    window,
    accumulate,
    learningRate,
    warmup,
    clip,
    seed,
    evaluateEvery,
    weightDecay = 0.1,
  } = options;
  const optimizer: TrainingPlan['optimizer'] =
    options.optimizer === 'sgd' ? { name: 'sgd' } : { name: 'adamw', betas: [0.9, 0.95], epsilon: 1e-8, weightDecay };
  const given = { steps, batch, window, accumulate, learningRate, warmup, clipNorm: clip, seed, evaluateEvery };
  const plan = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return { ...plan, optimizer };
}

/** The run in the folder, as it goes on. @returns Undefined when the signal fired first. */
export async function resumedJob(
  path: string | undefined,
  options: TrainCommandOptions,
  signal: AbortSignal,
): Promise<Job | undefined> {
  const { out } = options;
  const saved = await openTraining(out);
  try {
    const before = readAbout(saved.about, out);
    const config = parseConfig(saved.about.config, `${out}/training.safetensors`);
    await checkConfig(out, saved.about.config);
    const tokenizer = await openTokenizer(before.tokenizer.name === 'bytes' ? 'bytes' : out);
    expectSame(`The tokenizer in ${out}`, tokenizer.digest, before.tokenizer.digest);
    const corpusPath = path ?? before.corpus.name;
    const validPath = validToResume(options.valid, before);
    const texts = await readTexts(corpusPath, validPath, tokenizer, options, signal);
    if (!texts) return undefined;
    expectSame(corpusPath, texts.corpus.digest, before.corpus.digest);
    if (before.valid) expectSame(validPath!, texts.valid?.digest, before.valid.digest);
    return {
      files: modelFiles(out, config, saved.checkpoint, tokenizer.tokenizer),
      tokenizer,
      data: texts.data,
      plan: { ...saved.plan, ...(options.steps === undefined ? {} : { steps: options.steps }) },
      about: {
        ...before,
        corpus: { ...before.corpus, name: resolve(corpusPath) },
        valid: before.valid && { ...before.valid, name: resolve(validPath!) },
      },
      resume: saved,
    };
  } catch (error) {
    await saved.checkpoint.close();
    throw error;
  }
}

/** Where the held-out text of a run is: its file may have moved. */
function validToResume(given: string | undefined, { valid }: About): string | undefined {
  if (given === undefined || valid) return given ?? valid?.name;
  throw new InputError('--valid is given; the run held out the end of its corpus.', 'Leave it out.');
}

async function checkConfig(folder: string, trained: unknown): Promise<void> {
  const json = await readJson(folderSource(folder), 'config.json');
  if (json === undefined || JSON.stringify(json) === JSON.stringify(trained)) return;
  throw new ConfigError(
    `${join(folder, 'config.json')} is not the config that was trained.`,
    'Remove it: training.safetensors holds the one that was.',
  );
}

function expectSame(path: string, digest: string | undefined, trained: string): void {
  if (digest === trained) return;
  throw new InputError(
    `${path} is not what was trained on: its SHA-256 is ${digest?.slice(0, 16)}…, not ${trained.slice(0, 16)}….`,
    'Give the file as it was, or begin a new run from these weights with --init.',
  );
}

async function readTexts(
  corpusPath: string,
  validPath: string | undefined,
  { encoder }: TokenizerFiles,
  options: TrainCommandOptions,
  signal: AbortSignal,
): Promise<{ corpus: Corpus; valid?: Corpus; data: TrainingData } | undefined> {
  const readOne = (path: string) => {
    const bar = progressBar(`encoding ${path}`, isChatty(options), (share) => `${Math.round(100 * share)} %`);
    return readCorpus(path, encoder, { signal, onProgress: (share) => bar.update(share, 1) }).finally(bar.stop);
  };
  const corpus = await readOne(corpusPath);
  if (!corpus) return undefined;
  if (validPath === undefined) return { corpus, data: holdOut(corpus.tokens) };
  const valid = await readOne(validPath);
  return valid && { corpus, valid, data: { train: corpus.tokens, heldOut: valid.tokens } };
}
