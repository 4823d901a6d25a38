import { basename } from 'node:path';
import { InputError } from '../errors.ts';
import type { Entry } from './inputs.ts';
import { type EntryKey, keyOf } from './result-line.ts';
import type { Done, ResultsFile } from './results-file.ts';
import { note } from './terminal.ts';
import { printable } from './text.ts';

/** @throws InputError when records are to be left out and nothing says which are done. */
export function checkResume(options: { resume?: boolean; output?: string; force?: boolean }): void {
  if (!options.resume) return;
  if (options.output === undefined) {
    throw new InputError('There is nothing to resume.', 'Name the file of results with -o.');
  }
  if (options.force) throw new InputError('There are --resume and --force.', 'Give only one of them.');
}

/**
 * Passes over the entries whose results are there already, and says what the file of results lost.
 * @param onDone Called with each of them.
 * @returns The share of the input that is behind them.
 * @throws InputError when a result is not that of the entry in its place.
 */
export async function skipDone(
  entries: AsyncGenerator<Entry>,
  { done, dropped }: ResultsFile,
  output: string | undefined,
  onDone: (entry: Entry, done: Done) => void,
): Promise<number> {
  if (output === undefined) return 0;
  let share = 0;
  for (const [i, before] of done.entries()) {
    const { done: isEnd, value: entry } = await entries.next();
    expectSameEntry(output, i + 1, before, isEnd ? undefined : keyOf(entry));
    onDone(entry, before);
    share = entry.share;
  }
  if (dropped !== 'nothing') {
    const what = dropped === 'a torn line' ? 'a torn line' : 'records that were stopped halfway';
    note(`${printable(output)} ended in ${what}, which is left out and done again.`);
  }
  return share;
}

/**
 * Checks that a result is that of the entry in its place.
 * @param number Of the line, from 1.
 * @throws InputError
 */
function expectSameEntry(path: string, number: number, before: EntryKey, now: EntryKey | undefined): void {
  const isSame = (key: EntryKey) => key.name === before.name && basename(key.file) === basename(before.file);
  const cure = 'Resume with the same files and --shard, or begin anew with another name or --force.';
  const called = ({ file, name }: EntryKey) => (name === undefined ? file : `${name} of ${file}`);
  const line = `Line ${number} of ${path} is ${called(before)}`;
  if (now === undefined) throw new InputError(`${line}; there is no such record.`, cure);
  if (!isSame(now)) throw new InputError(`${line}; the record in its place is ${called(now)}.`, cure);
  if (before.number !== undefined && now.number !== before.number) {
    throw new InputError(`${line}, number ${before.number} of the job; now its number is ${now.number}.`, cure);
  }
  if (now.states !== before.states) throw new InputError(`${line}, whose states have changed since.`, cure);
}
