import type { LoadedModel } from '../model/load.ts';
import { certainty, isBound } from '../sipit/margins.ts';
import type { Candidate, Inversion, PositionResult, Verdict } from '../sipit/types.ts';
import { noiseLevel } from './noise.ts';
import { columns, paint, print, statusLine } from './terminal.ts';
import { bar, cell, count, counted, cut, duration, printable, quoted, significant, wrap } from './text.ts';
import { tokenNames } from './token-names.ts';

/** A view of one inversion that grows by a line for each position. */
export interface LiveView {
  onPosition(result: PositionResult): void;
  onCandidates(position: number, tried: number, best: Candidate): void;
  /** Shows what the end of the inversion has changed. */
  end(result: Inversion): void;
  /** Nothing of the status line stays. */
  clear(): void;
}

const MARKS: Readonly<Record<Verdict, string>> = { accepted: '✓', ambiguous: '?', 'not found': '✗' };
const COLOURS = { accepted: 'green', ambiguous: 'yellow', 'not found': 'red' } as const;

/** Room for how many were tried, so that the text before it does not jump. */
const TRIED_COLUMNS = 42;
const NUMBER = 9;
const BAR = 8;
const TRIED = 8;
const FIXED_COLUMNS = 2 + 3 + 2 + 3 * NUMBER + 2 + BAR + TRIED + 2;

/** Columns of a token: what the numbers leave of the terminal. */
const tokenColumns = (): number => Math.max(8, Math.min(Math.floor((columns() - FIXED_COLUMNS) / 2), 20));

/**
 * @param length Positions of the record.
 * @param prove Whether margins are known only in the end; rows are shown then.
 */
export function liveView({ tokenizer, config }: LoadedModel, length: number, prove: boolean): LiveView {
  const status = statusLine(true);
  const tokens: number[] = [];
  const shown: PositionResult[] = [];
  const name = tokenNames(tokenizer);
  const soFar = () => (tokenizer ? printable(tokenizer.decode(tokens)).replace(/\s+/g, ' ') : tokens.join(' '));

  function showStatus(position: number, tried: string): void {
    const head = `  ${cell(String(position), 3, 'right')}  `;
    const room = Math.max(columns() - head.length - TRIED_COLUMNS, 1);
    status.show(cut(`${head}${cut(soFar(), room, true)} … ${tried}`, columns() - 1));
  }

  let begun = false;
  // Not before the first news: states that are refused get no table.
  const begin = () => {
    if (begun) return;
    status.clear();
    header();
    begun = true;
  };
  let reason: string | undefined; // of the row above, but for its numbers
  const show = (result: PositionResult) => {
    begin();
    status.clear();
    print(row(result, name));
    const before = reason;
    reason = result.reason?.replace(/[\d.]+/g, '');
    if (reason !== before && result.reason !== undefined) {
      print(paint('dim', wrap(printable(result.reason), columns(), ' '.repeat(7))));
    }
  };
  return {
    onCandidates(position, tried, best) {
      begin();
      const nearest = cut(name(best.token), 14);
      showStatus(position, `${count(tried)} of ${count(config.vocabularySize)} tried, nearest ${nearest}`);
    },
    onPosition(result) {
      tokens.push(result.token);
      if (!prove) {
        show(result);
        shown.push(result);
      }
      if (tokens.length < length) showStatus(result.position + 1, '');
    },
    end({ positions }) {
      const isNew = ({ position, verdict }: PositionResult) => shown[position]?.verdict !== verdict;
      const changed = positions.filter(isNew);
      if (changed.length > 0 && shown.length > 0)
        print(paint('dim', '  and, by what the other positions show of the noise:'));
      for (const result of changed) show(result);
    },
    clear: status.clear,
  };
}

function header(): void {
  const width = tokenColumns();
  const number = (text: string) => cell(text, NUMBER, 'right');
  const numbers = `${number('distance')}${number('radius')}${number('margin')}`;
  const line = `  ${cell('#', 3, 'right')}  ${cell('token', width)}${numbers}  ${cell('', BAR)}${cell('tried', TRIED, 'right')}  runner-up`;
  print(paint('dim', line));
}

function row(result: PositionResult, name: (token: number) => string): string {
  const { position, verdict, token, distance, radius, runnerUp, candidates } = result;
  const width = tokenColumns();
  const number = (text: string) => cell(text, NUMBER, 'right');
  return [
    `${paint(COLOURS[verdict], MARKS[verdict])} ${cell(String(position), 3, 'right')}  `,
    paint('bold', cell(name(token), width)),
    number(significant(distance)),
    paint('dim', number(significant(radius))),
    number(marginText(result)),
    '  ',
    paint(COLOURS[verdict], cell(bar(certainty(result), BAR), BAR)),
    cell(count(candidates), TRIED, 'right'),
    paint('dim', runnerUp ? `  ${cut(name(runnerUp.token), width)}` : ''),
  ].join('');
}

/** The margin of a position; `≥` before a bound, `–` where noise leaves none. */
export function marginText(result: PositionResult): string {
  const { margin } = result;
  if (margin === undefined) return '';
  if (!isBound(result)) return significant(margin);
  return margin > 0 ? `≥${significant(margin)}` : '–';
}

/** The text of an inversion, or its token ids where there is no tokenizer, as it may go to a terminal. */
export const recoveredText = ({ text, tokens }: Inversion): string =>
  text === undefined ? tokens.join(',') : printable(text);

/** What came of an inversion, in a few lines: the text, the verdict and what to do about it, the cost. */
export function summary(result: Inversion, model: LoadedModel, stopped: boolean): string {
  const { forwardEquivalents, candidates, seconds } = result.cost;
  const cost = `cost: ${forwardEquivalents.toFixed(2)} forward passes of the prompt, ${counted(candidates, 'row')} evaluated, ${duration(seconds)} on ${model.context.adapter.name}`;
  return [
    '',
    paint('bold', wrap(recoveredText(result), columns(), '  ')),
    '',
    ...verdictLines(result, model, stopped).map((line) => wrap(line, columns(), '  ')),
    paint('dim', wrap(cost, columns(), '  ')),
  ].join('\n');
}

/** What the winners were compared with. */
function scopeText({ scope, noise }: Inversion): string {
  if (scope === 'vocabulary') return 'no other token of the vocabulary fits';
  if (scope === 'evaluated') return 'no other token that was tried fits';
  return `no other token could be ${noise > 0 ? 'as likely' : 'nearer'}, by the lens's calibration`;
}

function verdictLines(result: Inversion, model: LoadedModel, stopped: boolean): string[] {
  const { positions, length, exact, noise } = result;
  const lines: string[] = [];
  const at = (verdict: Verdict) => positions.filter((position) => position.verdict === verdict);
  const ambiguous = at('ambiguous');
  const missing = at('not found');
  if (exact) {
    lines.push(
      `${paint('green', 'EXACT')}: ${counted(length, 'token')}, each within its radius; ${scopeText(result)}.`,
    );
  }
  if (stopped && positions.length < length) {
    lines.push(`${paint('yellow', 'STOPPED')} after ${positions.length} of ${counted(length, 'position')}.`);
  }
  if (ambiguous.length > 0) {
    const cure =
      noise > 0
        ? 'Less noise tells more apart.'
        : 'States stored in f32 tell more apart; so do --noise and --dtype-noise, where you know what was done to them.';
    lines.push(`${paint('yellow', 'AMBIGUOUS')} at ${places(ambiguous)}: ${reasonOf(ambiguous[0])}. ${cure}`);
  }
  if (missing.length > 0) {
    const { token, text } = missing[0];
    const shown = text === undefined ? `#${token}` : quoted(text, true);
    lines.push(`${paint('red', 'NOT FOUND')} at ${places(missing)}: ${reasonOf(missing[0])}; the nearest is ${shown}.`);
  }
  const fits = positions.some(({ verdict }) => verdict === 'accepted');
  if (positions.length > 0 && (missing.length > 0 || !fits)) {
    lines.push(
      `Are the states of this model (${printable(model.name)}), of layer ${result.layer} (--layer), and from the first token on?`,
    );
  }
  const last = positions.at(-1);
  if (last && !stopped && positions.length < length) {
    const left = counted(length - positions.length, 'position');
    lines.push(`The search ended at position ${last.position}: ${left} not tried.`);
  }
  if (positions.length === 0 && !stopped) lines.push('Nothing was recovered.');
  if (noise > 0) lines.push(`Noise of ${noiseLevel(noise)} of the RMS is allowed for.`);
  return lines;
}

/** Why a position is not accepted, to go on after. */
const reasonOf = ({ reason, verdict }: PositionResult): string =>
  printable((reason ?? (verdict === 'not found' ? 'no token fits' : 'more than one token fits')).replace(/\.$/, ''));

function places(positions: readonly PositionResult[]): string {
  const numbers = positions.map(({ position }) => position);
  const shown = numbers.slice(0, 8).join(', ');
  return `position${numbers.length === 1 ? '' : 's'} ${shown}${numbers.length > 8 ? ` and ${numbers.length - 8} more` : ''}`;
}
