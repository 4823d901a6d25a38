import type { LoadedModel } from '../model/load.ts';
import type { Candidate, Inversion, PositionResult, Verdict } from '../sipit/types.ts';
import { columns, paint, print, statusLine } from './terminal.ts';
import { cell, count, counted, cut, duration, printable, quoted, significant, wrap } from './text.ts';

/** A view of one inversion that grows by a line for each position. */
export interface LiveView {
  onPosition(result: PositionResult): void;
  onCandidates(position: number, tried: number, best: Candidate): void;
  /** Ends the view; nothing of the status line stays. */
  end(): void;
}

const MARKS: Readonly<Record<Verdict, string>> = { accepted: '✓', ambiguous: '?', 'not found': '✗' };
const COLOURS = { accepted: 'green', ambiguous: 'yellow', 'not found': 'red' } as const;

/** Room for how many were tried, so that the text before it does not jump. */
const TRIED_COLUMNS = 42;
const NUMBER = 8;
const FIXED_COLUMNS = 2 + 3 + 2 + 1 + 4 * NUMBER + 6 + 2;

/** Columns of a token: what the numbers leave of the terminal. */
const tokenColumns = (): number => Math.max(8, Math.min(Math.floor((columns() - FIXED_COLUMNS) / 2), 20));

/** @param length Positions of the record. */
export function liveView({ tokenizer, config }: LoadedModel, length: number): LiveView {
  const status = statusLine(true);
  const tokens: number[] = [];
  const name = (token: number) => (tokenizer ? quoted(tokenizer.token(token), true) : `#${token}`);
  const soFar = () => (tokenizer ? printable(tokenizer.decode(tokens)).replace(/\s+/g, ' ') : tokens.join(' '));

  function showStatus(position: number, tried: string): void {
    const head = `  ${cell(String(position), 3, 'right')}  `;
    const room = Math.max(columns() - head.length - TRIED_COLUMNS, 1);
    status.show(cut(`${head}${cut(soFar(), room, true)} … ${tried}`, columns() - 1));
  }

  let begun = false;
  // Not before the first news: states that are refused get no table.
  const begin = () => {
    if (!begun) header();
    begun = true;
  };
  return {
    onCandidates(position, tried, best) {
      begin();
      const nearest = cut(name(best.token), 14);
      showStatus(position, `${count(tried)} of ${count(config.vocabularySize)} tried, nearest ${nearest}`);
    },
    onPosition(result) {
      begin();
      status.clear();
      tokens.push(result.token);
      print(row(result, name));
      if (tokens.length < length) showStatus(result.position + 1, '');
    },
    end: status.clear,
  };
}

function header(): void {
  const width = tokenColumns();
  const number = (text: string) => cell(text, NUMBER, 'right');
  const line = `  ${cell('#', 3, 'right')}  ${cell('token', width)}${number('distance')} ${number('radius')}  ${cell('runner-up', width)}${number('distance')}${number('margin')}${cell('tried', 7, 'right')}`;
  print(paint('dim', line));
}

function row(
  { position, verdict, token, distance, radius, runnerUp, margin, candidates }: PositionResult,
  name: (token: number) => string,
): string {
  const width = tokenColumns();
  const number = (value: number | undefined) => cell(value === undefined ? '' : significant(value), NUMBER, 'right');
  const rival = cell(runnerUp ? name(runnerUp.token) : '', width);
  return [
    `${paint(COLOURS[verdict], MARKS[verdict])} ${cell(String(position), 3, 'right')}  `,
    paint('bold', cell(name(token), width)),
    `${number(distance)} ${paint('dim', number(radius))}  `,
    paint('dim', rival),
    `${number(runnerUp?.distance)}${number(margin)}${cell(count(candidates), 7, 'right')}`,
  ].join('');
}

/** What came of an inversion, in a few lines: the text, the verdict and what to do about it, the cost. */
export function summary(result: Inversion, model: LoadedModel, stopped: boolean): string {
  const { forwardEquivalents, candidates, seconds } = result.cost;
  const text = result.text === undefined ? result.tokens.join(',') : printable(result.text);
  return [
    '',
    paint('bold', wrap(text, columns(), '  ')),
    '',
    ...verdictLines(result, model, stopped).map((line) => wrap(line, columns(), '  ')),
    paint(
      'dim',
      wrap(
        `cost: ${forwardEquivalents.toFixed(1)} forward passes of the prompt, ${counted(candidates, 'candidate')}, ${duration(seconds)} on ${model.context.adapter.name}`,
        columns(),
        '  ',
      ),
    ),
  ].join('\n');
}

function verdictLines(result: Inversion, model: LoadedModel, stopped: boolean): string[] {
  const { positions, length, exact } = result;
  if (exact) {
    const scope = result.scope === 'vocabulary' ? 'no other token of the vocabulary fits' : 'no rival tried fits';
    return [`${paint('green', 'EXACT')}: ${counted(length, 'token')}, each within its radius; ${scope}.`];
  }
  const lines: string[] = [];
  const at = (verdict: Verdict) => positions.filter((position) => position.verdict === verdict);
  const ambiguous = at('ambiguous');
  const missing = at('not found');
  if (stopped) {
    lines.push(`${paint('yellow', 'STOPPED')} after ${positions.length} of ${counted(length, 'position')}.`);
  }
  if (ambiguous.length > 0) {
    lines.push(
      `${paint('yellow', 'AMBIGUOUS')} at ${places(ambiguous)}: more than one token fits as well as rounding lets us see. ` +
        'States stored in f32 tell more apart.',
    );
  }
  if (missing.length > 0) {
    const { token, text } = missing[0];
    const shown = text === undefined ? `#${token}` : quoted(text, true);
    lines.push(
      `${paint('red', 'NOT FOUND')} at ${places(missing)}: no token fits, the nearest is ${shown}. ` +
        `Are the states of this model (${printable(model.name)}), of layer ${result.layer} (--layer), and from the first token on?`,
    );
  }
  const last = positions.at(-1);
  if (last && !stopped && positions.length < length) {
    const left = counted(length - positions.length, 'position');
    lines.push(`The search ended at position ${last.position}: ${left} not tried.`);
  }
  if (positions.length === 0 && !stopped) lines.push('Nothing was recovered.');
  return lines;
}

function places(positions: readonly PositionResult[]): string {
  const numbers = positions.map(({ position }) => position);
  const shown = numbers.slice(0, 8).join(', ');
  return `position${numbers.length === 1 ? '' : 's'} ${shown}${numbers.length > 8 ? ` and ${numbers.length - 8} more` : ''}`;
}
