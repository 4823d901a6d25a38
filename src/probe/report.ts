import { type Content, markup } from '../report/markup.ts';
import { page } from '../report/page.ts';
import { count, counted, cut } from '../report/text.ts';
import type { ReportRun } from '../sipit/report.ts';
import { TOKEN_STYLE } from '../sipit/report-tokens.ts';
import type { Solve } from './findings.ts';
import { distancePlot, pathPlot, residualPlot, rowPlot, scatterPlot, stepPlot } from './report-plots.ts';
import { nearestTable, stepTable, tokenTable, vectorTable } from './report-tables.ts';
import { offText, oneLine, pathText, residualText, tallyOf, theoryText } from './report-words.ts';

/** How a probe came about, and what its page needs besides. */
export interface ProbeReportRun extends ReportRun {
  /** What was probed, in words. */
  readonly place: string;
  /** The vocabulary, [V, d], where the free vectors stand at the input. */
  readonly vocabulary?: Float32Array;
  /** The text of tokens; absent where the model has no tokenizer. */
  readonly decode?: (ids: Uint32Array) => string;
}

/** Solves that are shown step by step. */
const MOST_DETAILS = 12;

/**
 * A page about a probe: whether the targets were reached, along which paths, how far off the vocabulary the vectors lie,
 * what the model says behind them, and every step with its evidence.
 * @returns An HTML document.
 */
export function probeReport(solves: readonly Solve[], run: ProbeReportRun): string {
  const { token, vocabulary, place } = run;
  const tally = tallyOf(solves);
  const isText = solves.some(({ text }) => text !== undefined);
  const title = isText ? 'A text forced by free vectors' : 'Inputs for given outputs';
  const words = [residualText(tally), pathText(tally), theoryText(tally), offText(tally)].filter((line) => line !== '');
  const summary = markup`<p class="verdict">${badge(solves)} ${verdictText(solves)}</p>
<p class="soft">The probe of ${place}.</p>
<p>${words.join(' ')}</p>
`;
  if (tally.findings.length === 0) {
    return page({ title, summary, sections: [], provenance: run, style: TOKEN_STYLE });
  }
  const details = solves
    .flatMap(({ name, findings }) => findings.map((finding) => ({ name, finding })))
    .slice(0, MOST_DETAILS)
    .map(({ name, finding }) => {
      const head = `${cut(oneLine(name), 60)}, position ${finding.position}: ${counted(finding.rows, 'row')}`;
      return markup`<details><summary>${head}</summary>\n${stepTable(finding)}${nearestTable(finding, token)}</details>\n`;
    });
  const left = tally.findings.length - details.length;
  const more =
    left > 0 ? markup`<p>The first ${count(details.length)}; ${count(left)} more are in the JSON.</p>\n` : '';
  return page({
    title,
    summary,
    sections: [
      ...(isText ? [{ title: 'What the model says', body: solves.map((solve) => said(solve, run)) }] : []),
      { title: 'Every vector', body: vectorTable(solves, token) },
      { title: 'Residuals', body: pair(stepPlot(tally), residualPlot(tally)) },
      { title: 'Work and paths', body: pair(rowPlot(tally), pathPlot(solves)) },
      ...(vocabulary
        ? [
            {
              title: 'How far from text',
              body: pair(scatterPlot(tally, vocabulary, token), distancePlot(tally, token)),
            },
          ]
        : []),
      { title: 'Step by step', body: [more, details] },
    ],
    provenance: run,
    style: TOKEN_STYLE,
  });
}

function badge(solves: readonly Solve[]): Content {
  const isText = solves.some(({ text }) => text !== undefined);
  const done = solves.length > 0 && solves.every(({ solved }) => solved);
  if (done) return markup`<b class="good">${isText ? 'FORCED' : 'REACHED'}</b>`;
  return markup`<b class="bad-text">${isText ? 'NOT FORCED' : 'NOT REACHED'}</b>`;
}

function verdictText(solves: readonly Solve[]): string {
  const { wanted, reached, findings } = tallyOf(solves);
  const rest = reached < wanted ? '; the rest is not certified, neither as reachable nor as unreachable' : '';
  const targets = `${count(reached)} of ${counted(wanted, 'target')} reached to 1e-5 or better in float64${rest}.`;
  const leads = findings.flatMap(({ forced }) => (forced ? [Math.min(forced.margin, forced.exactMargin)] : []));
  if (leads.length === 0) return targets;
  const ahead = leads.filter((lead) => lead > 0);
  const by = ahead.length > 0 ? `, the narrowest by ${Math.min(...ahead).toFixed(2)} logits` : '';
  return `${count(ahead.length)} of ${counted(wanted, 'token')} the likeliest in f32 and in float64${by}. ${targets}`;
}

const pair = (left: Content, right: Content): Content => markup`<div class="pair">\n${left}${right}</div>\n`;

/** A text, forced token by token, and what the model then says by itself. */
function said({ text, prefix, continuation, findings }: Solve, { decode, token }: ProbeReportRun): Content {
  if (!text) return [];
  const shown = (ids: Uint32Array) => decode?.(ids) ?? ids.join(' ');
  const before = prefix.length > 0 ? markup`<span class="soft">${shown(prefix)}</span>` : '';
  const free =
    continuation && continuation.length > 0
      ? markup`<p>Left to itself behind the vectors, each token fed back, the model says:</p>
<p class="recovered" translate="no" lang="">${shown(continuation)}</p>\n`
      : '';
  return markup`<p class="recovered" translate="no" lang="">${before}${shown(text)}</p>
<p class="soft">${counted(findings.length, 'vector')}: behind vector i, token i is the likeliest next one. The sequence of
vectors says the text; of what the model says by itself, only the first token is held to it.</p>
${tokenTable(findings, token)}${free}`;
}
