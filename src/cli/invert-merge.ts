import { open } from 'node:fs/promises';
import type { Command } from 'commander';
import { InputError } from '../errors.ts';
import type { Shard } from '../injectivity/tiles.ts';
import { fileError, writeFileAtomic } from '../io/folder.node.ts';
import { parseShard, shardText } from './inputs.ts';
import { addMerge, type MergeOptions } from './merge-command.ts';
import { checkOutputs } from './output.ts';
import { type RunSettings, wholeLine } from './result-line.ts';
import { type Line, resultLines, settingsDifference } from './results-file.ts';
import { EXIT, isChatty } from './session.ts';
import { columns, print, printJson } from './terminal.ts';
import { count, counted, wrap } from './text.ts';

/** Adds `preimage invert merge`. */
export function addInvertMerge(invert: Command): void {
  const texts = {
    description: 'put the results of all shards of a job together, in the order of its records',
    parts: 'the files that "preimage invert --shard i/n -o" wrote',
    output: 'the results, as one run over all records would have written them',
    examples: EXAMPLES,
  };
  addMerge(invert, texts, mergeInversions);
}

const EXAMPLES = `
Exits as one run would have: 0 if every text was recovered exactly, 1 if not, 2 if a
record could not be inverted; 2, too, when a shard is missing, not finished, there twice
or of another job. With --json the merged lines go to standard output.

Examples:
  preimage invert merge texts.0.jsonl texts.1.jsonl texts.2.jsonl -o texts.jsonl
  preimage invert merge texts.*.jsonl -o texts.jsonl`;

const NOT_ONE_JOB = 'Merge the files of one job: the same model, files and options, every shard i/n once.';
const NOT_FINISHED = 'Let its run go on with --resume until it ends, then merge.';
const DAMAGED = 'Let its run begin anew with --force, then merge.';

/** The results of one shard. */
interface Part {
  readonly path: string;
  readonly shard: Shard;
  readonly run: RunSettings;
  readonly lines: number;
  /** Whether it holds the last record of the job. */
  readonly hasLast: boolean;
}

/** What all lines come to. */
interface Sums {
  exact: number;
  bad: number;
  tokens: number;
  /** Of the merged lines. */
  sizeBytes: number;
}

/**
 * Merges result files, writes and shows what they come to.
 * @returns The exit code.
 * @throws InputError when they are not all shards of one job; SourceError.
 */
export async function mergeInversions(
  paths: readonly string[],
  { output, force, json, quiet }: MergeOptions,
): Promise<number> {
  if (output !== undefined) await checkOutputs([output], paths, force);
  const sums: Sums = { exact: 0, bad: 0, tokens: 0, sizeBytes: 0 };
  const parts: Part[] = [];
  const empty: string[] = []; // a shard may hold no record
  for (const path of paths) {
    const part = await readPart(path, sums);
    if (part) parts.push(part);
    else empty.push(path);
  }
  const total = checkParts(parts, empty);
  if (output !== undefined) {
    await writeFileAtomic(output, { sizeBytes: sums.sizeBytes, bytes: () => mergedBytes(parts, total) });
  }
  if (json) for await (const line of mergedLines(parts, total)) printJson(line);
  const { exact, bad, tokens } = sums;
  if (isChatty({ json, quiet })) {
    const failed = bad > 0 ? `, ${count(bad)} could not be inverted` : '';
    const text = `${count(exact)} of ${counted(total, 'record')} exact${failed}, ${counted(tokens, 'token')}, from ${counted(parts.length, 'file')}`;
    print(wrap(text, columns(), ''));
  }
  if (bad > 0) return EXIT.badInput;
  return exact === total ? EXIT.done : EXIT.negative;
}

/**
 * Reads the results of a shard through.
 * @returns Undefined for a file without lines.
 * @throws InputError when it is no such file, not finished or damaged; SourceError.
 */
async function readPart(path: string, sums: Sums): Promise<Part | undefined> {
  let shard: Shard | undefined;
  let run: RunSettings | undefined;
  let lines = 0;
  let hasLast = false;
  for await (const line of linesAt(path)) {
    shard ??= shardOf(path, line);
    run ??= line.run;
    const which = `Line ${lines + 1} of ${path}`;
    const difference = settingsDifference(line.run, run);
    if (difference) {
      const { name, one, other } = difference;
      throw new InputError(`${which} was made with ${name} ${one}, the first with ${other}.`, NOT_ONE_JOB);
    }
    const number = shard.index + shard.count * lines;
    if (line.number !== number || hasLast) {
      const place = hasLast ? 'no record' : `number ${number}`;
      throw new InputError(
        `${which} is record ${line.number} of the job; in shard ${shardText(shard)} ${place} stands there.`,
        DAMAGED,
      );
    }
    if (line.stopped === true) throw new InputError(`${which} was stopped halfway.`, NOT_FINISHED);
    lines++;
    hasLast = line.last === true;
    sums.exact += Number(line.exact === true);
    sums.bad += Number(line.error !== undefined);
    sums.tokens += line.tokens?.length ?? 0;
    sums.sizeBytes += bytesOf(wholeLine(line)).length;
  }
  return shard && run && { path, shard, run, lines, hasLast };
}

function shardOf(path: string, { run }: Line): Shard {
  const shard = parseShard(String(run?.shard));
  if (shard) return shard;
  throw new InputError(`${path} is of no shard: its run had no --shard.`, NOT_ONE_JOB);
}

async function* linesAt(path: string): AsyncGenerator<Line> {
  const file = await open(path, 'r').catch((cause) => {
    throw fileError(path, 'opened', cause);
  });
  try {
    for await (const { line } of resultLines(path, file, `${NOT_ONE_JOB} Those are what it wrote with -o.`)) {
      if (!line) throw new InputError(`${path} ends in a torn line.`, NOT_FINISHED);
      yield line;
    }
  } catch (cause) {
    throw fileError(path, 'read', cause);
  } finally {
    await file.close();
  }
}

/** So many missing shards are named; a job may have thousands. */
const NAMED = 10;

/**
 * Checks that parts are those of one job, and whole.
 * @param empty Files without lines.
 * @returns How many records the job has.
 * @throws InputError
 */
function checkParts(parts: readonly Part[], empty: readonly string[]): number {
  const [first] = parts;
  if (!first) throw new InputError(`${empty[0]} is empty: there are no results.`, NOT_ONE_JOB);
  const { count: shards } = first.shard;
  const found = new Map<number, Part>();
  for (const part of parts) {
    const { path, shard, run } = part;
    const twin = found.get(shard.index);
    if (shard.count !== shards) {
      throw new InputError(`${path} is shard ${shardText(shard)}; ${first.path} is one of ${shards}.`, NOT_ONE_JOB);
    }
    const difference = settingsDifference({ ...run, shard: undefined }, { ...first.run, shard: undefined });
    if (difference) {
      const { name, one, other } = difference;
      throw new InputError(`${path} was made with ${name} ${one}, ${first.path} with ${other}.`, NOT_ONE_JOB);
    }
    if (twin) throw new InputError(`${path} and ${twin.path} are both shard ${shardText(shard)}.`, NOT_ONE_JOB);
    found.set(shard.index, part);
  }

  const last = parts.find(({ hasLast }) => hasLast);
  const end = ({ shard, lines }: Part) => shard.index + shards * (lines - 1) + 1;
  // Where no part has the last record, there is one more than is here, at least.
  const total = last ? end(last) : Math.max(...parts.map(end)) + 1;
  const missing: string[] = [];
  for (let index = 0; index < Math.min(shards, total) && missing.length <= NAMED; index++) {
    const part = found.get(index);
    const records = Math.ceil((total - index) / shards);
    if (!part) missing.push(String(index));
    else if (part.lines < records) {
      const next = end(part) - 1 + shards;
      throw new InputError(`${part.path}, shard ${shardText(part.shard)}, ends before record ${next}.`, NOT_FINISHED);
    }
  }
  if (missing.length > 0) {
    const more = missing.length > NAMED ? ' and more' : '';
    const none = empty.length > 0 ? `; ${empty.join(', ')} ${empty.length === 1 ? 'is' : 'are'} empty` : '';
    throw new InputError(
      `Of ${shards} shards these are missing: ${missing.slice(0, NAMED).join(', ')}${more}${none}.`,
      NOT_ONE_JOB,
    );
  }
  const beyond = parts.find((part) => end(part) > total);
  if (beyond) throw new InputError(`${beyond.path} goes on behind the last record, number ${total - 1}.`, DAMAGED);
  return total;
}

/** The lines of all records in their order, each from the part of its shard. */
async function* mergedLines(parts: readonly Part[], total: number): AsyncGenerator<object> {
  const readers = new Map(parts.map(({ path, shard }) => [shard.index, linesAt(path)]));
  const { count: shards } = parts[0].shard;
  try {
    for (let number = 0; number < total; number++) {
      const { value: line } = await readers.get(number % shards)!.next();
      if (!line) throw new InputError(`Record ${number} has gone while the files were merged.`, NOT_FINISHED);
      yield wholeLine(line);
    }
  } finally {
    for (const reader of readers.values()) await reader.return(undefined);
  }
}

async function* mergedBytes(parts: readonly Part[], total: number): AsyncGenerator<Uint8Array> {
  for await (const line of mergedLines(parts, total)) yield bytesOf(line);
}

const bytesOf = (line: object): Uint8Array => new TextEncoder().encode(`${JSON.stringify(line)}\n`);
