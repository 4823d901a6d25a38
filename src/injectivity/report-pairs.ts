/** Close pairs of prompts as texts side by side. */

import { oneLine } from '../probe/report-words.ts';
import { type Content, type Markup, markup } from '../report/markup.ts';
import { number } from '../report/text.ts';
import { differences, type Stretch } from './differences.ts';
import type { Told } from './report-words.ts';
import type { ResultPair } from './result.ts';

/** The text of a prompt by its line; undefined where it is not at hand. */
export type TextOfLine = (line: number) => string | undefined;

/** Rules of texts side by side. */
export const PAIR_STYLE = `
.pairs{padding-left:1.6rem}.pairs>li{margin:.9rem 0}.pairs p{margin:0 0 .3rem}
.said{display:flex;gap:.7rem;margin:.2rem 0;padding:.2rem .7rem;background:var(--panel);border-radius:.3rem}
.said .soft{flex:none;min-width:4.5rem;font-variant-numeric:tabular-nums}
.said bdi{white-space:pre-wrap;overflow-wrap:anywhere;min-width:0}
.same{color:var(--soft)}mark{background:rgb(var(--narrow)/.28);color:inherit;border-radius:.15rem}
`;

/** Pairs that are shown of a layer. */
const MOST_SHOWN = 10;

/** Characters that are shown of each stretch that two prompts have in common, or have not, and of a text. */
const COMMON = 60;
const DIFFERENT = 200;
const MOST_STRETCHES = 25;

/**
 * Pairs, the closest first; of texts that are alike, what differs is marked.
 * @param causesOf What makes a pair collide; asked where one does.
 */
export function pairList(
  pairs: readonly ResultPair[],
  texts: TextOfLine,
  bound: number,
  causesOf?: (pair: ResultPair) => readonly Told[],
): Content {
  const items = pairs.slice(0, MOST_SHOWN).map((pair) => {
    const { a, b, distance, relative } = pair;
    const isCollision = distance < bound;
    const told = isCollision ? causesOf?.(pair) : undefined;
    const share = relative === undefined ? '' : markup`, ${number(relative)} of the RMS length`;
    const head = markup`<b>${number(distance)}</b> apart${share}`;
    const badge = isCollision ? markup` <b class="bad-text">collision</b>` : '';
    const why = told?.map(({ what }) => markup`<p class="soft">${what}</p>`);
    const unexplained = told?.length === 0 ? markup`<p class="soft">Nothing found in the weights explains it.</p>` : '';
    return markup`<li><p>${head}${badge}</p>${why}${unexplained}${sideBySide([a, b], [texts(a), texts(b)])}</li>\n`;
  });
  return items.length > 0 ? markup`<ol class="pairs">\n${items}</ol>\n` : markup`<p>There is no pair.</p>\n`;
}

function sideBySide([a, b]: readonly [number, number], [own, other]: readonly (string | undefined)[]): Markup {
  if (own === undefined || other === undefined) return markup`<p>Lines ${a} and ${b}.</p>`;
  const [first, second] = differences(own, other);
  const isAlike = commonShare(first) >= ALIKE && commonShare(second) >= ALIKE;
  const side = (line: number, stretches: readonly Stretch[]) => {
    const more = stretches.length > MOST_STRETCHES ? '…' : '';
    const text = [stretches.slice(0, MOST_STRETCHES).map((stretch) => shown(stretch, isAlike)), more];
    return markup`<div class="said"><span class="soft">line ${line}</span><bdi translate="no">${text}</bdi></div>`;
  };
  return markup`<div class="pair">${side(a, first)}${side(b, second)}</div>`;
}

/** Share of a text that another has, too, above which the rest is marked: marks all over would point out nothing. */
const ALIKE = 0.3;

function commonShare(stretches: readonly Stretch[]): number {
  const length = (of: readonly Stretch[]) => of.reduce((sum, { text }) => sum + text.length, 0);
  return length(stretches.filter(({ isCommon }) => isCommon)) / Math.max(length(stretches), 1);
}

function shown({ text, isCommon }: Stretch, isMarked: boolean): Content {
  if (isCommon) return markup`<span class="same">${oneLine(endOf(text, COMMON))}</span>`;
  if (!isMarked) return oneLine(endsOf(text, DIFFERENT));
  const blank = blankOf(text);
  return [text.slice(0, blank), markup`<mark>${oneLine(endsOf(text.slice(blank), DIFFERENT))}</mark>`];
}

/** A single blank before a word is not what differs. */
const blankOf = (text: string): number => (/^ \S/.test(text) ? 1 : 0);

/** Both ends of a text, with an ellipsis between them where it is cut. */
function endsOf(text: string, characters: number): string {
  const all = Array.from(text);
  if (all.length <= characters) return text;
  const half = Math.floor(characters / 2);
  return `${all.slice(0, half).join('')} … ${all.slice(-half).join('')}`;
}

/** The end of a text, with an ellipsis before it where it is cut. */
export function endOf(text: string, characters: number): string {
  const all = Array.from(text);
  return all.length <= characters ? text : `…${all.slice(1 - characters).join('')}`;
}
