import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { cacheFolder } from '../../src/cache-folder.node.ts';
import { SourceError } from '../../src/errors.ts';
import { folderCache } from '../../src/io/cache.node.ts';
import { cachePath } from '../../src/io/cache.ts';
import { type UrlOptions, urlSource } from '../../src/io/http.ts';

const content = Uint8Array.from({ length: 1000 }, (_, i) => (i * 7) % 251);
const BASE = 'https://example.org/tiny';
const KEY = `${BASE}/a.bin`;

let root: string;
let path: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'preimage-'));
  path = join(root, ...cachePath(KEY));
});
afterEach(() => rm(root, { recursive: true }));

interface Step {
  readonly bytes?: Uint8Array;
  readonly etag?: string;
  /** The connection drops after that many bytes. */
  readonly dropAfter?: number;
  readonly status?: number;
}

/** A server that goes through the steps, request by request, and stays at the last. */
function server(...steps: Step[]): { fetch: typeof fetch; ranges: string[] } {
  const ranges: string[] = [];
  const respond = async (_: unknown, init?: RequestInit): Promise<Response> => {
    const range = new Headers(init?.headers).get('range') ?? '';
    const { bytes = content, etag = '"v1"', dropAfter, status } = steps[Math.min(ranges.length, steps.length - 1)];
    ranges.push(range);
    const begin = Number(/\d+/.exec(range)?.[0]);
    if (status !== undefined || begin >= bytes.length) return new Response(null, { status: status ?? 416 });
    let sent = false;
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        if (sent && dropAfter !== undefined) return controller.error(new TypeError('terminated'));
        if (sent) return controller.close();
        controller.enqueue(bytes.slice(begin, begin + (dropAfter ?? bytes.length)));
        sent = true;
      },
    });
    const headers = { etag, 'content-range': `bytes ${begin}-${bytes.length - 1}/${bytes.length}` };
    return new Response(body, { status: 206, headers });
  };
  return { fetch: respond, ranges };
}

const open = (remote: { fetch: typeof fetch }, options: UrlOptions = {}) =>
  urlSource(BASE, {
    retryDelayMs: 1,
    cache: folderCache(root),
    fetch: remote.fetch,
    ...options,
  }).open('a.bin');

async function expectContent(file: Awaited<ReturnType<typeof open>>, bytes = content): Promise<void> {
  expect(await file?.read(0, file.sizeBytes)).toEqual(bytes);
  await file?.close();
}

/** Leaves what a killed download leaves. */
async function leavePart(bytes: Uint8Array, version: string | undefined, lock?: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.part`, bytes);
  if (version !== undefined) await writeFile(`${path}.part.version`, version);
  if (lock !== undefined) await writeFile(`${path}.part.lock`, String(lock));
}
const deadProcess = () => spawnSync(process.execPath, ['--version']).pid;

test('a file is fetched once', async () => {
  const remote = server({});
  const progress: unknown[] = [];
  await expectContent(await open(remote, { onProgress: (...step) => progress.push(step) }));
  await expectContent(await open(remote));
  expect(remote.ranges).toEqual(['bytes=0-']);
  expect(progress).toEqual([['a.bin', 1000, 1000]]);
  expect(await readdir(dirname(path))).toEqual(['a.bin']);
});

test('a missing file leaves no trace', async () => {
  expect(await open(server({ status: 404 }))).toBeUndefined();
  expect(await readdir(dirname(path))).toEqual([]);
});

test('an empty file is cached', async () => {
  const remote = server({ bytes: new Uint8Array() });
  await expectContent(await open(remote), new Uint8Array());
  await expectContent(await open(remote), new Uint8Array());
  expect(remote.ranges.length).toBe(1);
});

describe('a download goes on', () => {
  test('after a dropped connection', async () => {
    const remote = server({ dropAfter: 400 }, { dropAfter: 300 }, {});
    await expectContent(await open(remote));
    expect(remote.ranges).toEqual(['bytes=0-', 'bytes=400-', 'bytes=700-']);
  });

  test('in a later call after it was given up', async () => {
    await expect(open(server({ dropAfter: 400 }, { status: 503 }))).rejects.toThrow(SourceError);
    expect(await readFile(`${path}.part`)).toHaveLength(400);
    const remote = server({});
    await expectContent(await open(remote));
    expect(remote.ranges).toEqual(['bytes=400-']);
  });

  test('after its process was killed', async () => {
    await leavePart(content.slice(0, 600), '"v1" 1000', deadProcess());
    const remote = server({});
    await expectContent(await open(remote));
    expect(remote.ranges).toEqual(['bytes=600-']);
    expect(await readdir(dirname(path))).toEqual(['a.bin']);
  });

  test('after it was killed just before the end', async () => {
    await leavePart(content, '"v1" 1000');
    await expectContent(await open(server({})));
  });

  test('after an abort, which keeps the part', async () => {
    const controller = new AbortController();
    const stop = { signal: controller.signal, onProgress: () => controller.abort(new Error('enough')) };
    await expect(open(server({ dropAfter: 400 }, {}), stop)).rejects.toThrow('enough');
    const remote = server({});
    await expectContent(await open(remote));
    expect(remote.ranges).toEqual(['bytes=400-']);
  });
});

describe('a download starts again', () => {
  const newer = content.map((byte) => 255 - byte);

  test.each([
    ['the file changed', newer],
    ['the file changed and grew', Uint8Array.of(...newer, 1, 2, 3)],
    ['the file changed and shrank', newer.slice(0, 100)],
  ])('when %s', async (_, bytes) => {
    const remote = server({ dropAfter: 400 }, { bytes, etag: '"v2"' });
    await expectContent(await open(remote), bytes);
    expect(remote.ranges).toEqual(['bytes=0-', 'bytes=400-', 'bytes=0-']);
  });

  test('when the part does not say what it is a part of', async () => {
    await leavePart(newer.slice(0, 600), undefined);
    const remote = server({});
    await expectContent(await open(remote));
    expect(remote.ranges).toEqual(['bytes=0-']);
  });

  test('when only the name of the version is left', async () => {
    await leavePart(content, '"v1" 1000');
    await rm(`${path}.part`);
    await expectContent(await open(server({})));
  });

  test('when the server does not tell versions apart', async () => {
    const remote = server({ dropAfter: 400, etag: '' }, { etag: '' });
    const fetch: typeof globalThis.fetch = async (...request) => {
      const response = await remote.fetch(...request);
      response.headers.delete('etag');
      return response;
    };
    await expectContent(await open({ fetch }));
    expect(remote.ranges).toEqual(['bytes=0-', 'bytes=400-', 'bytes=0-']);
  });

  test('but not for ever', async () => {
    const steps = Array.from({ length: 20 }, (_, i) => ({ etag: `"v${i}"`, dropAfter: 400 }));
    await expect(open(server(...steps))).rejects.toThrow(/in 5 tries/);
  });
});

test('two at once both get the file', async () => {
  const files = await Promise.all([open(server({ dropAfter: 400 }, {})), open(server({ dropAfter: 300 }, {}))]);
  for (const file of files) await expectContent(file);
  expect(await readdir(dirname(path))).toEqual(['a.bin']);
});

// /dev/full is a Linux device on which every write fails as on a full disk.
test.skipIf(!existsSync('/dev/full'))('a full disk says how much is needed', async () => {
  await mkdir(dirname(path), { recursive: true });
  await symlink('/dev/full', `${path}.part`);
  const error = await open(server({})).then(
    () => undefined,
    (e) => e,
  );
  expect(error).toBeInstanceOf(SourceError);
  expect(error.message).toMatch(
    /disk is full.*a\.bin\.part needs 1000 more bytes; the 0 it has are kept.*Free that much/,
  );
});

test('a cache that cannot be written is an error with its path', async () => {
  await writeFile(join(root, 'file'), '');
  await expect(open(server({}), { cache: folderCache(join(root, 'file')) })).rejects.toThrow(SourceError);
});

test('the folder follows XDG', () => {
  expect(cacheFolder({ XDG_CACHE_HOME: '/var/tmp/me' })).toBe('/var/tmp/me/preimage');
  expect(cacheFolder({ XDG_CACHE_HOME: 'relative' })).toBe(join(homedir(), '.cache', 'preimage'));
  expect(cacheFolder({})).toBe(join(homedir(), '.cache', 'preimage'));
});

test('keys become plain names', () => {
  expect(cachePath('https://a.org/x/../y?z=*')).toEqual(['https%3A', 'a.org', 'x', '%2E%2E', 'y%3Fz%3D%2A']);
  expect(cachePath('x'.repeat(450)).map((name) => name.length)).toEqual([200, 200, 50]);
});
