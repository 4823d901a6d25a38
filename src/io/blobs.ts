import { SourceError } from '../errors.ts';
import type { ByteSource, Source } from './source.ts';

/**
 * Checks a byte range against a file's size; every ByteSource calls it first.
 *
 * @throws SourceError for a range that is not inside the file.
 */
export function checkRange(name: string, begin: number, end: number, sizeBytes: number): void {
  if (Number.isSafeInteger(begin) && Number.isSafeInteger(end) && begin >= 0 && begin <= end && end <= sizeBytes)
    return;
  throw new SourceError(
    `${name}: bytes [${begin}, ${end}) are not inside its ${sizeBytes} bytes.`,
    'Is the file complete? Download it again.',
  );
}

/**
 * A file picked, dropped or fetched in a browser, read in slices.
 *
 * @param name What to call it in messages.
 */
export function bytesFromBlob(name: string, blob: Blob): ByteSource {
  return {
    name,
    sizeBytes: blob.size,
    async read(begin, end) {
      checkRange(name, begin, end, blob.size);
      try {
        return new Uint8Array(await blob.slice(begin, end).arrayBuffer());
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        throw new SourceError(
          `${name}: bytes [${begin}, ${end}) could not be read (${reason}).`,
          'Pick the file again if it moved or changed on disk.',
          { cause },
        );
      }
    },
    close: async () => {},
  };
}

/**
 * A file already in memory. Reads return copies, so what a caller does with them leaves `bytes` as it is.
 *
 * @param name What to call it in messages.
 */
export function bytesFromArray(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    sizeBytes: bytes.length,
    async read(begin, end) {
      checkRange(name, begin, end, bytes.length);
      return new Uint8Array(bytes.subarray(begin, end));
    },
    close: async () => {},
  };
}

/**
 * Files picked or dropped in a browser as the source of a model.
 *
 * @param name What to call the source in messages.
 * @param files Each file by its path inside the model's folder, such as `config.json`.
 */
export function filesSource(name: string, files: ReadonlyMap<string, Blob>): Source {
  return {
    name,
    async open(path) {
      const blob = files.get(path);
      return blob === undefined ? undefined : bytesFromBlob(`${name}/${path}`, blob);
    },
    has: async (path) => files.has(path),
  };
}
