import { createHash } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { cacheFolder } from '../cache-folder.node.ts';
import { InputError } from '../errors.ts';
import { fileBytes, fileError, writeFileAtomic } from '../io/folder.node.ts';
import { openSafetensors } from '../io/safetensors.ts';
import { encodeSafetensors } from '../io/safetensors-writer.ts';
import type { Tokenizer } from '../io/tokenizer.ts';
import type { Tokens } from './data.ts';
import { type EncodeOptions, encodeText } from './encode.ts';

/** A text file as token ids. */
export interface Corpus {
  readonly tokens: Tokens;
  /** SHA-256 of the file. */
  readonly digest: string;
}

/** What turns text into ids: `bytes` takes any file as it is. */
export type Encoder = 'bytes' | { readonly tokenizer: Tokenizer; readonly digest: string };

/** SHA-256, in hex. */
export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Encodings that took longer than this are kept for the next time. */
const PATIENCE_MS = 3000;

/**
 * Reads a file and encodes it, or finds its ids in the cache folder from the time before.
 * @param folder Where such ids are kept.
 * @returns Undefined when the signal fired first.
 * @throws SourceError when it cannot be read; InputError for a file that is not UTF-8 text.
 */
export async function readCorpus(
  path: string,
  encoder: Encoder,
  options: EncodeOptions = {},
  folder: string = join(cacheFolder(), 'tokens'),
): Promise<Corpus | undefined> {
  const bytes = await readFile(path).catch((cause) => {
    throw fileError(path, 'read', cause);
  });
  const digest = sha256(bytes);
  if (encoder === 'bytes') return { tokens: bytes, digest };
  const cached = join(folder, `${digest.slice(0, 32)}-${encoder.digest.slice(0, 32)}.safetensors`);
  const known = await readIds(cached);
  if (known) return { tokens: known, digest };
  const started = performance.now();
  const tokens = await encodeText(decodeUtf8(bytes, path), encoder.tokenizer, options);
  if (tokens && performance.now() - started > PATIENCE_MS) await keepIds(cached, tokens);
  return tokens && { tokens, digest };
}

function decodeUtf8(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new InputError(
      `${path} is not UTF-8 text, or more than fits a string.`,
      'Save it as UTF-8, or train on its bytes with --tokenizer bytes.',
      { cause },
    );
  }
}

async function readIds(path: string): Promise<Tokens | undefined> {
  try {
    const file = await fileBytes(path);
    try {
      const checkpoint = await openSafetensors(file);
      const { buffer } = await checkpoint.bytes('ids');
      return checkpoint.tensors.get('ids')!.dtype === 'U16' ? new Uint16Array(buffer) : new Uint32Array(buffer);
    } finally {
      await file.close();
    }
  } catch {
    return undefined; // not there, or not whole: encoding again puts it right
  }
}

async function keepIds(path: string, tokens: Tokens): Promise<void> {
  const dtype = tokens instanceof Uint16Array ? 'U16' : 'U32';
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFileAtomic(path, encodeSafetensors([{ name: 'ids', dtype, shape: [tokens.length], data: tokens }]));
  } catch {
    // A cache that cannot be written costs time, no more.
  }
}
