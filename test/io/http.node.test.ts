import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SourceError } from '../../src/errors.ts';
import { type UrlOptions, urlSource } from '../../src/io/http.ts';
import { encodeSafetensors } from '../../src/io/safetensors-writer.ts';
import { openCheckpoint } from '../../src/io/sharded.ts';

const content = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8)) % 251);

let server: Server;
let base: string;
let requests: IncomingMessage[];
/** What the server does with the n-th request, from 0. */
let handle: (request: IncomingMessage, response: ServerResponse, n: number) => void;

beforeEach(async () => {
  requests = [];
  server = createServer((request, response) => handle(request, response, requests.push(request) - 1));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/models/tiny/`;
});
afterEach(() => {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(resolve));
});

interface Serving {
  readonly ranges?: boolean;
  readonly etag?: string;
  /** Close the connection after that many bytes. */
  readonly dropAfter?: number;
  readonly headers?: Record<string, string>;
}

/** Sends bytes as a static file server does. */
function serve(bytes: Uint8Array, request: IncomingMessage, response: ServerResponse, serving: Serving = {}): void {
  const { ranges = true, etag = '"v1"', dropAfter = Infinity, headers = {} } = serving;
  const range = ranges ? /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') : null;
  const begin = range === null ? 0 : Number(range[1]);
  if (range !== null && begin >= bytes.length) {
    response.writeHead(416, { 'content-range': `bytes */${bytes.length}` }).end();
    return;
  }
  const end = range === null || range[2] === '' ? bytes.length : Math.min(Number(range[2]) + 1, bytes.length);
  response.writeHead(range === null ? 200 : 206, {
    'content-length': end - begin,
    ...(etag !== '' && { etag }),
    ...(range !== null && { 'content-range': `bytes ${begin}-${end - 1}/${bytes.length}` }),
    ...headers,
  });
  const body = bytes.subarray(begin, Math.min(end, begin + dropAfter));
  if (body.length === end - begin) response.end(body);
  else response.write(body, () => setTimeout(() => response.destroy(), 20));
}

const source = (options: UrlOptions = {}) => urlSource(base, { retryDelayMs: 1, ...options });
const ranges = () => requests.map((request) => request.headers.range);

describe('a server with range requests', () => {
  test('sends only what is read', async () => {
    handle = (request, response) => serve(content, request, response);
    const progress: [string, number, number | undefined][] = [];
    const file = (await source({ onProgress: (...step) => progress.push(step) }).open('a.bin'))!;
    expect(file.sizeBytes).toBe(300_000);
    expect(await file.read(0, 100)).toEqual(content.slice(0, 100));
    expect(await file.read(65_000, 66_000)).toEqual(content.slice(65_000, 66_000));
    expect(await file.read(299_999, 300_000)).toEqual(content.slice(299_999));
    expect(await file.read(300_000, 300_000)).toEqual(new Uint8Array());
    expect(ranges()).toEqual(['bytes=0-65535', 'bytes=65000-65999', 'bytes=299999-299999']);
    expect(progress.at(-1)).toEqual(['a.bin', 65_536 + 1001, 300_000]);
    await expect(file.read(0, 300_001)).rejects.toThrow(SourceError);
  });

  test('a dropped connection goes on where it was', async () => {
    handle = (request, response, n) => serve(content, request, response, n % 2 === 1 ? { dropAfter: 50_000 } : {});
    const file = (await source().open('a.bin'))!;
    expect(await file.read(100_000, 300_000)).toEqual(content.slice(100_000));
    expect(requests.length).toBe(3);
    expect(ranges()[2]).toMatch(/^bytes=1[0-5]\d{4}-299999$/);
    expect(ranges()[2]).not.toBe(ranges()[1]);
  });

  test('a file that changes under the reader is an error', async () => {
    handle = (request, response, n) => serve(content, request, response, { etag: `"v${n}"` });
    const file = (await source().open('a.bin'))!;
    await expect(file.read(100_000, 200_000)).rejects.toThrow(/a\.bin changed on the server.*Open the model again/);
  });

  test('names are escaped', async () => {
    handle = (request, response) => serve(content, request, response);
    await source().open('sub/a b#?%.bin');
    expect(requests[0].url).toBe('/models/tiny/sub/a%20b%23%3F%25.bin');
    await expect(source().open('../secret')).rejects.toThrow(SourceError);
  });

  test('an empty file is empty', async () => {
    handle = (request, response) => serve(new Uint8Array(), request, response);
    expect((await source().open('a.bin'))?.sizeBytes).toBe(0);
  });

  test('that hides Content-Range sends the whole file', async () => {
    handle = (request, response) => {
      response.writeHead(request.headers.range === undefined ? 200 : 206);
      response.end(request.headers.range === undefined ? content : content.subarray(0, 65536));
    };
    const file = (await source().open('a.bin'))!;
    expect(await file.read(0, 300_000)).toEqual(content);
  });

  test('a checkpoint reads over it', async () => {
    const data = Float32Array.from({ length: 100_000 }, (_, i) => i);
    const model = encodeSafetensors([{ name: 'wte', dtype: 'F32', shape: [100_000], data }]);
    handle = (request, response) => serve(model, request, response);
    const checkpoint = await openCheckpoint(source());
    expect(await checkpoint.float32('wte', 50_000, 50_003)).toEqual(Float32Array.of(50_000, 50_001, 50_002));
    expect(requests.length).toBe(2);
  });
});

describe('a server without range requests', () => {
  test('sends the file once', async () => {
    handle = (request, response) => serve(content, request, response, { ranges: false });
    const file = (await source().open('a.bin'))!;
    expect(await file.read(0, 300_000)).toEqual(content);
    expect(requests.length).toBe(1);
  });

  test('is asked again from the start when the connection drops', async () => {
    handle = (request, response, n) =>
      serve(content, request, response, { ranges: false, ...(n < 2 && { dropAfter: 100_000 }) });
    const file = (await source().open('a.bin'))!;
    expect(await file.read(0, 300_000)).toEqual(content);
    expect(requests.length).toBe(3);
  });

  test('that always drops is given up', async () => {
    handle = (request, response) => serve(content, request, response, { ranges: false, dropAfter: 100_000 });
    await expect(source().open('a.bin')).rejects.toThrow(/could not be fetched in 5 tries.*Check the network/);
    expect(requests.length).toBeLessThanOrEqual(6);
  });

  test('may keep the size to itself', async () => {
    handle = (_, response) => response.writeHead(200).end(content);
    const progress: unknown[] = [];
    const file = (await source({ onProgress: (_, ...step) => progress.push(step) }).open('a.bin'))!;
    expect(file.sizeBytes).toBe(300_000);
    expect(progress.at(-1)).toEqual([300_000, undefined]);
  });
});

describe('a server that refuses', () => {
  const status = (code: number, headers: Record<string, string> = {}) => {
    handle = (_, response) => response.writeHead(code, headers).end('no');
  };
  test('404 means that there is no such file', async () => {
    status(404, { 'x-error-code': 'EntryNotFound' });
    expect(await source().open('a.bin')).toBeUndefined();
    expect(await source().has?.('a.bin')).toBe(false);
  });
  test('so does the start page of an app', async () => {
    status(200, { 'content-type': 'text/html; charset=utf-8' });
    expect(await source().open('a.bin')).toBeUndefined();
  });
  test.each([401, 403])('%d asks for a token', async (code) => {
    status(code);
    await expect(source().open('a.bin')).rejects.toThrow(SourceError);
    await expect(source().open('a.bin')).rejects.toThrow(new RegExp(`a\\.bin: HTTP ${code}.*HF_TOKEN`));
  });
  test('404 of a repository is an error', async () => {
    status(404, { 'x-error-code': 'RepoNotFound' });
    await expect(source().open('a.bin')).rejects.toThrow(/RepoNotFound.*Check the id/);
  });
  test('418 is not tried again', async () => {
    status(418);
    await expect(source().open('a.bin')).rejects.toThrow(/HTTP 418/);
    expect(requests.length).toBe(1);
  });
  test('503 is tried again', async () => {
    handle = (request, response, n) => {
      if (n < 3) response.writeHead(503).end();
      else serve(content, request, response);
    };
    expect((await source().open('a.bin'))?.sizeBytes).toBe(300_000);
  });
  test('no server at all', async () => {
    const nowhere = urlSource('http://127.0.0.1:1/x', { retryDelayMs: 1 });
    await expect(nowhere.open('a.bin')).rejects.toThrow(SourceError);
    await expect(nowhere.open('a.bin')).rejects.toThrow(/127\.0\.0\.1:1\/x\/a\.bin could not be fetched in 5 tries/);
  });
});

test('headers go with every request, and files are found without fetching them', async () => {
  handle = (request, response) => serve(content, request, response);
  const remote = source({ headers: { authorization: 'Bearer abc' } });
  expect(await remote.has?.('a.bin')).toBe(true);
  await remote.open('a.bin');
  expect(requests.map((request) => request.headers.authorization)).toEqual(['Bearer abc', 'Bearer abc']);
  expect(ranges()[0]).toBe('bytes=0-0');
});

test('an abort ends a read with its reason', async () => {
  const controller = new AbortController();
  handle = (request, response, n) => {
    if (n === 0) serve(content, request, response);
    else controller.abort(new Error('enough'));
  };
  const file = (await source({ signal: controller.signal }).open('a.bin'))!;
  await expect(file.read(100_000, 200_000)).rejects.toThrow('enough');
  await expect(source({ signal: controller.signal }).open('a.bin')).rejects.toThrow('enough');
});
