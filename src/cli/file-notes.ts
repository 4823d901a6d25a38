import type { StatesFile } from '../sipit/states-file.ts';
import { columns, note, warn } from './terminal.ts';
import { printable, wrap } from './text.ts';

const MOST_SKIPS = 5;
const MOST_NOTES = 10;

/** Says what files turned out to be: each sentence once, and not for ever. */
export function noteTeller(quiet: boolean | undefined): (notes: readonly string[]) => void {
  const told = new Set<string>();
  return (notes) => {
    for (const text of notes) {
      if (!quiet && !told.has(text) && told.size < MOST_NOTES) note(wrap(printable(text), columns(), ''));
      told.add(text);
    }
  };
}

/**
 * Warns of what is odd about files: each kind of thing a few times, models once each.
 * @param name Of the model. @param digest Of its weights.
 */
export function fileWarnings(name: string, digest: string): (states: StatesFile) => void {
  const models = new Set([digest]);
  let skips = 0;
  return ({ records, skipped }) => {
    for (const { name, reason } of skipped) {
      if (++skips <= MOST_SKIPS) warn(`tensor ${name} is skipped: ${reason}.`);
      if (skips === MOST_SKIPS + 1) warn('more tensors are skipped.');
    }
    for (const { model } of records) {
      if (model === undefined || models.has(model)) continue;
      models.add(model);
      warn(
        `the states come from a model with digest ${model}; ${name} has ${digest}. Pass the right one with --model.`,
      );
    }
  };
}
