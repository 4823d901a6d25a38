import { type Command, InvalidArgumentError, Option } from 'commander';
import { packagePath } from './package.ts';

/** What every command with a model takes. */
export interface SharedOptions {
  readonly model: string;
  readonly revision?: string;
  readonly adapter?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** Adds the options that every command with a model takes. */
export function sharedOptions(command: Command): Command {
  return runOptions(
    command
      .addOption(
        new Option('--model <where>', 'folder, URL or Hugging Face hub id').default(
          packagePath('weights'),
          'the one in weights/',
        ),
      )
      .option('--revision <name>', 'branch, tag or commit of a hub id'),
  );
}

/** Adds the options that every command takes. */
export function runOptions(command: Command): Command {
  return command
    .option(
      '--adapter <which>',
      'auto, system, swiftshader, opengles, or part of a name (default: PREIMAGE_ADAPTER, else auto)',
    )
    .option('--json', 'print JSON for machines')
    .option('--quiet', 'print results only');
}

/** Parser of a whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^\d+$/.test(text) && Number.isSafeInteger(value) && value >= least) return value;
    throw new InvalidArgumentError(`It must be a whole number, ${least} or more.`);
  };
}

/** Parser of a number; its range is the command's to check. */
export function decimal(text: string): number {
  const value = Number(text);
  if (text.trim() !== '' && Number.isFinite(value)) return value;
  throw new InvalidArgumentError('It must be a number.');
}

/** Parser of token ids: `5,17,3`. */
export function tokenIds(text: string): number[] {
  const ids = text.split(',').map((part) => part.trim());
  if (ids.every((id) => /^\d+$/.test(id))) return ids.map(Number);
  throw new InvalidArgumentError('It must be token ids with commas between them, such as 5,17,3.');
}

/** Layers as a command is given them: numbers, or all there are. */
export type Layers = readonly number[] | 'all';

/** Parser of layers: `all`, or `1,3,6`. */
export function layerList(text: string): Layers {
  if (text === 'all') return 'all';
  const layers = text.split(',').map((part) => part.trim());
  if (layers.every((layer) => /^\d{1,4}$/.test(layer))) return [...new Set(layers.map(Number))];
  throw new InvalidArgumentError('It must be all, or layers with commas between them, such as 1,3,6.');
}
