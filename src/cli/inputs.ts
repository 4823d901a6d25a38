import { createHash } from 'node:crypto';
import { readdir, stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { type Command, InvalidArgumentError } from 'commander';
import { InputError, PreimageError } from '../errors.ts';
import type { Shard } from '../injectivity/tiles.ts';
import { fileBytes, fileError } from '../io/folder.node.ts';
import { openSafetensors } from '../io/safetensors.ts';
import type { ModelFiles } from '../model/load.ts';
import { resolveParameters } from '../model/parameters.ts';
import { type FileRecord, type ReadStatesOptions, readStates, type StatesFile } from '../sipit/states-file.ts';

/** A file of states that is to be read. */
export interface InputFile {
  readonly path: string;
  readonly sizeBytes: number;
}

/** One thing to invert, in the order of all there are: a record, or a file that cannot be read. */
export interface Entry {
  readonly file: string;
  /** The record's name in its file. */
  readonly name?: string;
  /** What to call it in a table. */
  readonly label: string;
  /** Its number among all there are, those of other shards included; from 0. */
  readonly number: number;
  /** Whether there is none behind it, in any shard. */
  readonly isLast: boolean;
  /** Share of all input, in bytes, that is behind it. */
  readonly share: number;
  readonly record?: FileRecord;
  /** The file the record is of, and which of its records it is. */
  readonly states?: StatesFile;
  readonly index: number;
  readonly error?: PreimageError;
}

/** Adds `--shard`: part i, from 0, of n parts of a job. */
export function shardOption(command: Command, description: string): Command {
  return command.option('--shard <i/n>', description, shard);
}

function shard(text: string): Shard {
  const found = parseShard(text);
  if (found) return found;
  throw new InvalidArgumentError('It must be i/n with i from 0 to n - 1, such as 0/4.');
}

/** The shard that i/n names; undefined where there is no such part. */
export function parseShard(text: string): Shard | undefined {
  const [, index, count] = (/^(\d{1,9})\/(\d{1,9})$/.exec(text) ?? []).map(Number);
  return index < count ? { index, count } : undefined;
}

/** A shard as `parseShard` reads it. */
export const shardText = ({ index, count }: Shard): string => `${index}/${count}`;

const byNumber = new Intl.Collator('en', { numeric: true });

/**
 * The states files meant by paths: those named, and every .safetensors file in folders that are. Each once, sorted by
 * path, so that shards on different machines agree on which record is which.
 * @throws SourceError for what is not there; InputError for a folder without such files.
 */
export async function inputFiles(paths: readonly string[]): Promise<InputFile[]> {
  const found = new Map<string, InputFile>();
  for (const path of paths) {
    for (const file of await filesAt(path)) found.set(resolve(file.path), file);
  }
  return [...found.values()].sort((a, b) => byNumber.compare(a.path, b.path) || (a.path < b.path ? -1 : 1));
}

async function filesAt(path: string): Promise<InputFile[]> {
  try {
    const info = await stat(path);
    if (!info.isDirectory()) return [{ path, sizeBytes: info.size }];
    const names = (await readdir(path)).filter((name) => name.endsWith('.safetensors') && !name.startsWith('.'));
    if (names.length === 0) {
      throw new InputError(`${path} holds no .safetensors files.`, 'Name the folder that holds the states, or a file.');
    }
    return Promise.all(
      names.map(async (name) => ({ path: join(path, name), sizeBytes: (await stat(join(path, name))).size })),
    );
  } catch (cause) {
    throw fileError(path, 'opened', cause);
  }
}

/** What tells how to read files of states: the user's layer, and what the model knows. */
export async function readingOptions(
  { config, checkpoint }: ModelFiles,
  layer: number | 'auto' | undefined,
): Promise<ReadStatesOptions> {
  const names = resolveParameters(config, checkpoint);
  const parameter = (name: string) => checkpoint.float32(names.get(name)!);
  const lnF = { weight: await parameter('ln_f.weight'), bias: await parameter('ln_f.bias') };
  return { layer, layers: config.layers, lnF };
}

/** Reads one file of states. @throws What `readStates` does; SourceError. */
export async function readStatesFile(path: string, options: ReadStatesOptions): Promise<StatesFile> {
  const file = await fileBytes(path);
  try {
    return await readStates(await openSafetensors(file), options);
  } finally {
    await file.close();
  }
}

/** How entries are come by. */
export interface EntryOptions {
  /** Every entry whose number has this rest; default all. */
  readonly shard?: Shard;
  /** Reads a file. */
  readonly read: (path: string) => Promise<StatesFile>;
  /** Told of each file that was read. */
  readonly onFile?: (states: StatesFile) => void;
}

/** Everything to invert, file after file; no file is read before the entries of the one before are used up. */
export async function* entriesOf(
  files: readonly InputFile[],
  { shard = { index: 0, count: 1 }, read, onFile }: EntryOptions,
): AsyncGenerator<Entry> {
  const total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0) || 1;
  let next = 0;
  let behind = 0; // bytes
  const isOurs = (number: number) => number % shard.count === shard.index;
  for (const { path: file, sizeBytes } of files) {
    const isLastFile = file === files.at(-1)?.path;
    const stem = basename(file, '.safetensors');
    let states: StatesFile;
    try {
      states = await read(file);
    } catch (error) {
      if (!(error instanceof PreimageError)) throw error;
      behind += sizeBytes;
      const number = next++;
      if (isOurs(number)) {
        yield { file, label: stem, number, isLast: isLastFile, share: behind / total, index: 0, error };
      }
      continue;
    }
    onFile?.(states);
    const { records } = states;
    for (const [index, record] of records.entries()) {
      const { name } = record;
      const label = files.length === 1 ? (name ?? stem) : records.length === 1 ? stem : `${stem}:${name}`;
      const share = (behind + (sizeBytes * (index + 1)) / records.length) / total;
      const number = next++;
      const isLast = isLastFile && index === records.length - 1;
      if (isOurs(number)) yield { file, name, label, number, isLast, share, record, states, index };
    }
    behind += sizeBytes;
  }
}

/** Fingerprint of a record's states: 16 hexadecimal digits. */
export function statesDigest({ values }: Pick<FileRecord, 'values'>): string {
  return fingerprint([values]);
}

/** Fingerprint of the files of a job, by names and sizes: the same wherever their folder is mounted. */
export function inputsDigest(files: readonly InputFile[]): string {
  return fingerprint(files.map(({ path, sizeBytes }) => `${basename(path)}\0${sizeBytes}\n`));
}

/** Fingerprint of all parts in their order, as of one whole: 16 hexadecimal digits. */
export function fingerprint(parts: readonly (string | Float32Array)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex').slice(0, 16);
}
