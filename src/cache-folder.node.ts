import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

/**
 * Where downloads and unpacked drivers are kept: `$XDG_CACHE_HOME/preimage`, or `~/.cache/preimage`.
 * Source: https://specifications.freedesktop.org/basedir-spec (a relative XDG_CACHE_HOME is to be ignored).
 */
export function cacheFolder(env: Readonly<Record<string, string | undefined>> = process.env): string {
  const base = env.XDG_CACHE_HOME ?? '';
  return join(isAbsolute(base) ? base : join(homedir(), '.cache'), 'preimage');
}
