import { InputError, PreimageError } from '../errors.ts';
import type { ModelConfig } from '../model/config.ts';
import { checkIds } from '../model/model.ts';

/** A prompt of a set, and where it came from. */
export interface NumberedPrompt {
  /** Number of its line, from 1. */
  readonly line: number;
  readonly ids: Uint32Array;
}

/** Distinct prompts, with what was left out of them. */
export interface PromptSet {
  /** Sorted by their token ids, so that prompts with a prefix in common are neighbours. */
  readonly prompts: readonly NumberedPrompt[];
  /** Lines with the token ids of an earlier one. */
  readonly duplicates: readonly { readonly line: number; readonly of: number }[];
  /** Lines that the model cannot take. */
  readonly skipped: readonly { readonly line: number; readonly reason: string }[];
}

/** A line to be made a prompt of. */
export interface PromptLine {
  readonly line: number;
  /** Its token ids, or how to come by them. */
  readonly ids: Uint32Array | (() => Uint32Array);
}

/**
 * The distinct prompts among lines: equal token ids are one prompt, whatever the text was.
 * @throws InputError when fewer than two are left: there is no pair to compare.
 */
export function promptSet(config: ModelConfig, lines: readonly PromptLine[]): PromptSet {
  const taken: NumberedPrompt[] = [];
  const skipped: { line: number; reason: string }[] = [];
  for (const { line, ids } of lines) {
    try {
      const prompt = typeof ids === 'function' ? ids() : ids;
      checkIds(config, prompt);
      taken.push({ line, ids: prompt });
    } catch (error) {
      if (!(error instanceof PreimageError)) throw error;
      skipped.push({ line, reason: error.what });
    }
  }
  taken.sort((a, b) => compareIds(a.ids, b.ids) || a.line - b.line);
  const prompts: NumberedPrompt[] = [];
  const duplicates: { line: number; of: number }[] = [];
  for (const prompt of taken) {
    const before = prompts.at(-1);
    if (before && compareIds(before.ids, prompt.ids) === 0) duplicates.push({ line: prompt.line, of: before.line });
    else prompts.push(prompt);
  }
  if (prompts.length < 2) {
    throw new InputError(
      `Of ${lines.length} prompts ${prompts.length} ${prompts.length === 1 ? 'is' : 'are'} distinct and short enough (${duplicates.length} duplicates, ${skipped.length} skipped): there is no pair.`,
      'Give two prompts or more, one on each line.',
    );
  }
  return { prompts, duplicates: duplicates.sort((a, b) => a.line - b.line), skipped };
}

/** Orders token ids like words: by the first that differs, and a prefix before what goes on from it. */
export function compareIds(a: Uint32Array, b: Uint32Array): number {
  const common = commonPrefix(a, b);
  if (common < a.length && common < b.length) return a[common] - b[common];
  return a.length - b.length;
}

/** How many ids two prompts begin with in common. */
export function commonPrefix(a: Uint32Array, b: Uint32Array): number {
  const end = Math.min(a.length, b.length);
  let i = 0;
  while (i < end && a[i] === b[i]) i++;
  return i;
}
