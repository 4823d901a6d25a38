import { access, constants, realpath, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { InputError, SourceError } from '../errors.ts';
import { fileError } from '../io/folder.node.ts';

/**
 * Checks, before any work is done, that files can be written.
 * @param outputs Files to write.
 * @param inputs Files to read, which no output may be.
 * @param force Whether an output may exist.
 * @param cure What to do about one that does.
 * @throws InputError when two of all these are one file; SourceError when an output exists or cannot be written.
 */
export async function checkOutputs(
  outputs: readonly string[],
  inputs: readonly string[],
  force: boolean | undefined,
  cure = 'Choose another name, or overwrite it with --force.',
): Promise<void> {
  const taken = new Set(await Promise.all(inputs.map(target)));
  for (const path of outputs) {
    const file = await target(path);
    if (taken.has(file))
      throw new InputError(`${path} is given twice.`, 'Give each file to read or write another name.');
    taken.add(file);
    await checkOutput(path, force, cure);
  }
}

/** The file that a path leads to, there or not. */
const target = (path: string): Promise<string> => realpath(path).catch(() => resolve(path));

async function checkOutput(path: string, force: boolean | undefined, cure: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found && !found.isFile()) throw new SourceError(`${path} is not a plain file.`, 'Name a file.');
  if (found && !force) throw new SourceError(`${path} exists.`, cure);
  // The dot makes it an error that the folder is a file.
  for (const place of [`${dirname(path)}/.`, ...(found ? [path] : [])]) {
    await access(place, constants.W_OK).catch((cause) => {
      throw fileError(path, 'written', cause);
    });
  }
}
