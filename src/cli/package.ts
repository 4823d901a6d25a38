import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the package, whether this runs as dist/cli.js, as a chunk beside it or as source. */
function packageFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

/** A path inside the package. */
export const packagePath = (path: string): string => join(packageFolder(), path);

/** The version in package.json. */
export const packageVersion = (): string => JSON.parse(readFileSync(packagePath('package.json'), 'utf8')).version;
