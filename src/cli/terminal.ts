import { styleText } from 'node:util';
import { SingleBar } from 'cli-progress';
import { printable } from './text.ts';

type Style = Parameters<typeof styleText>[0];

const hasColour = (stream: NodeJS.WriteStream): boolean => stream.isTTY === true && stream.hasColors();

/** A text in a style where standard output is a terminal with colours (`NO_COLOR` and `TERM=dumb` are respected). */
export const paint = (style: Style, text: string): string =>
  hasColour(process.stdout) ? styleText(style, text) : text;

/** As `paint`, for standard error. */
export const paintError = (style: Style, text: string): string =>
  hasColour(process.stderr) ? styleText(style, text) : text;

/** Columns to fill: the terminal's, at most 100. */
export const columns = (): number => Math.min(process.stdout.columns || 100, 100);

/** Writes a line to standard output. */
export function print(line = ''): void {
  process.stdout.write(`${line}\n`);
}

/** Writes one JSON value as a line to standard output. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** Writes a line to standard error. */
export function note(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** Writes a warning to standard error. */
export function warn(text: string): void {
  note(`${paintError('yellow', 'warning:')} ${printable(text)}`);
}

/** A line at the bottom of a terminal that comes and goes; standard output gets nothing of it elsewhere. */
export interface StatusLine {
  show(text: string): void;
  clear(): void;
}

/** @param enabled Whether to show anything, given that standard output is a terminal. */
export function statusLine(enabled: boolean): StatusLine {
  let shown = false;
  const clear = () => {
    if (shown) process.stdout.write('\r\x1b[2K');
    shown = false;
  };
  return {
    show(text) {
      if (!enabled || !process.stdout.isTTY) return;
      clear();
      process.stdout.write(paint('dim', text));
      shown = true;
    },
    clear,
  };
}

/** A progress bar on standard error. */
export interface Progress {
  update(done: number, total: number | undefined): void;
  stop(): void;
}

/** Short work finishes before a bar would have been read. */
const PATIENCE_MS = 300;

/**
 * A bar that appears once the work proves long and goes when it is done.
 * @param unit Formats the numbers done and total.
 */
export function progressBar(label: string, enabled: boolean, unit: (value: number) => string = String): Progress {
  if (!enabled || !process.stderr.isTTY) return { update: () => {}, stop: () => {} };
  const started = performance.now();
  let bar: SingleBar | undefined;
  return {
    update(done, total) {
      const known = total ?? done;
      if (!bar && performance.now() - started < PATIENCE_MS) return;
      if (!bar) {
        bar = new SingleBar({
          format: `  ${label} [{bar}] {done} of {size}, {eta_formatted} left`,
          stream: process.stderr,
          barsize: 16,
          clearOnComplete: true,
          // Leaves line wrapping and Ctrl-C as they are.
          linewrap: true,
          gracefulExit: false,
        });
        bar.start(known, done, { done: unit(done), size: unit(known) });
      }
      bar.setTotal(known);
      bar.update(done, { done: unit(done), size: unit(known) });
    },
    stop: () => bar?.stop(),
  };
}
