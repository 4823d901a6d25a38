import { type FileHandle, open } from 'node:fs/promises';
import { InputError } from '../errors.ts';
import { errorCode, fileError } from '../io/folder.node.ts';
import type { Inversion } from '../sipit/types.ts';
import { type EntryKey, inversionOf, type jsonResult, type RunSettings } from './result-line.ts';

/** What a line of results, written before, says of its record. */
export interface Done extends EntryKey {
  readonly exact: boolean;
  readonly bad: boolean;
  readonly tokens: number;
  /** Kept where it is asked for. */
  readonly inversion?: Inversion;
}

/** A line as it was written; of unknown provenance until its settings are checked. */
export interface Line extends EntryKey, Partial<ReturnType<typeof jsonResult>> {
  /** Of a shard: it is the last record of the whole job. */
  readonly last?: boolean;
  readonly stopped?: boolean;
  readonly error?: object;
  readonly run?: RunSettings;
}

/** A file of results, a line of JSON each, in the order of the records. */
export interface ResultsFile {
  /** What is in it already. */
  readonly done: readonly Done[];
  /** What was found at its end and left out. */
  readonly dropped: 'nothing' | 'a torn line' | 'stopped records';
  /** Adds a line, whole in one write: a process that is killed leaves all that came before. */
  append(line: object): Promise<void>;
  close(): Promise<void>;
}

/**
 * A new file of results; it is made with its first line.
 * @param path Undefined keeps nothing.
 */
export function newResults(path: string | undefined): ResultsFile {
  return appender(path, 'w', { done: [], dropped: 'nothing' });
}

/**
 * The file of results of a run that ended early, to go on with. A torn last line is cut off, and so are records that a
 * Ctrl-C stopped halfway, with what came after them.
 *
 * @param keep Whether to keep the inversions, and not only what is needed to go on.
 * @throws InputError when it is of other settings, or not such a file; SourceError.
 */
export async function resumedResults(path: string, run: RunSettings, keep: boolean): Promise<ResultsFile> {
  const file = await open(path, 'r+').catch((cause) => {
    if (errorCode(cause) === 'ENOENT') return undefined;
    throw fileError(path, 'opened', cause);
  });
  if (!file) return newResults(path);
  try {
    const { done, end, dropped } = await readDone(path, file, run, keep);
    await file.truncate(end);
    return appender(path, 'a', { done, dropped });
  } catch (cause) {
    throw fileError(path, 'read', cause);
  } finally {
    await file.close();
  }
}

function appender(
  path: string | undefined,
  flags: 'w' | 'a',
  before: Pick<ResultsFile, 'done' | 'dropped'>,
): ResultsFile {
  let file: FileHandle | undefined;
  return {
    ...before,
    async append(line) {
      if (path === undefined) return;
      try {
        file ??= await open(path, flags);
        await file.appendFile(`${JSON.stringify(line)}\n`);
      } catch (cause) {
        throw fileError(path, 'written', cause);
      }
    },
    close: async () => file?.close(),
  };
}

interface Read extends Pick<ResultsFile, 'done' | 'dropped'> {
  /** Bytes of the lines that are kept. */
  readonly end: number;
}

async function readDone(path: string, file: FileHandle, run: RunSettings, keep: boolean): Promise<Read> {
  const done: Done[] = [];
  let end = 0;
  for await (const { line, sizeBytes } of resultLines(path, file, RESUME)) {
    if (!line) return { done, end, dropped: 'a torn line' };
    checkSettings(path, line.run, run);
    if (line.stopped === true) return { done, end, dropped: 'stopped records' };
    const { file, name, states, number, exact, error, tokens } = line;
    done.push({
      file,
      name,
      states,
      number,
      exact: exact === true,
      bad: error !== undefined,
      tokens: tokens?.length ?? 0,
      ...(keep && error === undefined && { inversion: inversionOf(line as Required<Line>) }),
    });
    end += sizeBytes;
  }
  return { done, end, dropped: 'nothing' };
}

const RESUME = 'Resume with the file that the run wrote, or begin anew with another name or --force.';

/**
 * The lines of a file of results, with their sizes; no line for a last one that is torn.
 * @param cure What to do about a line that is no result.
 * @throws InputError for such a line.
 */
export async function* resultLines(
  path: string,
  file: FileHandle,
  cure: string,
): AsyncGenerator<{ line?: Line; sizeBytes: number }> {
  let number = 0;
  for await (const { bytes, isWhole } of linesOf(file)) {
    number++;
    yield isWhole
      ? { line: parseLine(path, number, bytes, cure), sizeBytes: bytes.length + 1 }
      : { sizeBytes: bytes.length };
  }
}

const NEWLINE = 10;

/** The lines of a file as bytes, without what ends them. Only the last may not be whole. */
async function* linesOf(file: FileHandle): AsyncGenerator<{ bytes: Buffer; isWhole: boolean }> {
  let parts: Buffer[] = [];
  for await (const chunk of file.createReadStream({ autoClose: false, start: 0 }) as AsyncIterable<Buffer>) {
    let begin = 0;
    for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, begin)) {
      yield { bytes: Buffer.concat([...parts, chunk.subarray(begin, end)]), isWhole: true };
      parts = [];
      begin = end + 1;
    }
    if (begin < chunk.length) parts.push(chunk.subarray(begin));
  }
  if (parts.length > 0) yield { bytes: Buffer.concat(parts), isWhole: false };
}

function parseLine(path: string, number: number, bytes: Buffer, cure: string): Line {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'));
    if (typeof value === 'object' && value !== null && 'file' in value && 'run' in value) return value as Line;
  } catch {
    // Told below.
  }
  throw new InputError(`Line ${number} of ${path} is no result of "preimage invert".`, cure);
}

const NAMES: Readonly<Record<keyof RunSettings, string>> = {
  model: 'the model with digest',
  policy: '--policy',
  noise: 'noise',
  prove: '--prove',
  layer: '--layer',
  shard: '--shard',
  inputs: 'files of names and sizes with digest',
};

/** The first setting in which two runs differ, in words. */
export function settingsDifference(
  one: RunSettings | undefined,
  other: RunSettings | undefined,
): { name: string; one: string; other: string } | undefined {
  const text = (value: unknown) => (value === undefined ? 'none' : JSON.stringify(value).replaceAll('"', ''));
  for (const key of Object.keys(NAMES) as (keyof RunSettings)[]) {
    const found = { name: NAMES[key], one: text(one?.[key]), other: text(other?.[key]) };
    if (found.one !== found.other) return found;
  }
  return undefined;
}

function checkSettings(path: string, before: RunSettings | undefined, now: RunSettings): void {
  const difference = settingsDifference(before, now);
  if (!difference) return;
  const { name, one: was, other: is } = difference;
  throw new InputError(
    `${path} was begun with ${name} ${was}; this run has ${is}.`,
    'Resume with the same model, files and options, or begin anew with another name or --force.',
  );
}
