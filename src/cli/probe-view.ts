import type { LoadedModel } from '../model/load.ts';
import type { Finding, Solve } from '../probe/findings.ts';
import { offText, pathText, residualText, tallyOf, theoryText } from '../probe/report-words.ts';
import { nameOf } from '../sipit/report-tokens.ts';
import { columns, paint, print } from './terminal.ts';
import { cell, count, counted, cut, duration, printable, quoted, significant, wrap } from './text.ts';

/** Why a probe ended before it was done. */
export type Stop = 'stopped' | 'budget';

/** What all solves were run with. */
export interface ProbeRun {
  readonly model: LoadedModel;
  /** As `spanText` has it. */
  readonly place: string;
  readonly seconds: number;
  readonly stop: Stop | undefined;
  /** Logits by which the tokens of a text were to win. */
  readonly margin: number;
}

const NUMBER = 10;
const TOKEN = 14;
const SAYS = 18;

/** Shows the vectors of all solves in a table, and what they come to. */
export function showSolves(solves: readonly Solve[], run: ProbeRun): void {
  const isText = solves[0]?.text !== undefined;
  const name = (token: number) =>
    quoted(nameOf(token, run.model.tokenizer && ((id) => run.model.tokenizer!.token(id))));
  const number = (text: string) => cell(text, NUMBER, 'right');
  const numbers = isText ? ['margin', 'float64', 'residual', 'rows'] : ['residual', 'float64', 'rows', 'folds'];
  const tail = solves.some(({ findings }) => findings.some(({ nearest }) => nearest.length > 0));
  print();
  const head = isText ? `  ${cell('#', 4, 'right')}  ${cell('token', TOKEN)}` : `  ${cell('target', 4 + 2 + TOKEN)}`;
  const last = isText ? '' : cell('decodes as', SAYS);
  print(paint('dim', cut(`${head}${numbers.map(number).join('')}  ${last}${tail ? 'nearest row' : ''}`, columns())));
  for (const { name: target, text, findings, wanted } of solves) {
    for (const [i, finding] of findings.entries()) {
      const { forced, reached, residual, exactResidual, rows, steps, nearest, decoded } = finding;
      const ok = reached && (!forced || Math.min(forced.margin, forced.exactMargin) > 0);
      const label = text
        ? `${cell(String(finding.position), 4, 'right')}  ${cell(name(text[i]), TOKEN)}`
        : cell(wanted > 1 ? `${target}[${i}]` : target, 4 + 2 + TOKEN);
      const folds = steps.reduce((sum, step) => sum + step.folds, 0);
      const figures = forced
        ? [forced.margin.toFixed(2), forced.exactMargin.toFixed(2), significant(exactResidual), count(rows)]
        : [
            Number.isFinite(residual) ? significant(residual) : '–',
            significant(exactResidual),
            count(rows),
            count(folds),
          ];
      const [best] = decoded;
      const says = text ? '' : cell(best ? `${cut(name(best.token), 11)} +${best.margin.toFixed(1)}` : '', SAYS);
      const [row] = nearest;
      const near = row ? `${cut(name(row.token), 11)} at ${significant(row.distance)}` : '';
      print(
        `${paint(ok ? 'green' : 'red', ok ? '✓' : '✗')} ${label}${figures.map(number).join('')}  ${paint('dim', cut(says + near, Math.max(8, columns() - 66)))}`,
      );
    }
  }
  print();
  for (const line of summaryLines(solves, run)) print(line === '' ? '' : wrap(line, columns(), '  '));
}

function summaryLines(solves: readonly Solve[], run: ProbeRun): string[] {
  const { model, seconds, place } = run;
  const tally = tallyOf(solves);
  const texts = solves.flatMap((solve) => (solve.text ? [textLines(solve, model)] : [])).flat();
  return [
    verdictLine(solves, run),
    ...texts,
    '',
    residualText(tally),
    pathText(tally),
    theoryText(tally),
    offText(tally),
    paint('dim', `Probed: ${place} of ${printable(model.name)}, ${duration(seconds)} on ${model.context.adapter.name}`),
  ].filter((line, i, all) => line !== '' || all[i - 1] !== '');
}

function verdictLine(solves: readonly Solve[], { stop, margin }: ProbeRun): string {
  const { findings, wanted, reached } = tallyOf(solves);
  const isText = solves[0]?.text !== undefined;
  if (solves.every(({ solved }) => solved)) {
    if (!isText)
      return `${paint('green', 'REACHED')}: ${counted(wanted, 'target')}, each to 1e-5 or better in float64.`;
    const leads = findings.map(({ forced }) => Math.min(forced!.margin, forced!.exactMargin));
    const low = leads.filter((lead) => lead < margin).length;
    const but =
      low > 0 ? ` ${counted(low, 'token')} by less than the ${margin} asked for: no state found gives more.` : '';
    return `${paint('green', 'FORCED')}: ${counted(wanted, 'token')}, each the likeliest by ${Math.min(...leads).toFixed(2)} logits or more, in f32 and in float64.${but}`;
  }
  const some = `${count(reached)} of ${counted(wanted, 'target')} reached; the rest is not certified, neither as reachable nor as unreachable.`;
  const best = bestSoFar(findings.at(-1));
  if (stop === 'budget') return `${paint('yellow', 'BUDGET SPENT')}: ${some}${best}`;
  if (stop === 'stopped') return `${paint('yellow', 'STOPPED')}: ${some}${best}`;
  if (reached === wanted)
    return `${paint('red', 'NOT FORCED')}: all states are reached, yet some token is not the likeliest.`;
  return `${paint('red', 'NOT REACHED')}: ${some}${best}`;
}

const bestSoFar = (last: Finding | undefined): string =>
  last && !last.reached ? ` The last vector so far leaves a residual of ${significant(last.exactResidual)}.` : '';

/** What the vectors say, and what the model then says by itself. */
function textLines({ text, prefix, continuation, findings }: Solve, { tokenizer }: LoadedModel): string[] {
  if (!text || !continuation || continuation.length === 0) return [];
  const decode = (ids: Uint32Array) => (tokenizer ? quoted(tokenizer.decode(ids)) : ids.join(','));
  const behind = prefix.length > 0 ? ` behind ${decode(prefix)}` : '';
  const many = counted(findings.length, 'vector');
  const said = findings.map(({ forced }, i) => (forced && forced.margin > 0 ? text[i] : undefined));
  const isWhole = findings.length === text.length && said.every((token) => token !== undefined);
  return [
    '',
    isWhole
      ? `${many}${behind} make the model say ${decode(text)}: vector i makes token i the likeliest next one.`
      : '',
    `Left to itself behind them it says: ${decode(continuation)}`,
  ].filter((line, i) => line !== '' || i === 0);
}
