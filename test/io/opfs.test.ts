import { afterEach, describe, expect, test } from 'vitest';
import { SourceError } from '../../src/errors.ts';
import { type UrlOptions, urlSource } from '../../src/io/http.ts';
import { opfsCache } from '../../src/io/opfs.ts';

/** An origin-private file system in memory, as far as the cache uses it, with a quota in bytes. */
function memoryFolder(quota = { free: Infinity }): FileSystemDirectoryHandle {
  const entries = new Map<string, FileSystemDirectoryHandle | FileSystemFileHandle>();
  const entry = <T>(name: string, create: (() => T) | undefined): T => {
    if (!entries.has(name)) {
      if (create === undefined) throw new DOMException(name, 'NotFoundError');
      entries.set(name, create() as FileSystemFileHandle);
    }
    return entries.get(name) as T;
  };
  const folder = {
    getDirectoryHandle: async (name: string, { create = false } = {}) =>
      entry(name, create ? () => memoryFolder(quota) : undefined),
    getFileHandle: async (name: string, { create = false } = {}) =>
      entry(name, create ? () => memoryFile(quota) : undefined),
    async removeEntry(name: string) {
      entry(name, undefined);
      entries.delete(name);
    },
  };
  return folder as unknown as FileSystemDirectoryHandle;
}

function memoryFile(quota: { free: number }): FileSystemFileHandle {
  let content = new Blob();
  const file = {
    getFile: async () => content as File,
    async createWritable() {
      const parts: BlobPart[] = [];
      let failed = false;
      return {
        async write(part: BlobPart) {
          quota.free -= new Blob([part]).size;
          failed ||= quota.free < 0;
          if (failed) throw new DOMException('full', 'QuotaExceededError');
          parts.push(part);
        },
        async close() {
          if (failed) throw new TypeError('the stream is errored');
          content = new Blob(parts);
        },
      };
    },
  };
  return file as unknown as FileSystemFileHandle;
}

const BASE = 'https://example.org/tiny';
const content = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 251);

/** A server whose first `drops` replies break off after 400 bytes. */
function server(drops = 0, etag = '"v1"'): { fetch: typeof fetch; ranges: string[] } {
  const ranges: string[] = [];
  const respond = async (_: unknown, init?: RequestInit): Promise<Response> => {
    const range = new Headers(init?.headers).get('range') ?? '';
    const drop = ranges.push(range) <= drops;
    const begin = Number(/\d+/.exec(range)?.[0]);
    const bytes = content.slice(begin, drop ? begin + 400 : undefined);
    let sent = false;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (!sent) controller.enqueue(bytes);
        else if (drop) controller.error(new TypeError('terminated'));
        else controller.close();
        sent = true;
      },
    });
    return new Response(body, { status: 206, headers: { etag, 'content-range': `bytes ${begin}-999/1000` } });
  };
  return { fetch: respond, ranges };
}

const hasStorage = typeof navigator !== 'undefined' && navigator.storage?.getDirectory !== undefined;
const realFolder = async () =>
  (await navigator.storage.getDirectory()).getDirectoryHandle('preimage-test', { create: true });

afterEach(async () => {
  if (hasStorage)
    await (await navigator.storage.getDirectory()).removeEntry('preimage-test', { recursive: true }).catch(() => {});
});

describe.each([
  { name: 'a folder in memory', folder: async () => memoryFolder(), skip: false },
  { name: "the browser's file system", folder: realFolder, skip: !hasStorage },
])('$name', ({ folder, skip }) => {
  const open = (root: FileSystemDirectoryHandle, remote: { fetch: typeof fetch }, options: UrlOptions = {}) =>
    urlSource(BASE, { ...remote, cache: opfsCache(root), retryDelayMs: 1, ...options }).open('a.bin');

  /** Starts a download and stops it after 400 bytes. */
  async function leavePart(root: FileSystemDirectoryHandle, etag: string): Promise<void> {
    const controller = new AbortController();
    const stop = { signal: controller.signal, onProgress: () => controller.abort(new Error('enough')) };
    await expect(open(root, server(1, etag), stop)).rejects.toThrow('enough');
  }

  test.skipIf(skip)('keeps a file', async () => {
    const root = await folder();
    const remote = server();
    for (let i = 0; i < 2; i++) {
      const file = (await open(root, remote))!;
      expect(file.sizeBytes).toBe(1000);
      expect(await file.read(0, 1000)).toEqual(content);
      expect(await file.read(390, 410)).toEqual(content.slice(390, 410));
      await expect(file.read(0, 1001)).rejects.toThrow(SourceError);
    }
    expect(remote.ranges).toEqual(['bytes=0-']);
  });

  test.skipIf(skip)('takes up a part in a later visit', async () => {
    const root = await folder();
    await leavePart(root, '"v1"');
    const remote = server();
    expect(await (await open(root, remote))!.read(0, 1000)).toEqual(content);
    expect(remote.ranges).toEqual(['bytes=400-']);
  });

  test.skipIf(skip)('drops a part of an older version', async () => {
    const root = await folder();
    await leavePart(root, '"v0"');
    const remote = server();
    expect(await (await open(root, remote))!.read(0, 1000)).toEqual(content);
    expect(remote.ranges).toEqual(['bytes=400-', 'bytes=0-']);
  });
});

test('a full quota says how much is needed', async () => {
  const cache = opfsCache(memoryFolder({ free: 600 }));
  const error = await urlSource(BASE, { ...server(1), cache, retryDelayMs: 1 })
    .open('a.bin')
    .catch((e) => e);
  expect(error).toBeInstanceOf(SourceError);
  expect(error.message).toMatch(/storage is full.*needs 600 more bytes.*Free disk space/);
});

test('storage that is denied is an error with a cure', async () => {
  const denied = { getDirectoryHandle: () => Promise.reject(new DOMException('denied', 'SecurityError')) };
  const cache = opfsCache(denied as unknown as FileSystemDirectoryHandle);
  const source = urlSource(BASE, { ...server(), cache });
  await expect(source.open('a.bin')).rejects.toThrow(SourceError);
  await expect(source.open('a.bin')).rejects.toThrow(/denied.*load the model without a cache/);
});
