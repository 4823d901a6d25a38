import { CommanderError } from 'commander';
import { PreimageError } from '../errors.ts';
import { fileError } from '../io/folder.node.ts';
import { EXIT } from './session.ts';
import { note, paintError, printJson } from './terminal.ts';
import { printable } from './text.ts';

/** An error as `--json` prints it. */
export function errorReport({ name, what, cure }: PreimageError): {
  error: { name: string; message: string; cure: string };
} {
  return { error: { name, message: what, cure } };
}

/** Writes an error to standard error, without a stack. */
export function showError(error: Error): void {
  note(`${paintError('red', 'error:')} ${printable(error.message)}`);
}

/**
 * Tells the user what went wrong.
 * @param json Whether standard output must hold JSON.
 * @returns The exit code.
 */
export function fail(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) {
    // Help and version end a run this way too. Commander has written its message already.
    if (error.exitCode === 0) return EXIT.done;
    const cure = 'Run preimage --help.';
    if (json) printJson({ error: { name: 'UsageError', message: error.message.replace(/^error: /, ''), cure } });
    return EXIT.badInput;
  }
  if (error instanceof PreimageError) {
    if (json) printJson(errorReport(error));
    else showError(error);
    return EXIT.badInput;
  }
  const bug = error instanceof Error ? error : new Error(String(error));
  const cure = 'This is a bug, please report it.';
  if (json) printJson({ error: { name: bug.name, message: bug.message, cure } });
  else {
    showError(bug);
    note(`${cure} PREIMAGE_DEBUG=1 shows where it happened.`);
  }
  if (process.env.PREIMAGE_DEBUG) note(bug.stack ?? '');
  return EXIT.bug;
}

/**
 * Lets commands finish when their output is lost. A reader that has seen enough, such as `head`, is no error; a full
 * disk is one, told once, and makes the exit code bad unless it is already worse.
 */
export function surviveLostOutput(): void {
  let told = false;
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE' || told) return;
    told = true;
    showError(fileError('standard output', 'written', error));
    process.on('exit', (code) => {
      if (code <= EXIT.negative) process.exitCode = EXIT.badInput;
    });
  });
  // There is nobody left to tell.
  process.stderr.on('error', () => {});
}
