import { randomUUID } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cacheFolder } from '../cache-folder.node.ts';
import { SourceError } from '../errors.ts';
import { type CacheWriter, cachePath, type FileCache } from './cache.ts';
import { errorCode, fileBytes, fileError } from './folder.node.ts';

/**
 * Keeps downloads in a folder, at paths made from their URLs. A download in progress lies beside its place as `.part`,
 * with its version in `.part.version`, and moves there in one step when it is complete. Only one process at a time
 * (`.part.lock`) takes up a part; others that want the same file meanwhile download it for themselves.
 */
export function folderCache(folder: string = cacheFolder()): FileCache {
  const locate = (key: string) => join(folder, ...cachePath(key));
  return {
    async open(key) {
      try {
        return await fileBytes(locate(key));
      } catch (error) {
        if (error instanceof SourceError && errorCode(error.cause) === 'ENOENT') return undefined;
        throw error;
      }
    },
    writer: (key) => partWriter(locate(key)),
  };
}

async function partWriter(path: string): Promise<CacheWriter> {
  const lock = `${path}.part.lock`;
  let owned = false;
  let part = `${path}.part`;
  let version = `${part}.version`;
  let file: FileHandle | undefined;
  let sizeBytes = 0;
  let validator: string | undefined;
  try {
    await mkdir(dirname(path), { recursive: true });
    owned = await claim(lock);
    if (!owned) {
      part = `${path}.${randomUUID()}.part`;
      version = `${part}.version`;
    }
    file = await openExisting(part);
    if (file !== undefined) {
      validator = await readFile(version, 'utf8').catch(() => undefined);
      if (validator !== undefined) sizeBytes = (await file.stat()).size;
    }
  } catch (error) {
    await file?.close();
    if (owned) await rm(lock, { force: true });
    throw fileError(part, 'opened', error);
  }

  return {
    get sizeBytes() {
      return sizeBytes;
    },
    get validator() {
      return validator;
    },
    async restart(next) {
      try {
        await file?.close();
        file = undefined;
        // Without its version a part is never taken up: so the old version goes first, and the new comes last.
        await rm(version, { force: true });
        file = await open(part, 'w+');
        if (next !== undefined) await writeFile(version, next);
        sizeBytes = 0;
        validator = next;
      } catch (error) {
        throw fileError(part, 'begun', error);
      }
    },
    async append(bytes, totalBytes) {
      try {
        for (let written = 0; written < bytes.length; ) {
          const { bytesWritten } = await file!.write(bytes, written, bytes.length - written, sizeBytes);
          written += bytesWritten;
          sizeBytes += bytesWritten;
        }
      } catch (error) {
        throw writeError(part, sizeBytes, totalBytes, error);
      }
    },
    async commit() {
      try {
        await file?.sync();
        await rename(part, path);
        await rm(version, { force: true });
      } catch (error) {
        throw fileError(part, 'moved into its place', error);
      }
    },
    async close() {
      await file?.close();
      file = undefined;
      for (const leftover of owned ? [lock] : [part, version]) await rm(leftover, { force: true });
    },
  };
}

async function openExisting(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, 'r+');
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Takes the lock unless a running process holds it. */
async function claim(lock: string): Promise<boolean> {
  for (let tries = 0; tries < 2; tries++) {
    try {
      await writeFile(lock, String(process.pid), { flag: 'wx' });
      return true;
    } catch (error) {
      if (errorCode(error) !== 'EEXIST') throw error;
    }
    if (isRunning(Number(await readFile(lock, 'utf8').catch(() => '')))) return false;
    await rm(lock, { force: true });
  }
  return false;
}

function isRunning(pid: number): boolean {
  // A lock still without a number was taken this instant.
  if (!Number.isSafeInteger(pid) || pid <= 0) return true;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
}

function writeError(part: string, sizeBytes: number, totalBytes: number | undefined, cause: unknown): Error {
  const code = errorCode(cause);
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return fileError(part, 'written', cause);
  const needed = totalBytes === undefined ? 'more bytes' : `${totalBytes - sizeBytes} more bytes`;
  return new SourceError(
    `The disk is full: ${part} needs ${needed}; the ${sizeBytes} it has are kept.`,
    'Free that much and start again to go on from there, or set XDG_CACHE_HOME to a larger disk.',
    { cause },
  );
}
