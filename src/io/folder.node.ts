import { randomUUID } from 'node:crypto';
import { type FileHandle, open, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { PreimageError, SourceError } from '../errors.ts';
import { checkRange } from './blobs.ts';
import type { ByteSource, Source } from './source.ts';

// Node refuses single reads of 2 GiB and more.
const MAX_READ_BYTES = 2 ** 30;

/**
 * A folder on disk as the source of a model.
 *
 * Opening a file rejects with SourceError when the folder does not exist or may not be read; a file that is not in it
 * is undefined.
 */
export function folderSource(path: string): Source {
  const isMissing = async (error: unknown) => {
    const code = errorCode(error instanceof PreimageError ? error.cause : error);
    if (code !== 'ENOENT' && code !== 'ENOTDIR') return false;
    const folder = await stat(path).catch((cause) => {
      throw fileError(path, 'opened', cause);
    });
    if (folder.isDirectory()) return true;
    throw new SourceError(`${path} is a file, not a folder.`, 'Pass the folder that holds it.');
  };
  return {
    name: path,
    async open(file) {
      try {
        return await fileBytes(join(path, file));
      } catch (error) {
        if (await isMissing(error)) return undefined;
        throw error;
      }
    },
    async has(file) {
      try {
        return (await stat(join(path, file))).isFile();
      } catch (error) {
        if (await isMissing(error)) return false;
        throw fileError(join(path, file), 'opened', error);
      }
    },
  };
}

/**
 * Opens a file on disk; reads are positional, so they may run side by side.
 *
 * @throws SourceError when it is missing, unreadable or a folder.
 */
export async function fileBytes(path: string): Promise<ByteSource> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    const info = await file.stat();
    if (!info.isFile()) throw new SourceError(`${path} is not a file.`, 'Pass the path of a file.');
    return handleBytes(path, file, info.size);
  } catch (error) {
    await file?.close();
    throw fileError(path, 'opened', error);
  }
}

function handleBytes(path: string, file: FileHandle, sizeBytes: number): ByteSource {
  return {
    name: path,
    sizeBytes,
    async read(begin, end) {
      checkRange(path, begin, end, sizeBytes);
      const bytes = new Uint8Array(end - begin);
      for (let filled = 0; filled < bytes.length; ) {
        const wanted = Math.min(bytes.length - filled, MAX_READ_BYTES);
        const { bytesRead } = await file.read(bytes, filled, wanted, begin + filled).catch((cause) => {
          throw fileError(path, 'read', cause);
        });
        if (bytesRead === 0) {
          throw new SourceError(
            `${path} ends at byte ${begin + filled}, though it had ${sizeBytes} bytes when it was opened.`,
            'Let whatever is writing the file finish, then open it again.',
          );
        }
        filled += bytesRead;
      }
      return bytes;
    },
    close: () => file.close(),
  };
}

/** What a file is to hold, made as it is written. */
export interface StreamedContent {
  readonly sizeBytes: number;
  bytes(): AsyncIterable<Uint8Array>;
}

/**
 * Writes a file so that a reader sees the old content or the new, never a part: into a temporary file beside it, then
 * renamed. The temporary file is removed when anything fails.
 *
 * @throws SourceError when the folder is missing or not writable, or the disk is full; what a stream throws, if typed.
 */
export async function writeFileAtomic(path: string, content: Uint8Array | StreamedContent): Promise<void> {
  const isWhole = content instanceof Uint8Array;
  const temporary = join(dirname(path), `.${randomUUID()}.tmp`);
  try {
    const file = await open(temporary, 'wx');
    try {
      await writeFile(file, isWhole ? content : content.bytes());
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw fileError(path, `written (${isWhole ? content.length : content.sizeBytes} bytes)`, error);
  }
}

const cures: Readonly<Record<string, string>> = {
  ENOENT: 'Check the path for a typing error.',
  ENOTDIR: 'Check the path: a part of it is a file, not a folder.',
  EISDIR: 'Pass the path of a file, not of a folder.',
  EACCES: 'Give your user permission for it.',
  EPERM: 'Give your user permission for it.',
  EROFS: 'Choose a folder that can be written.',
  ENOSPC: 'Free space on the disk, or choose another folder.',
  EDQUOT: 'Free space in your quota, or choose another folder.',
  EMFILE: 'Close other files, or raise the limit with `ulimit -n`.',
};

/** The `code` of a Node system error, such as ENOENT. */
export function errorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

/**
 * A SourceError that says what could not be done to a file, why, and the cure; a PreimageError passes through as it is.
 *
 * @param done What was not done to it, such as `read`.
 */
export function fileError(path: string, done: string, cause: unknown): PreimageError {
  if (cause instanceof PreimageError) return cause;
  // "ENOENT: no such file or directory, open 'x'" says twice what the sentence says already.
  const message = cause instanceof Error ? cause.message : String(cause);
  const reason = message.replace(/^[A-Z]+: /, '').replace(/, [a-z]+( '.*)?$/s, '');
  const cure = cures[errorCode(cause) ?? ''] ?? 'Check the disk and the path.';
  return new SourceError(`${path} could not be ${done}: ${reason}.`, cure, { cause });
}
