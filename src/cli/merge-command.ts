import type { Command } from 'commander';
import { runOptions } from './options.ts';

/** What a `merge` command takes. */
export interface MergeOptions {
  readonly output?: string;
  readonly force?: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

/** How a `merge` command is described. */
export interface MergeTexts {
  readonly description: string;
  /** What its arguments are. */
  readonly parts: string;
  /** What `-o` names. */
  readonly output: string;
  /** Text behind the help. */
  readonly examples: string;
}

/** Adds `merge` to a command whose `--shard` cuts a job into parts. @param merge Returns the exit code. */
export function addMerge(
  command: Command,
  { description, parts, output, examples }: MergeTexts,
  merge: (paths: string[], options: MergeOptions) => Promise<number>,
): void {
  // Options behind "merge" are its own, though the command has some of the same names.
  for (let above: Command | null = command; above; above = above.parent) above.enablePositionalOptions();
  runOptions(
    command
      .command('merge')
      .description(description)
      .argument('<parts...>', parts)
      .option('-o, --output <file>', output)
      .option('--force', 'overwrite a file that exists'),
  )
    .addHelpText('after', examples)
    .action(async (paths: string[], options: MergeOptions) => {
      process.exitCode = await merge(paths, options);
    });
}
