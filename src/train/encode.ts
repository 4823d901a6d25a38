import type { Tokenizer } from '../io/tokenizer.ts';
import type { Tokens } from './data.ts';

/** How to encode. */
export interface EncodeOptions {
  /** Called with the share of the text that is done, 0 to 1. */
  readonly onProgress?: (share: number) => void;
  readonly signal?: AbortSignal;
}

/** Characters encoded at once: long enough to lose no time, short enough to show progress. */
const PIECE = 2 ** 16;
const SAMPLED_PIECES = 3;

/**
 * Encodes a long text piece by piece, with a rest for other work between.
 *
 * Pieces end between a letter and the end of its line, where tokenizers that split a text into words always do.
 * Whether this one does is tried on the first pieces; if not, the text is encoded as a whole.
 *
 * @returns Undefined when the signal fired first.
 * @throws InputError for a piece of text that the tokenizer cannot spell.
 */
export async function encodeText(
  text: string,
  tokenizer: Pick<Tokenizer, 'encode' | 'vocabularySize'>,
  { onProgress, signal }: EncodeOptions = {},
): Promise<Tokens | undefined> {
  const ends = pieceEnds(text);
  const encode = (begin: number, end: number) => tokenizer.encode(text.slice(begin, end));
  const parts: Uint32Array[] = [];
  let begin = 0;
  for (const [i, end] of ends.entries()) {
    parts.push(encode(begin, end));
    begin = end;
    const isSampled = i === Math.min(SAMPLED_PIECES, ends.length) - 1 && ends.length > 1;
    if (isSampled && !isSame(parts, encode(0, end))) return compact([encode(0, text.length)], tokenizer);
    onProgress?.(end / text.length);
    await new Promise((resolve) => setTimeout(resolve));
    if (signal?.aborted) return undefined;
  }
  return compact(parts, tokenizer);
}

function pieceEnds(text: string): number[] {
  const ends: number[] = [];
  const lineEnd = /\p{L}(?=\r?\n)/gu;
  for (let begin = 0; begin < text.length; begin = ends[ends.length - 1]) {
    lineEnd.lastIndex = begin + PIECE;
    const found = lineEnd.exec(text);
    ends.push(found ? found.index + found[0].length : text.length);
  }
  return ends;
}

function isSame(parts: readonly Uint32Array[], whole: Uint32Array): boolean {
  let i = 0;
  for (const part of parts) for (const id of part) if (id !== whole[i++]) return false;
  return i === whole.length;
}

/** All ids, in the smallest array that holds the vocabulary. */
function compact(parts: readonly Uint32Array[], { vocabularySize }: Pick<Tokenizer, 'vocabularySize'>): Tokens {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const tokens = vocabularySize <= 2 ** 16 ? new Uint16Array(length) : new Uint32Array(length);
  let at = 0;
  for (const part of parts) {
    tokens.set(part, at);
    at += part.length;
  }
  return tokens;
}
