import { FormatError } from '../errors.ts';
import type { Source } from './source.ts';

/**
 * Parses UTF-8 JSON from a file nobody vouches for.
 *
 * @param file What to call the file in messages.
 * @throws FormatError for bytes that are not UTF-8, text that is not JSON, or an object with the same key twice (of
 * which JSON.parse would keep one in silence).
 */
export function parseJson(file: string, bytes: Uint8Array): unknown {
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new FormatError(`${file}: the JSON is not valid UTF-8.`, 'Download or convert the file again.', { cause });
  }
  try {
    value = JSON.parse(text);
  } catch (cause) {
    const reason = clip(cause instanceof Error ? cause.message : String(cause));
    throw new FormatError(`${file}: not valid JSON (${reason}).`, 'Download or convert the file again.', { cause });
  }
  const twice = duplicateKey(text);
  if (twice !== undefined) {
    throw new FormatError(`${file}: the key ${quote(twice)} occurs twice.`, 'Remove one of the two entries.');
  }
  return value;
}

/**
 * Reads a JSON file of a source; undefined when the source has no such file.
 *
 * @throws FormatError as parseJson; SourceError when it cannot be read.
 */
export async function readJson(source: Source, path: string): Promise<unknown> {
  const file = await source.open(path);
  if (file === undefined) return undefined;
  try {
    return parseJson(file.name, await file.read(0, file.sizeBytes));
  } finally {
    await file.close();
  }
}

/** Whether a JSON value is an object (not null, not an array). */
export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** A name from a file, in quotes, cut so that a hostile one cannot fill a terminal. */
export function quote(name: string): string {
  return JSON.stringify(clip(name));
}

function clip(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/** The first key that occurs twice in one object of a valid JSON text. */
function duplicateKey(json: string): string | undefined {
  const open: Set<string>[] = [];
  for (let i = 0; i < json.length; i++) {
    if (json[i] === '{') open.push(new Set());
    else if (json[i] === '}') open.pop();
    else if (json[i] === '"') {
      const begin = i;
      for (i++; json[i] !== '"'; i++) if (json[i] === '\\') i++;
      let next = i + 1;
      while (json.charCodeAt(next) <= 0x20) next++;
      if (json[next] !== ':') continue;
      const key: string = JSON.parse(json.slice(begin, i + 1));
      const keys = open[open.length - 1];
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}
