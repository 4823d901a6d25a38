import { CommanderError } from 'commander';
import { PreimageError } from '../errors.ts';
import { EXIT } from './session.ts';
import { note, paintError, printJson } from './terminal.ts';

/** An error as `--json` prints it. */
export function errorReport(error: PreimageError): { error: { name: string; message: string; cure: string } } {
  const { name, cure, message } = error;
  const what = message.endsWith(cure) ? message.slice(0, -cure.length).trim() : message;
  return { error: { name, message: what, cure } };
}

/** Writes an error to standard error, without a stack. */
export function showError(error: Error): void {
  note(`${paintError('red', 'error:')} ${error.message}`);
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
