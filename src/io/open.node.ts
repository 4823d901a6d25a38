import { stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { isAbsolute } from 'node:path';
import { InputError, SourceError } from '../errors.ts';
import { folderCache } from './cache.node.ts';
import type { OnProgress } from './download.ts';
import { folderSource } from './folder.node.ts';
import { urlSource } from './http.ts';
import { hubSource } from './hub.ts';
import type { Source } from './source.ts';

/** How to open a model by what a user calls it. */
export interface OpenOptions {
  /** Branch, tag or commit of a hub id. */
  readonly revision?: string;
  /** Told of the bytes of each download. */
  readonly onProgress?: OnProgress;
}

/**
 * The source that a user means: a folder that exists, or a path that begins with `.`, `/` or `~`; a URL; otherwise an id
 * on the Hugging Face hub. Downloads are kept in the cache folder; `HF_TOKEN` and `HF_ENDPOINT` are respected.
 *
 * @throws SourceError for a file, or an id that cannot be one; InputError for a revision of anything but a hub id.
 */
export async function openSource(model: string, { revision, onProgress }: OpenOptions = {}): Promise<Source> {
  const path = model.replace(/^~(?=$|[\\/])/, homedir());
  const found = await stat(path).catch(() => undefined);
  if (found?.isFile()) {
    throw new SourceError(
      `${model} is a file, not a model.`,
      'Pass the folder that holds config.json and model.safetensors.',
    );
  }
  const isFolder = found !== undefined || /^[.~]/.test(model) || isAbsolute(path);
  const isUrl = /^https?:\/\//.test(model);
  if (revision !== undefined && (isFolder || isUrl)) {
    throw new InputError(`${model} has no revision ${revision}: it is a ${isUrl ? 'URL' : 'folder'}.`, 'Leave it out.');
  }
  if (isFolder) return folderSource(path);
  const cache = folderCache();
  if (isUrl) return urlSource(model, { cache, onProgress });
  const { HF_TOKEN: token, HF_ENDPOINT: endpoint } = process.env;
  const options = { revision, cache, onProgress, token: token || undefined, endpoint: endpoint || undefined };
  try {
    const hub = hubSource(model, options);
    return {
      name: hub.name,
      open: (file) => hub.open(file).catch(noFolder),
      has: (file) => hub.has!(file).catch(noFolder),
    };
  } catch (error) {
    return noFolder(error);
  }

  /** Whoever misspelt a folder ends up at the hub, and should learn why. */
  function noFolder(error: unknown): never {
    if (!(error instanceof SourceError)) throw error;
    const what = `${error.what} (${model} is taken for a hub id: there is no folder of that name.)`;
    throw new SourceError(what, error.cure, { cause: error });
  }
}
