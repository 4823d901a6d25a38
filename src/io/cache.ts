import type { ByteSource } from './source.ts';

/**
 * A place that keeps downloaded files. Entries never expire: whoever follows a moving revision clears the cache.
 * Implementations: `folderCache` (Node), `opfsCache` (browsers).
 */
export interface FileCache {
  /** The finished file under a key (its URL); undefined when there is none. */
  open(key: string): Promise<ByteSource | undefined>;
  /** Starts a file, or takes up the part that an interrupted download left. */
  writer(key: string): Promise<CacheWriter>;
}

/** A file on its way into the cache. Rejects with SourceError when it cannot be written, as on a full disk. */
export interface CacheWriter {
  /** Bytes held so far; the next append goes behind them. */
  readonly sizeBytes: number;
  /** What identifies the version of the file that the bytes are from, as given to `restart`. */
  readonly validator: string | undefined;
  /** Drops what is held; the bytes appended next are from this version of the file. */
  restart(validator: string | undefined): Promise<void>;
  /** @param totalBytes Size of the whole file where known, for messages. */
  append(bytes: Uint8Array, totalBytes: number | undefined): Promise<void>;
  /** Makes the file visible to `open`, all at once. */
  commit(): Promise<void>;
  /** Lets go of the file; without a commit the part is kept for the next writer. */
  close(): Promise<void>;
}

/** Where a key goes below a cache's root: nested names that every file system takes. */
export function cachePath(key: string): string[] {
  // encodeURIComponent leaves '*' and '.' alone: Windows refuses the first, '.' and '..' would climb.
  const escaped = (name: string) =>
    encodeURIComponent(name)
      .replaceAll('*', '%2A')
      .replace(/^\.+$/, (dots) => '%2E'.repeat(dots.length));
  return key
    .split('/')
    .filter((name) => name !== '')
    .flatMap((name) => escaped(name).match(/.{1,200}/g)!);
}
