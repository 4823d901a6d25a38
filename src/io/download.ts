import type { CacheWriter } from './cache.ts';
import { Dropped, discard, dropped, type HttpOptions, type Reply, requestRange, withRetries } from './http-request.ts';

/** Called as bytes arrive; `totalBytes` is undefined while the server keeps it to itself. */
export type OnProgress = (file: string, loadedBytes: number, totalBytes: number | undefined) => void;

/** A whole file to fetch. */
export interface Download {
  readonly url: string;
  readonly options: HttpOptions;
  /** Called with the bytes held and the size of the whole. */
  readonly onProgress: (loadedBytes: number, totalBytes: number | undefined) => void;
}

/**
 * Fetches a whole file into a writer, taking up what the writer holds; after a dropped connection it goes on where it
 * was, and starts again when the file on the server is another than before.
 *
 * @returns Whether the server has the file; the writer is complete then, but not committed.
 * @throws SourceError when the server refuses, or the connection keeps dropping.
 */
export async function downloadInto(writer: CacheWriter, download: Download): Promise<boolean> {
  // Bytes fetched again after a restart are no progress, or a file that keeps changing would never end.
  let furthest = writer.sizeBytes;
  const attempt = async (): Promise<boolean> => {
    const reply = await requestRange(download.url, writer.sizeBytes, undefined, download.options);
    if (reply === 'absent') return false;
    if (reply === 'beyond') return finishBeyond(writer);
    await receive(writer, reply, download);
    return true;
  };
  return withRetries(download.url, download.options, attempt, () => {
    furthest = Math.max(furthest, writer.sizeBytes);
    return furthest;
  });
}

/** What a server without a byte at the writer's end means: an empty file, a finished part, or another file. */
async function finishBeyond(writer: CacheWriter): Promise<boolean> {
  if (writer.sizeBytes === 0) {
    await writer.restart(undefined);
    return true;
  }
  if (writer.validator?.endsWith(` ${writer.sizeBytes}`)) return true;
  await writer.restart(undefined);
  throw new Dropped('the file on the server became shorter');
}

/** Appends a reply to what the writer holds if it continues it; otherwise begins anew. */
export async function receive(writer: CacheWriter, reply: Reply, { options, onProgress }: Download): Promise<void> {
  const continues =
    reply.begin === writer.sizeBytes && reply.validator !== undefined && reply.validator === writer.validator;
  if (!continues) {
    await writer.restart(reply.validator);
    if (reply.begin > 0) {
      await discard(reply.body);
      throw new Dropped('the file changed on the server');
    }
  }
  const { totalBytes } = reply;
  for await (const bytes of chunks(reply.body, options)) {
    await writer.append(bytes, totalBytes);
    onProgress(writer.sizeBytes, totalBytes);
  }
  if (totalBytes !== undefined && writer.sizeBytes !== totalBytes) {
    if (writer.sizeBytes > totalBytes) await writer.restart(undefined);
    throw new Dropped(`the connection closed at byte ${writer.sizeBytes} of ${totalBytes}`);
  }
}

/** The chunks of a body; a failure of the stream becomes Dropped, an abort the signal's reason. */
export async function* chunks(body: ReadableStream<Uint8Array>, options: HttpOptions): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  let ended = false;
  try {
    while (!ended) {
      const { done, value } = await reader.read().catch((cause) => {
        ended = true;
        options.signal?.throwIfAborted();
        throw dropped(cause);
      });
      ended = done;
      if (value !== undefined) yield value;
    }
  } finally {
    if (!ended) await reader.cancel().catch(() => {});
  }
}

/** A writer into memory, for servers without range requests. */
export function memoryWriter(): CacheWriter & { bytes(): Uint8Array } {
  let parts: Uint8Array[] = [];
  let sizeBytes = 0;
  let validator: string | undefined;
  return {
    get sizeBytes() {
      return sizeBytes;
    },
    get validator() {
      return validator;
    },
    async restart(version) {
      parts = [];
      sizeBytes = 0;
      validator = version;
    },
    async append(bytes) {
      parts.push(bytes);
      sizeBytes += bytes.length;
    },
    commit: async () => {},
    close: async () => {},
    bytes() {
      const whole = new Uint8Array(sizeBytes);
      let at = 0;
      for (const part of parts) {
        whole.set(part, at);
        at += part.length;
      }
      return whole;
    },
  };
}
