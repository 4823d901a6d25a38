import type { LoadedModel } from '../model/load.ts';
import type { Inversion, PositionResult } from '../sipit/types.ts';
import type { Entry } from './inputs.ts';
import { recoveredText } from './live.ts';
import type { ResultsFile } from './results-file.ts';
import { columns, paint, statusLine } from './terminal.ts';
import { cell, count, counted, cut, duration, printable, quoted, wrap } from './text.ts';

/** What came of all records so far, those of an earlier run included. */
export interface Tally {
  /** How many there are, where that is known before they are read. */
  readonly total: number | undefined;
  done: number;
  exact: number;
  bad: number;
  tokens: number;
  /** Of this run alone. */
  inverted: number;
  equivalents: number;
  accepted: number;
  readonly layers: Set<number>;
  add(inversion: Inversion | undefined): void;
}

/** @param total See `Tally`. */
export function newTally({ done }: Pick<ResultsFile, 'done'>, total: number | undefined): Tally {
  const sum = (of: (line: (typeof done)[number]) => number) => done.reduce((all, line) => all + of(line), 0);
  return {
    total,
    done: done.length,
    exact: sum(({ exact }) => Number(exact)),
    bad: sum(({ bad }) => Number(bad)),
    tokens: sum(({ tokens }) => tokens),
    inverted: 0,
    equivalents: 0,
    accepted: sum(({ exact }) => Number(exact)),
    layers: new Set(),
    add(inversion) {
      this.done++;
      if (!inversion) {
        this.bad++;
        return;
      }
      this.inverted++;
      if (inversion.exact) this.exact++;
      this.tokens += inversion.tokens.length;
      this.equivalents += inversion.cost.forwardEquivalents;
      this.accepted += inversion.positions.filter(({ verdict }) => verdict === 'accepted').length;
    },
  };
}

/**
 * The line at the bottom of the terminal: how many are done, how fast, and how long the rest will take.
 * @param skippedShare Share of the input that was done before.
 */
export function progressOf(tally: Tally, skippedShare: number, enabled: boolean) {
  const status = statusLine(enabled);
  const started = performance.now();
  let share = skippedShare;
  let told = 0;
  let shownAt = -1;
  const seconds = () => (performance.now() - started) / 1000;
  return {
    seconds,
    clear: status.clear,
    did(entry: Entry) {
      told++;
      share = entry.share;
    },
    /** Between batches: results come a batch at a time, so that a rate in between would be none. */
    show() {
      if (shownAt === told) return;
      shownAt = told;
      const done =
        tally.total === undefined
          ? `${count(tally.done)} done, ${percent(share)}`
          : `${count(tally.done)} of ${count(tally.total)}`;
      const rate = told > 0 ? `, ${(told / seconds()).toFixed(2)} records/s` : '';
      const left = share > skippedShare ? `, ${duration((seconds() * (1 - share)) / (share - skippedShare))} left` : '';
      status.show(cut(`  ${done}${rate}${left}`, columns() - 1));
    },
  };
}

const percent = (share: number): string => `${Math.floor(100 * share)} %`;

const LABEL = 14;
const VERDICT = 9;
const NUMBER = 8;

/** A record's line, and where it is not exact another that says why. */
export function recordLines({ label }: Entry, result: Inversion, stopped: boolean): string {
  const accepted = result.positions.filter(({ verdict }) => verdict === 'accepted').length;
  const head = [
    cell(printable(label), LABEL),
    ' ',
    verdictOf(result, stopped),
    cell(`${accepted}/${result.length}`, NUMBER + 1, 'right'),
    cell(result.cost.forwardEquivalents.toFixed(2), NUMBER, 'right'),
    cell(duration(result.cost.seconds), NUMBER + 1, 'right'),
    '  ',
  ].join('');
  const room = columns() - LABEL - 1 - VERDICT - 3 * NUMBER - 2 - 2;
  const line = `${head}${cut(quoted(recoveredText(result)), room)}`;
  const flagged = result.positions.filter(({ verdict }) => verdict !== 'accepted');
  if (flagged.length === 0) return line;
  const others = flagged.length > 1 ? ` (and ${counted(flagged.length - 1, 'position')} more)` : '';
  return `${line}\n${paint('dim', wrap(`position ${flagged[0].position}${others}: ${flagged[0].reason}`, columns(), '    '))}`;
}

/** The heads of the columns of `recordLines`. */
export const recordHeader = (): string =>
  paint(
    'dim',
    `${cell('record', LABEL)} ${cell('verdict', VERDICT)}${cell('accepted', NUMBER + 1, 'right')}${cell('passes', NUMBER, 'right')}${cell('time', NUMBER + 1, 'right')}  text`,
  );

function verdictOf({ exact, positions, length }: Inversion, stopped: boolean): string {
  const has = (verdict: PositionResult['verdict']) => positions.some((result) => result.verdict === verdict);
  if (exact) return paint('green', cell('EXACT', VERDICT));
  if (stopped && positions.length < length) return paint('yellow', cell('STOPPED', VERDICT));
  if (has('not found')) return paint('red', cell('NOT FOUND', VERDICT));
  return has('ambiguous') ? paint('yellow', cell('AMBIGUOUS', VERDICT)) : paint('red', cell('NOT EXACT', VERDICT));
}

/** What came of them all, in a few lines. */
export function summaryOf(tally: Tally, model: LoadedModel, seconds: number, stopped: boolean): string {
  const { total, done, exact, bad, tokens, inverted, equivalents, accepted, layers } = tally;
  const cost = inverted > 0 ? ` at ${(equivalents / inverted).toFixed(2)} forward passes each` : '';
  const lines = [
    '',
    `${count(exact)} of ${counted(total ?? done, 'record')} exact, ${counted(tokens, 'token')}${cost}, ${duration(seconds)} on ${model.context.adapter.name}`,
  ];
  if (stopped) lines.push(`Stopped after ${count(done)}${total === undefined ? '' : ` of ${count(total)}`}.`);
  if (bad > 0) lines.push(`${counted(bad, 'record')} could not be inverted: see the errors above.`);
  if (inverted > 0 && accepted === 0 && !stopped) {
    const tried = [...layers].sort((a, b) => a - b).join(', ');
    lines.push(
      `Nothing fits. Tried: layer ${tried} of ${printable(model.name)}. Are the states of another model (--model), or of another layer (--layer)?`,
    );
  }
  return lines.map((line) => wrap(line, columns(), '')).join('\n');
}
