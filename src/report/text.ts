/** How texts and numbers are written in a report. */

import { type Markup, markup, spelledOut } from './markup.ts';

// Invisible, or able to turn the order of what stands beside them: controls, bidirectional marks, joiners, line ends.
const UNSEEN = /[\p{Cc}\p{Cs}\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/gu;

/** A token on one line, nothing hidden: spaces as `·`, line ends as `↵`, tabs as `→`, the unseen spelled out. */
export const visible = (text: string): string =>
  text.replaceAll(' ', '·').replace(/\n/g, '↵').replace(/\t/g, '→').replace(UNSEEN, spelledOut);

/** A text cut to a number of characters, with an ellipsis. */
export function cut(text: string, characters: number): string {
  const all = Array.from(text);
  return all.length <= characters ? text : `${all.slice(0, characters - 1).join('')}…`;
}

/** Three significant digits: `0.00123`, `4.1e-6`. */
export function significant(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) return value.toExponential(1);
  return size >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** A number in three digits that keeps all of them for machines, behind a sign such as `≥`. */
export const number = (value: number | undefined, sign = ''): Markup | undefined =>
  value === undefined ? undefined : markup`<data value="${value}">${sign}${significant(value)}</data>`;

/** A whole number with separators: `3,505,152`. */
export const count = (value: number): string => value.toLocaleString('en');

/** A count with its noun: `1 token`, `12 tokens`. */
export const counted = (value: number, noun: string): string => `${count(value)} ${noun}${value === 1 ? '' : 's'}`;

/** A duration: `0.84 s`, `12.3 s`, `4 min 5 s`, `2 h 3 min`. */
export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(2)} s`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 3600
    ? `${Math.floor(whole / 60)} min ${whole % 60} s`
    : `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
