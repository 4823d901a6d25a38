import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { ConfigError, InputError, SourceError } from '../errors.ts';
import { bytesFromArray } from '../io/blobs.ts';
import { fileBytes, fileError, folderSource } from '../io/folder.node.ts';
import { isObject, parseJson } from '../io/json.ts';
import { openSource } from '../io/open.node.ts';
import type { Source } from '../io/source.ts';
import { loadTokenizer, type Tokenizer } from '../io/tokenizer.ts';
import { type ModelConfig, parseConfig } from '../model/config.ts';
import { initialCheckpoint } from '../model/initial.ts';
import { type ModelFiles, modelFiles, openModel } from '../model/load.ts';
import { byteTokenizerJson } from '../train/byte-tokenizer.ts';
import { configNamed, namedConfigs } from '../train/configs.ts';
import { type Encoder, sha256 } from '../train/corpus.node.ts';
import type { TrainingPlan } from '../train/plan.ts';

/** A tokenizer with the files it was read from. */
export interface TokenizerFiles {
  /** As the user calls it. */
  readonly name: string;
  readonly tokenizer: Tokenizer;
  readonly encoder: Encoder;
  /** SHA-256 of all files together. */
  readonly digest: string;
  readonly files: ReadonlyMap<string, Uint8Array>;
}

/**
 * The tokenizer a user means: `bytes`, a tokenizer.json, or the folder, URL or hub id of a model that has one.
 * @throws SourceError when there is none; FormatError for a malformed one.
 */
export async function openTokenizer(name: string): Promise<TokenizerFiles> {
  const files = name === 'bytes' ? byteFiles() : await tokenizerFiles(name);
  const source: Source = {
    name,
    open: async (file) => {
      const bytes = files.get(file);
      return bytes && bytesFromArray(`${name}/${file}`, bytes);
    },
  };
  const tokenizer = await loadTokenizer(source);
  if (!tokenizer) {
    throw new SourceError(
      `${name} has no tokenizer.json.`,
      'Name one with --tokenizer, or train on bytes with --tokenizer bytes.',
    );
  }
  const digest = digestOf(files);
  return { name, tokenizer, digest, files, encoder: name === 'bytes' ? 'bytes' : { tokenizer, digest } };
}

/** As of the output of sha256sum. */
function digestOf(files: ReadonlyMap<string, Uint8Array>): string {
  const lines = [...files].map(([file, bytes]) => `${sha256(bytes)}  ${file}\n`);
  return sha256(new TextEncoder().encode(lines.join('')));
}

const byteFiles = () => new Map([['tokenizer.json', new TextEncoder().encode(JSON.stringify(byteTokenizerJson()))]]);

async function tokenizerFiles(name: string): Promise<Map<string, Uint8Array>> {
  const isFile = await stat(name).then(
    (info) => info.isFile(),
    () => false,
  );
  const source = isFile ? folderSource(dirname(name)) : await openSource(name);
  const files = new Map<string, Uint8Array>();
  for (const file of ['tokenizer.json', 'tokenizer_config.json']) {
    const opened = isFile && file === 'tokenizer.json' ? await fileBytes(name) : await source.open(file);
    if (!opened) continue;
    files.set(file, await opened.read(0, opened.sizeBytes).finally(() => opened.close()));
  }
  return files;
}

/** A model to train: where it starts, and what its shape suggests for the plan. */
export interface Beginning {
  readonly files: ModelFiles;
  readonly plan: Partial<TrainingPlan>;
}

/** Fresh weights of a shape: named, or a config.json. @throws InputError, SourceError, ConfigError */
export async function freshModel(name: string, tokenizer: TokenizerFiles, seed: number): Promise<Beginning> {
  const { vocabularySize } = tokenizer.tokenizer;
  const isNamed = Object.hasOwn(namedConfigs, name);
  const config = isNamed ? configNamed(name, vocabularySize) : await readConfig(name);
  if (config.vocabularySize !== vocabularySize) throw otherVocabulary(config, tokenizer);
  return {
    files: modelFiles(config.name, config, initialCheckpoint(config, seed), tokenizer.tokenizer),
    plan: isNamed ? namedConfigs[name].plan : {},
  };
}

async function readConfig(path: string): Promise<ModelConfig> {
  const bytes = await readFile(path).catch((cause) => {
    if (cause.code !== 'ENOENT') throw fileError(path, 'read', cause);
    throw new InputError(
      `There is no config ${path}.`,
      `Use the path of a config.json, or one of ${Object.keys(namedConfigs).join(', ')}.`,
      { cause },
    );
  });
  return parseConfig(parseJson(path, bytes), path);
}

/**
 * Weights to go on from: a model in its folder, URL or hub id.
 * @param tokenizer One that is not the model's own.
 */
export async function trainedModel(name: string, tokenizer: TokenizerFiles | undefined): Promise<Beginning> {
  const files = await openModel(await openSource(name));
  const { vocabularySize } = files.config;
  // A model's own tokenizer may leave ids unused: vocabularies are rounded up.
  if (tokenizer && tokenizer.tokenizer.vocabularySize !== vocabularySize) {
    await files.checkpoint.close();
    throw otherVocabulary(files.config, tokenizer);
  }
  return { files, plan: {} };
}

function otherVocabulary(
  { name, vocabularySize }: ModelConfig,
  { name: tokenizer, tokenizer: { vocabularySize: size } }: TokenizerFiles,
) {
  return new ConfigError(
    `The tokenizer ${tokenizer} has ${size} tokens; vocab_size = ${vocabularySize} in ${name}.`,
    'Give the tokenizer that belongs to the config with --tokenizer, or a config of that vocabulary.',
  );
}

/** What a run was trained on, as its state remembers it. */
export interface About {
  readonly corpus: FileId;
  /** The held-out text, where it is a file of its own. */
  readonly valid?: FileId;
  readonly tokenizer: FileId;
}

/** A file by name and SHA-256. */
export interface FileId {
  readonly name: string;
  readonly digest: string;
}

/** What `about` of a state says. @throws ConfigError when it was not written by `preimage train`. */
export function readAbout(about: Readonly<Record<string, unknown>>, folder: string): About {
  const id = (value: unknown): FileId | undefined =>
    isObject(value) && typeof value.name === 'string' && typeof value.digest === 'string'
      ? { name: value.name, digest: value.digest }
      : undefined;
  const corpus = id(about.corpus);
  const tokenizer = id(about.tokenizer);
  if (corpus && tokenizer) return { corpus, tokenizer, valid: id(about.valid) };
  throw new ConfigError(
    `${folder} does not say what it was trained on.`,
    'Only runs of preimage train can be resumed; begin from its weights with --init.',
  );
}
