import { stat } from 'node:fs/promises';
import { SourceError } from '../errors.ts';

/**
 * Checks, before any work is done, that a file to write does not exist yet.
 * @throws SourceError when it does, unless `force` is set.
 */
export async function refuseOverwrite(path: string, force: boolean | undefined): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) throw new SourceError(`${path} is a folder.`, 'Name a file.');
  if (found && !force) throw new SourceError(`${path} exists.`, 'Choose another name, or overwrite it with --force.');
}
