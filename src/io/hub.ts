import { SourceError } from '../errors.ts';
import { type UrlOptions, urlSource } from './http.ts';
import type { Source } from './source.ts';

/** Which version of a hub repository to fetch, and how. */
export interface HubOptions extends UrlOptions {
  /** Branch, tag or commit. Default `main`, which moves: name a commit where results must stay the same. */
  readonly revision?: string;
  /** Access token for private and gated models. */
  readonly token?: string;
  /** A mirror. Default `https://huggingface.co`. */
  readonly endpoint?: string;
}

const ID = /^[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?(?:\/[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?)?$/;

/**
 * A repository of the Hugging Face hub as the source of a model; fetches as urlSource does.
 *
 * @param id `owner/name`, or the bare name of an early model such as `gpt2`.
 * @throws SourceError for an id, revision or token that cannot be one.
 */
export function hubSource(id: string, options: HubOptions = {}): Source {
  const { revision = 'main', token, endpoint = 'https://huggingface.co', headers, ...rest } = options;
  if (!ID.test(id) || id.includes('..') || id.includes('--')) {
    throw new SourceError(`'${id}' is not a hub id.`, "Write 'owner/name', such as 'openai-community/gpt2'.");
  }
  if (/^\.*$/.test(revision)) {
    throw new SourceError(`'${revision}' is not a revision of ${id}.`, 'Name a branch, a tag or a commit.');
  }
  // Checked here, because fetch would quote the token in its message.
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw new SourceError(
      `The token for ${id} is empty or holds blanks.`,
      'Check HF_TOKEN for a stray space or newline.',
    );
  }
  const url = `${endpoint.replace(/\/+$/, '')}/${id}/resolve/${encodeURIComponent(revision)}`;
  return urlSource(url, { ...rest, headers: { ...headers, ...(token && { authorization: `Bearer ${token}` }) } });
}
