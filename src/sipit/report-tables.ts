/** The tables of a report on inversions, and what they come to in words. */

import { type Content, type Markup, markup } from '../report/markup.ts';
import { type Row, table } from '../report/table.ts';
import { count, counted, cut, duration, number, significant, visible } from '../report/text.ts';
import { marginsOf } from './margins.ts';
import { PUBLISHED_COSTS, PUBLISHED_SETTING } from './published.ts';
import { marginCell, named, nameOf, rowId, type TokenText, UNKNOWN, VERDICTS } from './report-tokens.ts';
import type { Inversion, PositionResult, Verdict } from './types.ts';

/** What came of an inversion in a word, as a badge. */
export function badge({ exact, positions, length }: Inversion): Markup {
  if (exact) return markup`<b class="good">EXACT</b>`;
  const some = (verdict: Verdict) => positions.some((position) => position.verdict === verdict);
  if (some('not found')) return markup`<b class="bad-text">NOT FOUND</b>`;
  if (some('ambiguous')) return markup`<b class="warn-text">AMBIGUOUS</b>`;
  return markup`<b class="warn-text">${positions.length < length ? 'STOPPED' : 'NOT EXACT'}</b>`;
}

const SCOPES: Readonly<Record<Inversion['scope'], string>> = {
  evaluated: 'no other token that was tried fits',
  calibrated: "no other token could be nearer, by the lens's calibration",
  vocabulary: 'no other token of the vocabulary fits',
};

/** What came of an inversion, in sentences. */
export function verdictText({ exact, positions, length, scope, noise, policy }: Inversion): string {
  const at = (verdict: Verdict) => positions.filter((position) => position.verdict === verdict).length;
  const [missing, ambiguous] = [at('not found'), at('ambiguous')];
  const several = 'more than one token fits or may fit, as far as rounding and noise let us see';
  const sentences = [
    exact && `${counted(length, 'token')}, each within its radius; ${SCOPES[scope]}.`,
    missing > 0 && `At ${counted(missing, 'position')} no token of those evaluated fits: the nearest is shown.`,
    ambiguous > 0 && `At ${counted(ambiguous, 'position')} ${several}.`,
    positions.length < length && `${count(positions.length)} of ${counted(length, 'position')} were tried.`,
    noise > 0 && `Noise of ${Number(noise.toPrecision(3))} of the RMS is allowed for.`,
    policy !== 'speculative' && `Policy: ${policy}.`,
  ];
  return sentences.filter((sentence) => sentence !== false).join(' ');
}

/** Every position with its evidence. @param prefix As in `rowId`. */
export function positionTable(inversion: Inversion, textOf: TokenText, prefix: string): Content {
  const { positions, layer, length } = inversion;
  if (positions.length === 0) return markup`<p>No position was tried.</p>\n`;
  const rows = positions.map((position): Row => {
    const { verdict, reason, token, distance, radius, runnerUp, candidates } = position;
    const { sign, tint } = VERDICTS[verdict];
    const colour = tint === undefined ? 'good' : `${tint}-text`;
    const place = markup`<span class="soft">${position.position}</span> ${named(token, textOf)}`;
    return {
      id: rowId(prefix, position.position),
      kind: tint,
      note: reason,
      cells: [
        markup`<span class="together">${place}</span>`,
        markup`<span class="together"><span class="${colour}">${sign}</span> ${verdict}</span>`,
        number(distance),
        number(radius),
        runnerUp && named(runnerUp.token, textOf),
        number(runnerUp?.distance),
        marginCell(position),
        count(candidates),
      ],
    };
  });
  const all = counted(length, 'position');
  const tried = positions.length < length ? `${count(positions.length)} of ${all}` : all;
  return table(
    `Layer ${layer}: ${tried}`,
    [
      { title: 'token' },
      { title: 'verdict' },
      { title: 'distance', isNumber: true },
      { title: 'radius', isNumber: true },
      { title: 'runner-up' },
      { title: 'its distance', isNumber: true },
      { title: 'margin', isNumber: true },
      { title: 'rows', isNumber: true },
    ],
    rows,
  );
}

/**
 * The tokens at one position and their distances.
 * @param where Which inversion it is: `Layer 3`.
 */
export function placeTable(where: string, position: PositionResult, textOf: TokenText): Content {
  const { token, distance, radius, runnerUp, othersBeyond, margin, candidates, rivals } = position;
  const rows: Row[] = [
    { cells: [markup`${named(token, textOf)}, recovered`, number(distance)] },
    { cells: ['explained by rounding and noise (radius)', number(radius)] },
  ];
  if (runnerUp) {
    const name = markup`${named(runnerUp.token, textOf)}, the nearest other token evaluated`;
    rows.push({ cells: [name, number(runnerUp.distance)] });
  }
  if (othersBeyond !== undefined)
    rows.push({ cells: ['every token not evaluated', othersBeyond > 0 ? number(othersBeyond, '≥ ') : UNKNOWN] });
  const gap = margin === undefined ? 'no other token' : marginCell(position);
  rows.push({ cells: [markup`<b>margin</b>`, markup`<b>${gap}</b>`] });
  const distances = table(
    `${where}, position ${position.position}: distances from the observed state`,
    [{ title: 'token' }, { title: 'distance', isNumber: true }],
    rows,
  );
  const extra = rivals > 0 ? `, ${count(rivals)} of them only because they might have been nearer` : '';
  return markup`${distances}<p>${counted(candidates, 'row')} evaluated there${extra}. ${inRadii(position)}</p>\n`;
}

/** How a margin, or a distance that is too far, compares with what rounding and noise explain. */
function inRadii({ distance, radius, margin = Infinity }: PositionResult): string {
  const times = (value: number) => (value >= 10 ? count(Math.round(value)) : significant(value));
  if (distance > radius)
    return `The nearest token is ${times(distance / radius)} times as far as rounding and noise explain.`;
  return margin > 0 && Number.isFinite(margin / radius)
    ? `The margin is ${times(margin / radius)} times what rounding and noise explain.`
    : '';
}

/** One prompt at each layer. */
export function layerTable(inversions: readonly Inversion[], textOf: TokenText): Markup {
  const rows = inversions.map((inversion): Row => {
    const { narrowest, median } = marginsOf(inversion);
    const { layer, cost } = inversion;
    const rival = narrowest?.runnerUp ? `, not ${nameOf(narrowest.runnerUp.token, textOf)}` : '';
    const place = narrowest && `${narrowest.position}: ${nameOf(narrowest.token, textOf)}${rival}`;
    return {
      cells: [
        layer,
        badge(inversion),
        marginCell(narrowest),
        number(median),
        number(cost.forwardEquivalents),
        duration(cost.seconds),
        markup`<bdi translate="no">${place}</bdi>`,
      ],
    };
  });
  return table(
    'Each layer inverted by itself',
    [
      { title: 'layer', isNumber: true },
      { title: 'verdict' },
      { title: 'least margin', isNumber: true },
      { title: 'median', isNumber: true },
      { title: 'forward passes', isNumber: true },
      { title: 'time', isNumber: true },
      { title: 'narrowest at' },
    ],
    rows,
  );
}

/** A record among many. */
export interface ListedRecord {
  readonly name: string;
  readonly inversion: Inversion;
}

const MOST_CHARACTERS = 80;

/** Records, and what was recovered from them. */
export function recordTable(records: readonly ListedRecord[], textOf: TokenText): Markup {
  const rows = records.map(({ name, inversion }): Row => {
    const { text, tokens, layer, length, cost } = inversion;
    const line = text === undefined ? tokens.map((id) => nameOf(id, textOf)).join(' ') : oneLine(text);
    return {
      cells: [
        name,
        markup`<bdi translate="no">${cut(line, MOST_CHARACTERS)}</bdi>`,
        badge(inversion),
        layer,
        count(length),
        marginCell(marginsOf(inversion).narrowest),
        number(cost.forwardEquivalents),
        duration(cost.seconds),
      ],
    };
  });
  return table(
    'Records and what was recovered from them',
    [
      { title: 'record' },
      { title: 'text' },
      { title: 'verdict' },
      { title: 'layer', isNumber: true },
      { title: 'tokens', isNumber: true },
      { title: 'least margin', isNumber: true },
      { title: 'forward passes', isNumber: true },
      { title: 'time', isNumber: true },
    ],
    rows,
  );
}

/** A text on one line, its spaces as they are. */
const oneLine = (text: string): string => text.split(' ').map(visible).join(' ');

/**
 * The cost of a prompt, and the paper's as what it is: another model's on another machine.
 * @param setting Model and adapter of ours.
 */
export function costTable(inversions: readonly Inversion[], setting: { model: string; adapter: string }): Content {
  const sum = (of: (inversion: Inversion) => number) => inversions.reduce((total, one) => total + of(one), 0);
  const mean = (of: (inversion: Inversion) => number) => sum(of) / inversions.length;
  const passes = mean(({ cost }) => cost.forwardEquivalents);
  const seconds = sum(({ cost }) => cost.seconds);
  const exact = inversions.filter((inversion) => inversion.exact).length;
  const isOne = inversions.length === 1;
  const rows: Row[] = [
    {
      cells: [
        markup`<b>this run</b>${isOne ? '' : ', mean'}`,
        `${setting.model}, ${lengthsText(inversions)}; ${setting.adapter}`,
        isOne ? (exact ? 'yes' : 'no') : `${count(exact)} of ${count(inversions.length)}`,
        duration(seconds / inversions.length),
        number(passes),
      ],
    },
    ...PUBLISHED_COSTS.map(({ method, time, exact }) => ({
      cells: [`${method}, published`, PUBLISHED_SETTING, exact, time, markup`<span class="soft">not given</span>`],
    })),
  ];
  const costs = table(
    'Cost of one prompt',
    [
      { title: 'what' },
      { title: 'model and machine' },
      { title: 'exact', isNumber: true },
      { title: 'time', isNumber: true },
      { title: 'forward passes', isNumber: true },
    ],
    rows,
  );
  const scoring = significant(mean(({ cost }) => cost.scoring));
  const evaluated = counted(
    sum(({ cost }) => cost.candidates),
    'row',
  );
  return markup`${costs}<p class="soft">The published figures (arXiv 2510.15511) are of another model on another
machine; their seconds are not to be compared with ours. A forward pass is the work of its matrix products over the same
prompt up to the same layer. Everything counts, scoring of proposals (${scoring} of ${significant(passes)}) too, but
for the fit of the lens, which is done once a model. ${evaluated} evaluated in ${duration(seconds)}.</p>
`;
}

/** `20 tokens`, `5 to 20 tokens`. */
function lengthsText(inversions: readonly Inversion[]): string {
  const shortest = inversions.reduce((least, { length }) => Math.min(least, length), Infinity);
  const longest = inversions.reduce((most, { length }) => Math.max(most, length), 0);
  return shortest === longest ? counted(longest, 'token') : `${count(shortest)} to ${counted(longest, 'token')}`;
}
