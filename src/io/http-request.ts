import { SourceError } from '../errors.ts';

/** How to reach a server. */
export interface HttpOptions {
  /** Replaces the global `fetch`. */
  readonly fetch?: typeof fetch;
  /** Sent with every request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Stops downloads and reads; they reject with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Pause before the first new try after a dropped connection; doubles with each further one. Default 250. */
  readonly retryDelayMs?: number;
}

/** Bytes from `begin` on of a file on a server. */
export interface Reply {
  /** Whether the server kept to the range; otherwise `begin` is 0 and the whole file comes. */
  readonly ranged: boolean;
  readonly begin: number;
  /** Size of the whole file, where the server says. */
  readonly totalBytes: number | undefined;
  /** Tells versions of the file apart; undefined when the server sends neither ETag nor Last-Modified. */
  readonly validator: string | undefined;
  readonly body: ReadableStream<Uint8Array>;
}

/** A failure that may pass: the connection dropped, or the server is overloaded. */
export class Dropped extends Error {}

const TRIES = 5;

/**
 * Asks for bytes [begin, end) of a file, or to its end. A server without range requests replies from byte 0.
 *
 * Versions are told apart by comparing `validator` with the caller's, not by If-Range: that header makes browsers ask
 * other origins for permission first, and takes no weak ETag.
 *
 * @returns The reply, or why there are no bytes: no such file, or it ends before `begin`.
 * @throws Dropped when a new try may help; SourceError otherwise.
 */
export async function requestRange(
  url: string,
  begin: number,
  end: number | undefined,
  options: HttpOptions,
): Promise<Reply | 'absent' | 'beyond'> {
  // Asking for a range from the start, too, keeps servers from compressing, which would hide the size.
  const response = await send(url, { range: `bytes=${begin}-${end === undefined ? '' : end - 1}` }, options);
  const reply = await interpret(url, response);
  if (reply !== 'unlabelled') return reply;
  const whole = await interpret(url, await send(url, {}, options));
  if (whole !== 'unlabelled') return whole;
  throw new SourceError(`${url}: the server sent a part of the file unasked.`, 'Download the file by other means.');
}

async function send(url: string, range: Record<string, string>, options: HttpOptions): Promise<Response> {
  const fetch = options.fetch ?? globalThis.fetch;
  try {
    return await fetch(url, { headers: { ...options.headers, ...range }, signal: options.signal ?? null });
  } catch (cause) {
    options.signal?.throwIfAborted();
    throw dropped(cause);
  }
}

/** Cancels a body nobody reads, which frees its connection. */
export async function discard(body: ReadableStream<Uint8Array> | null): Promise<void> {
  await body?.cancel().catch(() => {});
}

async function interpret(url: string, response: Response): Promise<Reply | 'absent' | 'beyond' | 'unlabelled'> {
  const { status, headers, body } = response;
  const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(headers.get('content-range') ?? '');
  if (response.ok && body !== null && !isStartPage(response) && (status !== 206 || range !== null)) {
    const length = headers.has('content-encoding') ? null : headers.get('content-length');
    const total = range === null ? length : range[2];
    const version = headers.get('etag') ?? headers.get('last-modified');
    return {
      ranged: range !== null,
      begin: range === null ? 0 : Number(range[1]),
      totalBytes: total === null ? undefined : Number(total),
      validator: version === null ? undefined : `${version} ${total}`,
      body,
    };
  }
  await discard(body);
  // Servers that do not list Content-Range in Access-Control-Expose-Headers hide it from pages of other origins.
  if (status === 206 && range === null) return 'unlabelled';
  if (isAbsent(url, response)) return 'absent';
  if (status === 416) return 'beyond';
  if (status === 408 || status === 429 || status >= 500) throw new Dropped(`HTTP ${status}`);
  throw refusal(url, response);
}

/** Servers of single-page apps answer with their start page where a file is missing. */
function isStartPage({ headers }: Response): boolean {
  return (headers.get('content-type') ?? '').startsWith('text/html');
}

function isAbsent(url: string, response: Response): boolean {
  if (response.ok && isStartPage(response)) return true;
  if (response.status !== 404 && response.status !== 410) return false;
  const code = response.headers.get('x-error-code');
  if (code !== 'RepoNotFound' && code !== 'RevisionNotFound') return true;
  throw new SourceError(`${url}: ${code}.`, 'Check the id and the revision for a typing error.');
}

function refusal(url: string, { status, statusText, headers }: Response): SourceError {
  const code = headers.get('x-error-code');
  const what = `${url}: HTTP ${status}${statusText && ` ${statusText}`}${code === null ? '' : ` (${code})`}.`;
  return status === 401 || status === 403
    ? new SourceError(
        what,
        'Check the name; for a private or gated model accept its licence and pass a token (HF_TOKEN in the environment).',
      )
    : new SourceError(what, 'Open the URL in a browser to see what the server says.');
}

/** Any failure to fetch or stream, as one that may pass. */
export function dropped(cause: unknown): Dropped {
  const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));
  const inner = cause instanceof Error && cause.cause !== undefined ? ` (${reason(cause.cause)})` : '';
  return new Dropped(reason(cause) + inner, { cause });
}

/**
 * Runs `attempt` until it does not throw Dropped: five times without progress, with doubling pauses.
 *
 * @param progress A count that grows when an attempt got somewhere, which gives it all its tries again.
 * @throws SourceError when the last try was dropped, too.
 */
export async function withRetries<T>(
  url: string,
  options: HttpOptions,
  attempt: () => Promise<T>,
  progress: () => number = () => 0,
): Promise<T> {
  let reached = progress();
  for (let failures = 0; ; ) {
    options.signal?.throwIfAborted();
    try {
      return await attempt();
    } catch (error) {
      options.signal?.throwIfAborted();
      if (!(error instanceof Dropped)) throw error;
      failures = progress() > reached ? 1 : failures + 1;
      reached = Math.max(reached, progress());
      if (failures === TRIES) {
        throw new SourceError(
          `${url} could not be fetched in ${TRIES} tries: ${error.message}.`,
          'Check the network and the address, then try again.',
          { cause: error },
        );
      }
      await pause((options.retryDelayMs ?? 250) * 2 ** (failures - 1), options.signal);
    }
  }
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', done);
  });
}
