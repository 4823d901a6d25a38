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
  const lines = [...decoded(path, bytes)];
  const isBlank = ({ text }: Line) => text.trim() === '';
  const kept = lines.filter((line) => !isBlank(line));
  if (kept.length === 0) throw new InputError(`${path} holds no prompts.`, 'Write one on each line.');
  return { kept, blank: lines.filter(isBlank).map(({ number }) => number) };
}

const NEWLINE = 10;

/** The lines one by one: a string cannot hold as much as a file. The end of the last line begins no other. */
function* decoded(path: string, bytes: Uint8Array): Generator<Line> {
  // The mark at the beginning of a file is none at the beginning of a line.
  const [first, others] = [false, true].map((ignoreBOM) => new TextDecoder('utf-8', { fatal: true, ignoreBOM }));
  for (let number = 1, begin = 0; begin < bytes.length || number === 1; number++) {
    const end = bytes.indexOf(NEWLINE, begin);
    const line = bytes.subarray(begin, end < 0 ? bytes.length : end);
    try {
      yield { number, text: (number === 1 ? first : others).decode(line).replace(/\r$/, '') };
    } catch (cause) {
      throw new InputError(`Line ${number} of ${path} is not UTF-8 text.`, 'Save it as UTF-8, a prompt on each line.', {
        cause,
      });
    }
    begin += line.length + 1;
  }
}
