/** The parts of a report on inversions: what is shown of one prompt, at one layer or at several. */

import { heatmap } from '../report/heatmap.ts';
import { linePlot } from '../report/line-plot.ts';
import { type Content, type Markup, markup } from '../report/markup.ts';
import { figure, type Row, scrolling, table } from '../report/table.ts';
import { count, counted, number, readable, significant, visible } from '../report/text.ts';
import { isBound, marginsOf } from './margins.ts';
import type { Inversion, PositionResult, Verdict } from './types.ts';

/** The text of a token; absent where the model has no tokenizer. */
export type TokenText = ((token: number) => string) | undefined;

const SIGNS: Readonly<Record<Verdict, string>> = { accepted: '✓', ambiguous: '?', 'not found': '✗' };
const TINTS = { accepted: undefined, ambiguous: 'warn', 'not found': 'bad' } as const;

/** Rules for the text with its shading. */
export const STYLE = `
.recovered{white-space:pre-wrap;overflow-wrap:anywhere;max-width:none;font-size:1.15rem;line-height:2;background:var(--panel);padding:.6rem .9rem;border-radius:.4rem;margin:.6rem 0}
.recovered a{color:inherit;text-decoration:none;border-radius:.2rem;padding:.1rem 0}
.recovered a:hover{outline:1px solid var(--link)}
.recovered .id{display:inline-block;margin-right:.5rem}
.end::before{content:"↵";color:var(--soft)}
.c0{background:rgb(var(--narrow)/.62)}.c1{background:rgb(var(--narrow)/.44)}.c2{background:rgb(var(--narrow)/.28)}.c3{background:rgb(var(--narrow)/.13)}
.recovered .warn::before{content:"?";color:var(--warn)}.recovered .bad::before{content:"✗";color:var(--bad)}
.recovered .warn::before,.recovered .bad::before{font-size:.7em;font-weight:700;vertical-align:super;padding:0 .1em}
.recovered .warn{text-decoration:underline wavy var(--warn);text-underline-offset:.3rem}
.recovered .bad{text-decoration:underline wavy var(--bad);text-underline-offset:.3rem}
.key{display:inline-block;padding:0 .5rem;border-radius:.2rem;border:1px solid var(--rule)}
.together{white-space:nowrap}
.verdict{font-size:1.1rem}.verdict b{padding:.1rem .5rem;border-radius:.3rem;border:2px solid currentColor;margin-right:.3rem}
`;

/** How a token is named in tables: its text with nothing hidden; its number where it is no whole text, or there is none. */
export function nameOf(token: number, textOf: TokenText): string {
  const text = textOf?.(token) ?? '';
  return text === '' || text.includes('\ufffd') ? `${visible(text)}#${token}` : visible(text);
}

const named = (token: number, textOf: TokenText): Markup =>
  markup`<bdi><code translate="no">${nameOf(token, textOf)}</code></bdi>`;

/** A margin in words: `≥ 1.23` where it is a bound; a bound that is not positive says nothing. */
export function marginText(position: PositionResult): string {
  if (position.margin === undefined) return '';
  if (!isBound(position)) return significant(position.margin);
  return position.margin > 0 ? `≥ ${significant(position.margin)}` : UNKNOWN;
}

const UNKNOWN = 'not known';

/** A margin in a cell, with all of its digits for machines. */
export const marginCell = (position: PositionResult | undefined): Content =>
  position?.margin === undefined ? undefined : markup`<data value="${position.margin}">${marginText(position)}</data>`;

function hoverText(position: PositionResult, textOf: TokenText): string {
  const { distance, radius, runnerUp, verdict, margin } = position;
  return [
    `position ${position.position}: ${nameOf(position.token, textOf)}, ${verdict}`,
    `distance ${significant(distance)}, radius ${significant(radius)}`,
    margin === undefined ? 'no other token' : `margin ${marginText(position)}`,
    ...(runnerUp ? [`next ${nameOf(runnerUp.token, textOf)}`] : []),
  ].join('; ');
}

/** How many times what rounding and noise explain the margin is. */
const timesOf = ({ margin, radius, distance }: PositionResult): number =>
  margin === undefined ? Infinity : margin / Math.max(radius, distance);

/** Below these multiples a token is shaded, the more the less. */
const SHADES: readonly number[] = [2, 10, 100, 1000];

/** What can be linked to: a row of a table of positions. */
const rowId = (prefix: string, position: number): string => `${prefix}p${position}`;

/**
 * The recovered text, each token shaded by how near its rival came, and flagged where its verdict is not `accepted`.
 *
 * @param prefix Of the rows of `positionTable` that the tokens lead to.
 */
export function recoveredText(inversion: Inversion, textOf: TokenText, prefix: string): Content {
  const { positions, text, length } = inversion;
  if (positions.length === 0) return markup`<p>Nothing was recovered.</p>\n`;
  const tokens = positions.map((position) => {
    const flagged = position.verdict !== 'accepted';
    const tint = TINTS[position.verdict] ?? '';
    const level = SHADES.filter((most) => timesOf(position) >= most).length;
    const shown = textOf ? withLineEnds(textOf(position.token)) : markup`<span class="id">#${position.token}</span>`;
    // Only flagged tokens are stops of the Tab key: a prompt may have hundreds.
    const stop = flagged ? '' : markup` tabindex="-1"`;
    return markup`<a href="#${rowId(prefix, position.position)}" class="c${level} ${tint}" title="${hoverText(position, textOf)}"${stop}>${shown}</a>`;
  });
  const left = length - positions.length;
  const rest = left > 0 ? markup`<span class="soft"> … ${counted(left, 'position')} not recovered</span>` : '';
  // Tokens that are pieces of characters do not join to the text.
  const joined = textOf && positions.map(({ token }) => textOf(token)).join('');
  const whole =
    text === undefined || joined === text
      ? ''
      : markup`<p>Read as a whole, its pieces of characters joined:</p>\n<p class="recovered" translate="no" dir="auto">${readable(text)}</p>\n`;
  return markup`<p class="recovered" translate="no" lang="">${tokens}${rest}</p>
<p class="soft">${shadeLegend(positions)}</p>
${whole}${flaggedList(positions, textOf, prefix)}`;
}

function shadeLegend(positions: readonly PositionResult[]): Content {
  const clear = SHADES[SHADES.length - 1];
  if (positions.every((position) => timesOf(position) >= clear))
    return `No token is shaded: every margin is at least ${count(clear)} times what rounding and noise explain.`;
  const keys = SHADES.map((most, i) => markup`<span class="key c${i}">below ${count(most)}</span> `);
  return markup`Shade: the margin, as a multiple of what rounding and noise explain, or of the token's distance where that is more.<br>${keys}<span class="key">more</span>`;
}

function withLineEnds(text: string): Content {
  return text.split('\n').map((line, i) => [i > 0 ? markup`<span class="end"></span>\n` : '', readable(line)]);
}

/** Positions that are named for each reason. */
const MOST_NAMED = 8;

/** What is wrong, and where. */
function flaggedList(positions: readonly PositionResult[], textOf: TokenText, prefix: string): Content {
  const flagged = positions.filter(({ verdict }) => verdict !== 'accepted');
  if (flagged.length === 0) return [];
  const byReason = new Map<string, PositionResult[]>();
  for (const position of flagged) {
    const reason = [position.verdict, ...(position.reason === undefined ? [] : [position.reason])].join(': ');
    const alike = byReason.get(reason);
    if (alike) alike.push(position);
    else byReason.set(reason, [position]);
  }
  const items = Array.from(byReason, ([reason, alike]) => {
    const places = alike
      .slice(0, MOST_NAMED)
      .map(
        ({ position, token }, i) =>
          markup`${i > 0 ? ', ' : ''}<a href="#${rowId(prefix, position)}">${position}</a> ${named(token, textOf)}`,
      );
    const more = alike.length - MOST_NAMED;
    return markup`<li>${SIGNS[alike[0].verdict]} ${reason}. At ${places}${more > 0 ? ` and ${count(more)} more` : ''}.</li>\n`;
  });
  return markup`<h3>Flagged: ${counted(flagged.length, 'token')} of ${count(positions.length)}</h3>\n<ul>${items}</ul>\n`;
}

/** Margins by position, a row for each layer; the narrowest place and the flagged ones are marked. */
export function marginMap(inversions: readonly Inversion[], textOf: TokenText): Content {
  const columns = Math.max(0, ...inversions.map(({ positions }) => positions.length));
  if (columns === 0) return [];
  const at = (row: number, column: number): PositionResult | undefined => inversions[row].positions[column];
  const first = inversions.find(({ exact }) => exact) ?? inversions[0];
  const cells = inversions.flatMap(({ positions }, row) =>
    positions.map((position, column) => ({ row, column, position })),
  );
  const narrowest = narrowestOf(inversions);
  const flagged = cells.filter(({ position }) => position.verdict !== 'accepted');
  const picture = heatmap({
    title: `Margins of ${counted(columns, 'position')} at ${layersText(inversions)}`,
    rows: inversions.map(({ layer }) => `layer ${layer}`),
    columns: Array.from({ length: columns }, (_, i) => {
      const token = first.positions[i]?.token;
      return token === undefined ? String(i) : nameOf(token, textOf);
    }),
    values: inversions.map(({ positions }) => positions.map(({ margin }) => margin)),
    legend: 'margin',
    log: true,
    label: (row, column) => {
      const position = at(row, column);
      const layer = `layer ${inversions[row].layer}, `;
      return layer + (position ? hoverText(position, textOf) : `position ${column}: not recovered`);
    },
    marks: [
      ...(narrowest
        ? [
            {
              cells: cells.filter(({ position }) => position === narrowest.position),
              shape: 'ring' as const,
              meaning: 'the narrowest place',
            },
          ]
        : []),
      ...(flagged.length > 0 ? [{ cells: flagged, shape: 'cross' as const, meaning: 'ambiguous or not found' }] : []),
    ],
  });
  return figure(
    scrolling('Margins by position and layer', picture),
    `Margin: how much farther than the token the nearest other one is.${boundNote(inversions)}`,
  );
}

/** What `≥` means, where it stands. */
function boundNote(inversions: readonly Inversion[]): string {
  return inversions.some(({ positions }) => positions.some(isBound))
    ? " With ≥ it is a bound by the lens's calibration; --prove finds the true one."
    : '';
}

/** Layers by name: `layer 3`, `layers 1 to 6`, `layers 1, 3, 6`. */
export function layersText(inversions: readonly Inversion[]): string {
  const layers = inversions.map(({ layer }) => layer);
  if (layers.length === 1) return `layer ${layers[0]}`;
  const isRun = layers.every((layer, i) => layer === layers[0] + i);
  return isRun ? `layers ${layers[0]} to ${layers[layers.length - 1]}` : `layers ${layers.join(', ')}`;
}

/** Where the least margin of all is. */
export function narrowestOf(
  inversions: readonly Inversion[],
): { readonly inversion: Inversion; readonly position: PositionResult } | undefined {
  return inversions
    .flatMap((inversion) => {
      const { narrowest } = marginsOf(inversion);
      return narrowest ? [{ inversion, position: narrowest }] : [];
    })
    .toSorted((a, b) => (a.position.margin as number) - (b.position.margin as number))[0];
}

/** Distances by position: of the tokens, of what rounding and noise explain, and of the nearest other tokens. */
export function distancePlot({ positions, layer }: Inversion, textOf: TokenText): Content {
  if (positions.length === 0) return [];
  const label = (position: PositionResult) => hoverText(position, textOf);
  const nearest = (position: PositionResult) =>
    position.margin === undefined || marginText(position) === UNKNOWN ? undefined : position.distance + position.margin;
  const picture = linePlot({
    title: `Distances from the observed states by position, layer ${layer}`,
    x: { label: 'position' },
    y: { label: 'distance from the observed state', log: true },
    series: [
      {
        name: 'explained by rounding and noise',
        points: positions.map(({ position, radius }) => ({ x: position, y: radius })),
        style: 'line',
        dashed: true,
        muted: true,
      },
      {
        name: 'recovered token',
        points: positions.map((one) => ({ x: one.position, y: one.distance, label: label(one) })),
        style: 'points',
      },
      {
        name: 'nearest other token',
        points: positions.map((one) => ({ x: one.position, y: nearest(one), label: label(one), open: isBound(one) })),
        style: 'points',
      },
    ],
  });
  const zero = positions.some(({ distance }) => distance === 0) ? ' Distances of 0 are drawn at the bottom.' : '';
  const hollow = positions.some(isBound) ? " Hollow: a bound by the lens's calibration." : '';
  return figure(picture, `The gap between the two is the margin.${hollow}${zero}`);
}

/**
 * The tokens at one position and their distances.
 * @param where Which inversion it is: `layer 3`.
 */
export function placeTable(where: string, position: PositionResult, textOf: TokenText): Content {
  const { token, distance, radius, runnerUp, othersBeyond, margin, candidates, rivals } = position;
  const rows: Row[] = [
    { cells: [markup`${named(token, textOf)}, recovered`, number(distance)] },
    { cells: ['explained by rounding and noise (radius)', number(radius)] },
    ...(runnerUp
      ? [
          {
            cells: [
              markup`${named(runnerUp.token, textOf)}, the nearest other token evaluated`,
              number(runnerUp.distance),
            ],
          },
        ]
      : []),
    ...(othersBeyond === undefined
      ? []
      : [{ cells: ['every token not evaluated', othersBeyond > 0 ? number(othersBeyond, '≥ ') : UNKNOWN] }]),
    {
      cells: [markup`<b>margin</b>`, margin === undefined ? 'no other token' : markup`<b>${marginCell(position)}</b>`],
    },
  ];
  const times = margin === undefined ? 0 : margin / radius;
  const shown = (value: number) => (value >= 10 ? count(Math.round(value)) : significant(value));
  const room =
    distance > radius
      ? ` The nearest token is ${shown(distance / radius)} times as far as rounding and noise explain.`
      : times > 0 && Number.isFinite(times)
        ? ` The margin is ${shown(times)} times what rounding and noise explain.`
        : '';
  const extra = rivals > 0 ? `, ${count(rivals)} of them only because they might have been nearer` : '';
  return markup`${table(
    `${where}, position ${position.position}: distances from the observed state`,
    [{ title: 'token' }, { title: 'distance', isNumber: true }],
    rows,
  )}<p>${counted(candidates, 'row')} evaluated there${extra}.${room}</p>\n`;
}

/** Every position with its evidence. */
export function positionTable(inversion: Inversion, textOf: TokenText, prefix: string): Content {
  const { positions, layer, length } = inversion;
  if (positions.length === 0) return markup`<p>No position was tried.</p>\n`;
  const rows = positions.map((position): Row => {
    const { verdict, reason, token, distance, radius, runnerUp, candidates } = position;
    const tint = TINTS[verdict];
    return {
      id: rowId(prefix, position.position),
      kind: tint,
      note: reason,
      cells: [
        markup`<span class="together"><span class="soft">${position.position}</span> ${named(token, textOf)}</span>`,
        markup`<span class="together"><span class="${tint === undefined ? 'good' : `${tint}-text`}">${SIGNS[verdict]}</span> ${verdict}</span>`,
        number(distance),
        number(radius),
        runnerUp && named(runnerUp.token, textOf),
        number(runnerUp?.distance),
        marginCell(position),
        count(candidates),
      ],
    };
  });
  const stopped = positions.length < length ? ` of ${count(length)}` : '';
  return table(
    `Layer ${layer}: ${count(positions.length)}${stopped} ${length === 1 ? 'position' : 'positions'}`,
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

const SCOPES: Readonly<Record<Inversion['scope'], string>> = {
  evaluated: 'no other token that was tried fits',
  calibrated: "no other token could be nearer, by the lens's calibration",
  vocabulary: 'no other token of the vocabulary fits',
};

/** What came of an inversion in a word, as a badge. */
export function badge({ exact, positions, length }: Inversion): Markup {
  if (exact) return markup`<b class="good">EXACT</b>`;
  const some = (verdict: Verdict) => positions.some((position) => position.verdict === verdict);
  if (some('not found')) return markup`<b class="bad-text">NOT FOUND</b>`;
  if (some('ambiguous')) return markup`<b class="warn-text">AMBIGUOUS</b>`;
  return markup`<b class="warn-text">${positions.length < length ? 'STOPPED' : 'NOT EXACT'}</b>`;
}

/** What came of an inversion, in sentences. */
export function verdictText({ exact, positions, length, scope, noise, policy }: Inversion): string {
  const flagged = (verdict: Verdict) => positions.filter((position) => position.verdict === verdict).length;
  const [ambiguous, missing] = [flagged('ambiguous'), flagged('not found')];
  return [
    ...(exact ? [`${counted(length, 'token')}, each within its radius; ${SCOPES[scope]}.`] : []),
    ...(missing > 0
      ? [`At ${counted(missing, 'position')} no token of those evaluated fits: the nearest is shown.`]
      : []),
    ...(ambiguous > 0
      ? [
          `At ${counted(ambiguous, 'position')} more than one token fits or may fit, as far as rounding and noise let us see.`,
        ]
      : []),
    ...(positions.length < length ? [`${count(positions.length)} of ${counted(length, 'position')} were tried.`] : []),
    ...(noise > 0 ? [`Noise of ${Number(noise.toPrecision(3))} of the RMS is allowed for.`] : []),
    ...(policy === 'speculative' ? [] : [`Policy: ${policy}.`]),
  ].join(' ');
}
