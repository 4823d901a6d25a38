import { SourceError } from '../errors.ts';
import { checkRange } from './blobs.ts';
import { type CacheWriter, cachePath, type FileCache } from './cache.ts';
import type { ByteSource } from './source.ts';

/** What lies beside a file's segments: its version, and whether the segments are all there. */
interface Info {
  readonly validator: string | null;
  readonly complete: boolean;
}

const INFO = 'info.json';
// What a page writes to a file is lost until the file is closed, and reopening copies it: hence files of this size.
const SEGMENT_BYTES = 32 * 2 ** 20;

/**
 * Keeps downloads in the browser's origin-private file system. Each is a folder of segments, so that a page closed
 * half-way loses at most the last of them.
 *
 * The cache rejects with SourceError when the browser denies storage or its quota is full.
 *
 * @param root The folder to keep them in. Default: `preimage` in the origin's file system.
 */
export function opfsCache(root?: FileSystemDirectoryHandle): FileCache {
  async function folder(key: string, create: boolean): Promise<FileSystemDirectoryHandle | undefined> {
    let at = root ?? (await (await navigator.storage.getDirectory()).getDirectoryHandle('preimage', { create: true }));
    for (const name of cachePath(key)) {
      const next = await found(at.getDirectoryHandle(name, { create }));
      if (next === undefined) return undefined;
      at = next;
    }
    return at;
  }
  return {
    open: (key) =>
      guarded(key, async () => {
        const entry = await folder(key, false);
        const info = entry && (await readInfo(entry));
        return entry && info?.complete ? segmentBytes(key, await segments(entry)) : undefined;
      }),
    writer: (key) => guarded(key, async () => segmentWriter(key, (await folder(key, true))!)),
  };
}

async function segmentWriter(key: string, folder: FileSystemDirectoryHandle): Promise<CacheWriter> {
  const info = await readInfo(folder);
  const kept = info === undefined ? [] : await segments(folder);
  let count = kept.length;
  let sizeBytes = kept.reduce((sum, segment) => sum + segment.size, 0);
  let validator = info?.validator ?? undefined;
  let segment: FileSystemWritableFileStream | undefined;
  let segmentSize = 0;

  async function closeSegment(): Promise<void> {
    await segment?.close();
    segment = undefined;
  }

  return {
    get sizeBytes() {
      return sizeBytes;
    },
    get validator() {
      return validator;
    },
    restart: (next) =>
      guarded(key, async () => {
        await closeSegment();
        await found(folder.removeEntry(INFO));
        for (let i = 0; (await found(folder.getFileHandle(String(i)))) !== undefined; i++) {
          await folder.removeEntry(String(i));
        }
        count = 0;
        sizeBytes = 0;
        validator = next;
        if (next !== undefined) await writeInfo(folder, { validator: next, complete: false });
      }),
    append: (bytes, totalBytes) =>
      guarded(
        key,
        async () => {
          if (segment === undefined) {
            const file = await folder.getFileHandle(String(count++), { create: true });
            segment = await file.createWritable();
            segmentSize = 0;
          }
          const stream = segment;
          await stream.write(bytes as Uint8Array<ArrayBuffer>).catch((error) => {
            // A stream that failed once cannot be closed any more: what this segment held is lost.
            segment = undefined;
            throw error;
          });
          sizeBytes += bytes.length;
          segmentSize += bytes.length;
          if (segmentSize >= SEGMENT_BYTES) await closeSegment();
        },
        () => (totalBytes === undefined ? 'more space' : `${totalBytes - sizeBytes} more bytes`),
      ),
    commit: () =>
      guarded(key, async () => {
        await closeSegment();
        await writeInfo(folder, { validator: validator ?? null, complete: true });
      }),
    close: () => guarded(key, closeSegment),
  };
}

/** The segments of a file in order, as far as they were finished. */
async function segments(folder: FileSystemDirectoryHandle): Promise<File[]> {
  const files: File[] = [];
  for (;;) {
    const handle = await found(folder.getFileHandle(String(files.length)));
    if (handle === undefined) return files;
    files.push(await handle.getFile());
  }
}

function segmentBytes(name: string, files: readonly File[]): ByteSource {
  // A Blob of blobs is not copied: it reads through to the files.
  const whole = new Blob([...files]);
  return {
    name,
    sizeBytes: whole.size,
    read: (begin, end) =>
      guarded(name, async () => {
        checkRange(name, begin, end, whole.size);
        return new Uint8Array(await whole.slice(begin, end).arrayBuffer());
      }),
    close: async () => {},
  };
}

async function readInfo(folder: FileSystemDirectoryHandle): Promise<Info | undefined> {
  const handle = await found(folder.getFileHandle(INFO));
  return handle && JSON.parse(await (await handle.getFile()).text());
}

async function writeInfo(folder: FileSystemDirectoryHandle, info: Info): Promise<void> {
  const stream = await (await folder.getFileHandle(INFO, { create: true })).createWritable();
  await stream.write(JSON.stringify(info));
  await stream.close();
}

/** What a lookup gives, or undefined when there is nothing of that name. */
async function found<T>(lookup: Promise<T>): Promise<T | undefined> {
  try {
    return await lookup;
  } catch (error) {
    if (error instanceof DOMException && error.name === 'NotFoundError') return undefined;
    throw error;
  }
}

/** Runs `work`; what the browser throws becomes a SourceError. */
async function guarded<T>(key: string, work: () => Promise<T>, needed = () => 'more space'): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof SourceError) throw cause;
    if (cause instanceof DOMException && cause.name === 'QuotaExceededError') {
      throw new SourceError(
        `The browser's storage is full: ${key} needs ${needed()}; the finished part is kept.`,
        'Free disk space or clear other site data, then load again to go on from there.',
        { cause },
      );
    }
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new SourceError(
      `${key} could not be kept in the browser's storage: ${reason}.`,
      'Allow this site to store data, or load the model without a cache.',
      { cause },
    );
  }
}
