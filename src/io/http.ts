import { SourceError } from '../errors.ts';
import { bytesFromArray, checkRange } from './blobs.ts';
import type { FileCache } from './cache.ts';
import { chunks, type Download, downloadInto, memoryWriter, type OnProgress, receive } from './download.ts';
import { Dropped, discard, type HttpOptions, type Reply, requestRange, withRetries } from './http-request.ts';
import { isPlainPath } from './paths.ts';
import type { ByteSource, Source } from './source.ts';

/** How files are fetched below a URL. */
export interface UrlOptions extends HttpOptions {
  /** Keeps whole files for the next time; without it, ranges are read from the server as they are needed. */
  readonly cache?: FileCache;
  /** Told of each file's bytes as they arrive. */
  readonly onProgress?: OnProgress;
}

// Small files and most safetensors headers come whole with the first request.
const HEAD_BYTES = 65536;

/**
 * The files below a URL as the source of a model.
 *
 * With a cache, a file is downloaded whole once and read from there; a later call, also in another process, takes up a
 * download that was interrupted. Without one, ranges are read from the server as they are asked for, or the whole file
 * into memory when the server has no range requests. Dropped connections are tried again. A missing file is undefined.
 *
 * Opening and reading reject with SourceError when the server refuses, cannot be reached, or holds another version of
 * the file than the one opened; with the signal's reason after an abort.
 *
 * @param baseUrl The folder, with or without a slash at its end.
 */
export function urlSource(baseUrl: string, options: UrlOptions = {}): Source {
  const base = baseUrl.replace(/\/+$/, '');
  function locate(path: string): Download {
    if (!isPlainPath(path)) {
      throw new SourceError(`${base}: '${path}' is not a path below it.`, 'Name a file without `..`, `\\` or `:`.');
    }
    return {
      url: `${base}/${path.split('/').map(encodeURIComponent).join('/')}`,
      options,
      onProgress: (loaded, total) => options.onProgress?.(path, loaded, total),
    };
  }
  return {
    name: base,
    async open(path) {
      const download = locate(path);
      return options.cache === undefined ? openRemote(download) : openCached(options.cache, download);
    },
    async has(path) {
      const { url } = locate(path);
      if (await isCached(options.cache, url)) return true;
      const reply = await withRetries(url, options, () => requestRange(url, 0, 1, options));
      if (typeof reply !== 'string') await discard(reply.body);
      return reply !== 'absent';
    },
  };
}

async function isCached(cache: FileCache | undefined, url: string): Promise<boolean> {
  const file = await cache?.open(url);
  await file?.close();
  return file !== undefined;
}

async function openCached(cache: FileCache, download: Download): Promise<ByteSource | undefined> {
  const cached = await cache.open(download.url);
  if (cached !== undefined) return cached;
  const writer = await cache.writer(download.url);
  try {
    if (!(await downloadInto(writer, download))) return undefined;
    await writer.commit();
  } finally {
    await writer.close();
  }
  return cache.open(download.url);
}

async function openRemote(download: Download): Promise<ByteSource | undefined> {
  const { url, options } = download;
  const whole = memoryWriter();
  return withRetries(url, options, async () => {
    const reply = await requestRange(url, 0, HEAD_BYTES, options);
    if (reply === 'absent') return undefined;
    if (reply === 'beyond') return bytesFromArray(url, new Uint8Array());
    if (reply.ranged) return openRanged(download, reply);
    await receive(whole, reply, download);
    return bytesFromArray(url, whole.bytes());
  });
}

async function openRanged({ url, options, onProgress }: Download, first: Reply): Promise<ByteSource> {
  const sizeBytes = first.totalBytes!;
  const head = new Uint8Array(Math.min(HEAD_BYTES, sizeBytes));
  let loadedBytes = 0;
  for await (const chunk of exactly(head.length, first.body, options)) {
    head.set(chunk, loadedBytes);
    loadedBytes += chunk.length;
    onProgress(loadedBytes, sizeBytes);
  }

  async function read(begin: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
    checkRange(url, begin, end, sizeBytes);
    if (end <= head.length) return head.slice(begin, end);
    const bytes = new Uint8Array(end - begin);
    let filled = 0;
    const attempt = async () => {
      const reply = await requestRange(url, begin + filled, end, options);
      if (!isSameFile(reply, first) || reply.begin !== begin + filled) {
        if (typeof reply !== 'string') await discard(reply.body);
        throw new SourceError(`${url} changed on the server since it was opened.`, 'Open the model again.');
      }
      for await (const chunk of exactly(bytes.length - filled, reply.body, options)) {
        bytes.set(chunk, filled);
        filled += chunk.length;
        loadedBytes += chunk.length;
        onProgress(loadedBytes, sizeBytes);
      }
    };
    if (begin < end) await withRetries(url, options, attempt, () => filled);
    return bytes;
  }

  return { name: url, sizeBytes, read, close: async () => {} };
}

function isSameFile(reply: Reply | string, first: Reply): reply is Reply {
  if (typeof reply === 'string') return false;
  return reply.ranged && reply.totalBytes === first.totalBytes && reply.validator === first.validator;
}

/** The chunks of a body, which must come to `bytes` in all. */
async function* exactly(
  bytes: number,
  body: ReadableStream<Uint8Array>,
  options: HttpOptions,
): AsyncGenerator<Uint8Array> {
  let got = 0;
  for await (const chunk of chunks(body, options)) {
    got += chunk.length;
    if (got > bytes) break;
    yield chunk;
  }
  if (got !== bytes) throw new Dropped(`${got} bytes came instead of ${bytes}`);
}
