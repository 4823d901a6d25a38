import { ConfigError, InputError } from '../errors.ts';
import type { Context } from '../gpu/context.ts';
import type { Checkpoint } from '../io/checkpoint.ts';
import { readJson } from '../io/json.ts';
import { openCheckpoint } from '../io/sharded.ts';
import type { ByteSource, Source } from '../io/source.ts';
import { loadTokenizer, type Tokenizer } from '../io/tokenizer.ts';
import { type ModelConfig, parseConfig } from './config.ts';
import { gpt } from './gpt.ts';
import type { LanguageModel } from './model.ts';
import { digest } from './parameters.ts';
import { loadWeights, type OnLoad } from './weights.ts';

/** A model's files, opened but not loaded. */
export interface ModelFiles {
  readonly name: string;
  readonly config: ModelConfig;
  readonly checkpoint: Checkpoint;
  /** Undefined when the source has no tokenizer.json: the model then speaks in token ids. */
  readonly tokenizer: Tokenizer | undefined;
  /** Opens another file of the source the model came from; undefined when there is none. */
  open(path: string): Promise<ByteSource | undefined>;
  /** Fingerprint of the weights, computed when first asked for. */
  digest(): Promise<string>;
}

/** A model ready to run. */
export interface LoadedModel extends LanguageModel, Omit<ModelFiles, 'checkpoint'> {}

/**
 * Opens config.json, the weights' header and the tokenizer of a source.
 * @throws ConfigError when there is no config.json; FormatError, SourceError.
 */
export async function openModel(source: Source): Promise<ModelFiles> {
  const json = await readJson(source, 'config.json');
  if (json === undefined) {
    throw new ConfigError(
      `${source.name} has no config.json.`,
      'Pass a folder, URL or hub id that holds config.json and model.safetensors.',
    );
  }
  const config = parseConfig(json, `${source.name}/config.json`);
  const [checkpoint, tokenizer] = await Promise.all([openCheckpoint(source), loadTokenizer(source)]);
  return { ...modelFiles(source.name, config, checkpoint, tokenizer), open: (path) => source.open(path) };
}

/** Model files from parts already at hand. */
export function modelFiles(
  name: string,
  config: ModelConfig,
  checkpoint: Checkpoint,
  tokenizer?: Tokenizer,
): ModelFiles {
  let fingerprint: Promise<string> | undefined;
  return {
    name,
    config,
    checkpoint,
    tokenizer,
    open: async () => undefined,
    digest: () => {
      fingerprint ??= digest(checkpoint, config);
      return fingerprint;
    },
  };
}

/**
 * Loads a model's weights onto the GPU. The files are the model's from then on: `dispose` closes them.
 * @throws MissingTensorError, OutOfMemoryError, SourceError
 */
export async function loadModel(context: Context, files: ModelFiles, onLoad?: OnLoad): Promise<LoadedModel> {
  const weights = await loadWeights(context, files.config, files.checkpoint, onLoad);
  const model = gpt(context, files.config, weights);
  const { name, tokenizer, digest, open, checkpoint } = files;
  const dispose = () => {
    model.dispose();
    void checkpoint.close();
  };
  return { ...model, name, tokenizer, digest, open, dispose, [Symbol.dispose]: dispose };
}

/**
 * The tokenizer of a model.
 * @throws InputError when it has none.
 */
export function requireTokenizer({ name, tokenizer }: Pick<ModelFiles, 'name' | 'tokenizer'>): Tokenizer {
  if (tokenizer) return tokenizer;
  throw new InputError(
    `${name} has no tokenizer.json.`,
    'Give token ids instead of text (--ids 5,17,3), or add the tokenizer to the model.',
  );
}

/** The largest tensor a model binds, in bytes: what to ask the device for (`ContextOptions.bindingBytes`). */
export function largestBinding({ vocabularySize, contextLength, width, innerWidth }: ModelConfig): number {
  return 4 * width * Math.max(vocabularySize, contextLength, 3 * width, innerWidth);
}
