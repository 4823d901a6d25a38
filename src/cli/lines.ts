import { readFile } from 'node:fs/promises';
import { InputError } from '../errors.ts';
import { fileError } from '../io/folder.node.ts';

/** A line of a file of prompts. */
export interface Line {
  /** From 1. */
  readonly number: number;
  readonly text: string;
}

/** The lines of a file that hold more than blanks, and those that do not. */
export interface Lines {
  readonly kept: readonly Line[];
  readonly blank: readonly number[];
}

/**
 * Reads a file with a prompt on each line.
 * @throws InputError when it is not UTF-8 or holds no prompt; SourceError.
 */
export async function readLines(path: string): Promise<Lines> {
  const bytes = await readFile(path).catch((cause) => {
    throw fileError(path, 'read', cause);
  });
  const lines = decode(path, bytes)
    // The end of the last line begins no other.
    .replace(/\r?\n$/, '')
    .split(/\r?\n/)
    .map((text, i): Line => ({ number: i + 1, text }));
  const isBlank = ({ text }: Line) => text.trim() === '';
  const kept = lines.filter((line) => !isBlank(line));
  if (kept.length === 0) throw new InputError(`${path} holds no prompts.`, 'Write one on each line.');
  return { kept, blank: lines.filter(isBlank).map(({ number }) => number) };
}

const NEWLINE = 10;

function decode(path: string, bytes: Uint8Array): string {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    let line = 1;
    for (let begin = 0; begin < bytes.length; line++) {
      const end = bytes.indexOf(NEWLINE, begin);
      const text = bytes.subarray(begin, end < 0 ? bytes.length : end);
      try {
        decoder.decode(text);
      } catch {
        break;
      }
      begin += text.length + 1;
    }
    throw new InputError(`Line ${line} of ${path} is not UTF-8 text.`, 'Save it as UTF-8, a prompt on each line.', {
      cause,
    });
  }
}
