/** How a report on inversions shows tokens: by name, and as the recovered text. */

import { type Content, type Markup, markup } from '../report/markup.ts';
import { count, counted, significant, visible } from '../report/text.ts';
import { isBound } from './margins.ts';
import type { Inversion, PositionResult, Verdict } from './types.ts';

/** The text of a token; absent where the model has no tokenizer. */
export type TokenText = ((token: number) => string) | undefined;

/** The sign of a verdict, and its tint in tables. */
export const VERDICTS: Readonly<Record<Verdict, { readonly sign: string; readonly tint?: 'warn' | 'bad' }>> = {
  accepted: { sign: '✓' },
  ambiguous: { sign: '?', tint: 'warn' },
  'not found': { sign: '✗', tint: 'bad' },
};

/** Rules of the text with its shading. */
export const TOKEN_STYLE = `
.recovered{white-space:pre-wrap;overflow-wrap:anywhere;max-width:none;font-size:1.15rem;line-height:2;
background:var(--panel);padding:.6rem .9rem;border-radius:.4rem;margin:.6rem 0}
.recovered a{color:inherit;text-decoration:none;border-radius:.2rem;padding:.1rem 0}
.recovered a:hover{outline:1px solid var(--link)}
.recovered .id{display:inline-block;margin-right:.5rem}
.end::before{content:"↵";color:var(--soft)}
.c0{background:rgb(var(--narrow)/.62)}.c1{background:rgb(var(--narrow)/.44)}
.c2{background:rgb(var(--narrow)/.28)}.c3{background:rgb(var(--narrow)/.13)}
.recovered .warn::before{content:"?";color:var(--warn)}.recovered .bad::before{content:"✗";color:var(--bad)}
.recovered .warn::before,.recovered .bad::before{font-size:.7em;font-weight:700;vertical-align:super;padding:0 .1em}
.recovered .warn{text-decoration:underline wavy var(--warn);text-underline-offset:.3rem}
.recovered .bad{text-decoration:underline wavy var(--bad);text-underline-offset:.3rem}
.key{display:inline-block;padding:0 .5rem;border-radius:.2rem;border:1px solid var(--rule)}
.together{white-space:nowrap}
.verdict{font-size:1.1rem}
.verdict b{padding:.1rem .5rem;border-radius:.3rem;border:2px solid currentColor;margin-right:.3rem}
`;

/** How a token is named: its text with nothing hidden; its number where it has none, or pieces of characters only. */
export function nameOf(token: number, textOf: TokenText): string {
  const text = textOf?.(token) ?? '';
  return text === '' || text.includes('\ufffd') ? `${visible(text)}#${token}` : visible(text);
}

/** The name of a token as an element. */
export const named = (token: number, textOf: TokenText): Markup =>
  markup`<bdi><code translate="no">${nameOf(token, textOf)}</code></bdi>`;

/** A margin that is not known: the lens bounds it by nothing. */
export const UNKNOWN = 'not known';

/** A margin in words: `≥ 1.23` where it is a bound. */
export function marginText(position: PositionResult): string {
  if (position.margin === undefined) return '';
  if (!isBound(position)) return significant(position.margin);
  return position.margin > 0 ? `≥ ${significant(position.margin)}` : UNKNOWN;
}

/** A margin in a cell, with all of its digits for machines. */
export const marginCell = (position: PositionResult | undefined): Content =>
  position?.margin === undefined ? undefined : markup`<data value="${position.margin}">${marginText(position)}</data>`;

/** What hovering over a position shows. */
export function hoverText(position: PositionResult, textOf: TokenText): string {
  const { distance, radius, runnerUp, verdict, margin } = position;
  return [
    `position ${position.position}: ${nameOf(position.token, textOf)}, ${verdict}`,
    `distance ${significant(distance)}, radius ${significant(radius)}`,
    margin === undefined ? 'no other token' : `margin ${marginText(position)}`,
    ...(runnerUp ? [`next ${nameOf(runnerUp.token, textOf)}`] : []),
  ].join('; ');
}

/** The id of a position's row, which its token leads to. @param prefix Tells inversions on one page apart. */
export const rowId = (prefix: string, position: number): string => `${prefix}p${position}`;

/**
 * The recovered text, each token shaded by how near its rival came, and flagged where its verdict is not `accepted`.
 *
 * @param prefix As in `rowId`.
 */
export function recoveredText(inversion: Inversion, textOf: TokenText, prefix: string): Content {
  const { positions, text, length } = inversion;
  if (positions.length === 0) return markup`<p>Nothing was recovered.</p>\n`;
  const left = length - positions.length;
  const rest = left > 0 ? markup`<span class="soft"> … ${counted(left, 'position')} not recovered</span>` : '';
  // Tokens that are pieces of characters do not join to the text.
  const joined = textOf ? positions.map(({ token }) => textOf(token)).join('') : undefined;
  const whole = text === undefined || joined === text ? [] : wholeText(text);
  const tokens = positions.map((position) => shadedToken(position, textOf, prefix));
  return markup`<p class="recovered" translate="no" lang="">${tokens}${rest}</p>
<p class="soft">${shadeLegend(positions)}</p>
${whole}${flaggedList(positions, textOf, prefix)}`;
}

const wholeText = (text: string): Markup =>
  markup`<p>Read as a whole, its pieces of characters joined:</p>
<p class="recovered" translate="no" lang="" dir="auto">${text}</p>
`;

function shadedToken(position: PositionResult, textOf: TokenText, prefix: string): Markup {
  const { tint = '' } = VERDICTS[position.verdict];
  const shown = textOf ? withLineEnds(textOf(position.token)) : markup`<span class="id">#${position.token}</span>`;
  // Only flagged tokens are stops of the Tab key: a prompt may have hundreds.
  const stop = position.verdict === 'accepted' ? markup` tabindex="-1"` : '';
  const look = markup`class="c${shadeOf(position)} ${tint}" title="${hoverText(position, textOf)}"${stop}`;
  return markup`<a href="#${rowId(prefix, position.position)}" ${look}>${shown}</a>`;
}

/** Line ends that can be seen and are not copied with the text. */
const withLineEnds = (text: string): Content =>
  text.split('\n').map((line, i) => [i > 0 ? markup`<span class="end"></span>\n` : '', line]);

/** Below these multiples of the radius a margin is shaded, the more the less. */
const SHADES: readonly number[] = [2, 10, 100, 1000];

function shadeOf({ margin = Infinity, radius, distance }: PositionResult): number {
  const times = margin / Math.max(radius, distance);
  return SHADES.filter((most) => times >= most).length;
}

function shadeLegend(positions: readonly PositionResult[]): Content {
  const clear = SHADES[SHADES.length - 1];
  if (positions.every((position) => shadeOf(position) === SHADES.length))
    return `No token is shaded: every margin is at least ${count(clear)} times what rounding and noise explain.`;
  const keys = SHADES.map((most, i) => markup`<span class="key c${i}">below ${count(most)}</span> `);
  return markup`Shade: the margin, as a multiple of what rounding and noise explain, or of the token's distance where
that is more.<br>${keys}<span class="key">more</span>`;
}

/** Positions that are named for each reason. */
const MOST_NAMED = 8;

/** What is wrong, and where. */
function flaggedList(positions: readonly PositionResult[], textOf: TokenText, prefix: string): Content {
  const flagged = positions.filter(({ verdict }) => verdict !== 'accepted');
  if (flagged.length === 0) return [];
  const byReason = new Map<string, PositionResult[]>();
  for (const position of flagged) {
    const reason = position.reason === undefined ? position.verdict : `${position.verdict}: ${position.reason}`;
    const alike = byReason.get(reason);
    if (alike) alike.push(position);
    else byReason.set(reason, [position]);
  }
  const items = Array.from(byReason, ([reason, alike]) => {
    const places = alike.slice(0, MOST_NAMED).map(({ position, token }, i) => {
      const place = markup`<a href="#${rowId(prefix, position)}">${position}</a> ${named(token, textOf)}`;
      return [i > 0 ? ', ' : '', place];
    });
    const more = alike.length > MOST_NAMED ? ` and ${count(alike.length - MOST_NAMED)} more` : '';
    return markup`<li>${VERDICTS[alike[0].verdict].sign} ${reason}. At ${places}${more}.</li>\n`;
  });
  return markup`<h3>Flagged: ${counted(flagged.length, 'token')} of ${count(positions.length)}</h3>
<ul>${items}</ul>
`;
}
