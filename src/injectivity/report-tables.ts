/** The tables of reports on collisions and on margins. */

import { oneLine } from '../probe/report-words.ts';
import { tickText } from '../report/axis.ts';
import { type Content, type Markup, markup } from '../report/markup.ts';
import { type Column, type Row, table } from '../report/table.ts';
import { count, counted, cut, duration, number } from '../report/text.ts';
import { PUBLISHED_COLLISIONS, PUBLISHED_MARGINS } from '../sipit/published.ts';
import { named, type TokenText } from '../sipit/report-tokens.ts';
import type { CollisionCost } from './collide.ts';
import type { Margin, PrefixMargins } from './margins.ts';
import { endOf, type TextOfLine } from './report-pairs.ts';
import { boundText, collisionsIn, layerNames, nearContinuations, storedOf } from './report-words.ts';
import type { CollisionResult, ExhaustiveResult, ResultLayer } from './result.ts';

const figures = (title: string): Column => ({ title, isNumber: true });

/** All pairs of each layer. */
export function collisionTable(result: CollisionResult): Markup {
  const [{ layers, precision }] = storedOf(result);
  const rows = layers.map((layer): Row => {
    const [nearest] = layer.closest;
    const collisions = collisionsIn(layer);
    return {
      kind: collisions > 0 ? 'bad' : undefined,
      cells: [
        layer.layer,
        number(layer.minimum),
        number(nearest?.relative),
        number(layer.rms),
        collisions > 0 ? markup`<b class="bad-text">${count(collisions)}</b>` : '0',
        count(layer.pairs),
        nearest && `${nearest.a} and ${nearest.b}`,
      ],
    };
  });
  return table(
    `Distances of the last-token states of all pairs of prompts, ${precision === 'f32' ? 'in f32 as computed' : `stored in ${precision}`}; relative: of the RMS length`,
    [
      figures('layer'),
      figures('minimum'),
      figures('relative'),
      figures('RMS length'),
      figures(`below ${boundText(result)}`),
      figures('pairs'),
      { title: 'closest lines' },
    ],
    rows,
  );
}

/** What was compared and found, beside what the paper compared and found. */
export function publishedTable(result: CollisionResult, model: string): Content {
  const [{ layers, collisions, precision }] = storedOf(result);
  const { exhaustive = [], prompts } = result;
  const published = PUBLISHED_COLLISIONS;
  const [first] = exhaustive;
  const each = exhaustive.filter(({ layer }) => layer === first?.layer).length;
  const near = nearContinuations(result).length;
  const across = layers.length > 1 ? ' over all layers' : '';
  const found = [
    collisions === 0 ? 'none' : `${count(collisions)}${across}`,
    precision === 'f32' ? '' : `, in ${precision}`,
  ].join('');
  const rows: readonly (readonly [string, Content, Content])[] = [
    ['models', model, published.models],
    ['distinct prompts', count(prompts), published.prompts],
    ['layers', layerNames(layers.map(({ layer }) => layer)).replace(/^layers? /, ''), published.layers],
    ['pairs of a layer', count(layers[0]?.pairs ?? 0), published.pairs],
    ['collision: distance below', boundText(result), tickText(published.bound)],
    ['collisions', found, published.found],
    [
      'continued',
      first ? `${counted(each, 'close prompt')} of each layer by ${counted(first.continuations, 'token')}` : 'no',
      published.continuations,
    ],
    ...(first ? [['collisions among them', near === 0 ? 'none' : count(near), published.found] as const] : []),
  ];
  const compared = table(
    'This run beside the published one',
    [{ title: 'what' }, { title: 'this run' }, { title: 'arXiv 2510.15511' }],
    rows.map((cells): Row => ({ cells })),
  );
  return markup`${compared}<p class="soft">The paper proves that different prompts have different states with probability
1, for weights drawn from a density and after any finite number of steps of gradient descent. A test can show a
collision; where it finds none, it says so of the prompts compared and of no others.</p>
`;
}

/** Least distances and collisions by layer and by how the states are stored. */
export function precisionTable(result: CollisionResult): Markup {
  const [first, ...others] = storedOf(result);
  const stored = [first, ...others];
  const rows = first.layers.map(({ layer }): Row => {
    const own = stored.map(({ layers }) => layers.find((one) => one.layer === layer));
    return { cells: [layer, ...own.map((one) => one && storedCell(one))] };
  });
  return table(
    `Least distance, and how many pairs are nearer than ${boundText(result)}`,
    [figures('layer'), ...stored.map(({ precision }) => figures(precision))],
    rows,
  );
}

function storedCell(layer: ResultLayer): Markup {
  const collisions = collisionsIn(layer);
  const found =
    collisions > 0
      ? markup`<b class="bad-text">${count(collisions)} collide</b>`
      : markup`<span class="soft">none</span>`;
  return markup`${number(layer.minimum)}<br>${found}`;
}

/** Characters of a prompt that is continued. */
const PROMPT_END = 60;

/** The nearest two continuations of each prompt. */
export function continuationTable(
  caption: string,
  continued: readonly ExhaustiveResult[],
  { texts, token, bound }: { readonly texts: TextOfLine; readonly token: TokenText; readonly bound: number },
): Markup {
  const rows = continued.map(({ layer, line, tokens, distance, relative }): Row => {
    const text = texts(line);
    return {
      kind: distance < bound ? 'bad' : undefined,
      cells: [
        layer,
        number(distance),
        number(relative),
        nearestTokens(tokens, token),
        line,
        text === undefined
          ? undefined
          : markup`<bdi class="together" translate="no">${oneLine(endOf(text, PROMPT_END))}</bdi>`,
      ],
    };
  });
  return table(
    caption,
    [
      figures('layer'),
      figures('distance'),
      figures('relative'),
      { title: 'nearest two tokens' },
      figures('line'),
      { title: 'end of the prompt' },
    ],
    rows,
  );
}

const nearestTokens = ([a, b]: readonly [number, number], textOf: TokenText): Markup =>
  markup`<span class="together">${named(a, textOf)} and ${named(b, textOf)}</span>`;

/** What the test took. */
export function costTable({ statesSeconds, tokens, pairsSeconds, pairs }: CollisionCost): Markup {
  const rate = (amount: number, seconds: number, noun: string) =>
    amount > 0 && seconds > 0 ? `${rounded(amount / seconds)} ${noun} a second` : undefined;
  return table(
    'What this process did; what it resumed from is not in it',
    [{ title: 'work' }, figures('amount'), figures('time'), figures('rate')],
    [
      {
        cells: [
          'states, at all layers',
          counted(tokens, 'token'),
          duration(statesSeconds),
          rate(tokens, statesSeconds, 'tokens'),
        ],
      },
      { cells: ['distances', counted(pairs, 'pair'), duration(pairsSeconds), rate(pairs, pairsSeconds, 'pairs')] },
    ],
  );
}

/** A rate to three digits: `1,230`, `1.23 million`. */
const rounded = (value: number): string =>
  value < 1e6
    ? count(Number(value.toPrecision(3)))
    : `${Number((value / 1e6).toPrecision(3)).toLocaleString('en')} million`;

/** Lines that are named of those left out, for each reason; and reasons. */
const MOST_NAMED = 8;

/** Lines that were no prompt of their own. */
export function leftOut({ duplicates, skipped }: CollisionResult): Content {
  const named = (items: readonly string[]) => {
    const more = items.length - MOST_NAMED;
    return `${items.slice(0, MOST_NAMED).join(', ')}${more > 0 ? ` and ${count(more)} more` : ''}`;
  };
  const byReason = new Map<string, string[]>();
  for (const { line, reason } of skipped) {
    const alike = byReason.get(reason);
    if (alike) alike.push(String(line));
    else byReason.set(reason, [String(line)]);
  }
  const reasons = Array.from(byReason, ([reason, lines]) => {
    const noun = lines.length === 1 ? 'Line' : 'Lines';
    return markup`<li>${oneLine(cut(reason, 200))} ${noun} ${named(lines)}.</li>\n`;
  });
  const more = reasons.length - MOST_NAMED;
  const rest = more > 0 ? markup`<li>And ${counted(more, 'other reason')}.</li>\n` : '';
  const twins = duplicates.map(({ line, of }) => `${line} (of ${of})`);
  return [
    skipped.length > 0
      ? markup`<p>Skipped: ${counted(skipped.length, 'line')}.</p>
<ul>${reasons.slice(0, MOST_NAMED)}${rest}</ul>\n`
      : '',
    twins.length > 0
      ? markup`<p>Duplicates, of the same tokens as an earlier line: ${counted(twins.length, 'line')}, ${named(twins)}.</p>\n`
      : '',
  ];
}

/** A prefix with its margins, and how it is called. */
export interface NamedMargins extends PrefixMargins {
  readonly name: string;
}

/**
 * Least and median margin of each layer over all prefixes.
 * @param isPublished Whether the paper's figures belong beside them.
 */
export function marginTable(found: readonly NamedMargins[], token: TokenText, isPublished: boolean): Markup {
  const rows = (found[0]?.layers ?? []).map(({ layer }, i): Row => {
    const sorted = found
      .map((one) => ({ name: one.name, margin: one.layers[i] }))
      .toSorted((a, b) => a.margin.distance - b.margin.distance);
    const [{ margin, name }] = sorted;
    return {
      kind: margin.distance === 0 ? 'bad' : undefined,
      cells: [
        layer,
        number(margin.distance),
        number(margin.distance / 2),
        number(margin.relative),
        number(sorted[sorted.length >> 1].margin.distance),
        ...(isPublished ? [number(PUBLISHED_MARGINS[layer - 1])] : []),
        nearestTokens(margin.tokens, token),
        markup`<span class="together">${name}</span>`,
      ],
    };
  });
  return table(
    'The least margin of each layer, and half of it, the noise that is survived; relative: of the RMS length of the states',
    [
      figures('layer'),
      figures('least margin'),
      figures('noise below'),
      figures('relative'),
      figures('median'),
      ...(isPublished ? [figures('GPT-2, published')] : []),
      { title: 'nearest two tokens' },
      { title: 'behind' },
    ],
    rows,
  );
}

/** Margins by depth and layer, a row for each prefix. */
export function depthTable(found: readonly NamedMargins[]): Markup {
  const layers = found[0]?.layers ?? [];
  return table(
    'Margin by layer',
    [{ title: 'prefix' }, ...layers.map(({ layer }) => figures(String(layer)))],
    found.map(({ name, layers }): Row => {
      const isEqual = layers.some(({ distance }) => distance === 0);
      const together = markup`<span class="together">${name}</span>`;
      return {
        kind: isEqual ? 'bad' : undefined,
        cells: [together, ...layers.map(({ distance }) => number(distance))],
      };
    }),
  );
}

/** The margins behind one prefix, with the two nearest tokens of each. */
export function nearestTable(margins: readonly Margin[], token: TokenText): Markup {
  return table(
    'By layer',
    [figures('layer'), figures('margin'), figures('relative'), { title: 'nearest two tokens' }],
    margins.map(
      ({ layer, distance, relative, tokens }): Row => ({
        kind: distance === 0 ? 'bad' : undefined,
        cells: [layer, number(distance), number(relative), nearestTokens(tokens, token)],
      }),
    ),
  );
}
