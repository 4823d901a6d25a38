/** How texts and numbers are shown in a terminal. */

import { stripVTControlCharacters } from 'node:util';

export { count, counted, duration, significant } from '../report/text.ts';

const graphemes = new Intl.Segmenter();

// East Asian wide forms and emoji, which take two columns.
const WIDE =
  /^[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|^\p{Emoji_Presentation}|^[\u{20000}-\u{3fffd}]/u;

function columnsOf(text: string): number {
  let columns = 0;
  for (const { segment } of graphemes.segment(stripVTControlCharacters(text))) columns += WIDE.test(segment) ? 2 : 1;
  return columns;
}

/** A text cut to `columns` with an ellipsis: its beginning, or with `end` its end. */
export function cut(text: string, columns: number, end = false): string {
  if (columnsOf(text) <= columns) return text;
  const parts = Array.from(graphemes.segment(text), ({ segment }) => segment);
  while (columnsOf(parts.join('')) > columns - 1 && parts.length > 0) end ? parts.shift() : parts.pop();
  return end ? `…${parts.join('')}` : `${parts.join('')}…`;
}

/** A text cut or filled to exactly `columns`. */
export function cell(text: string, columns: number, align: 'left' | 'right' = 'left'): string {
  const whole = cut(text, columns);
  const fill = ' '.repeat(Math.max(0, columns - columnsOf(whole)));
  return align === 'left' ? whole + fill : fill + whole;
}

/** A text as it may go to a terminal: control characters, which could move the cursor, are spelled out. */
export function printable(text: string): string {
  return text.replace(/(?![\n\t])\p{Cc}/gu, spellOut);
}

/** A text on one line in quotes; with `visible`, spaces show as `·` and line ends as `↵`. */
export function quoted(text: string, visible = false): string {
  const line = text
    .replace(/\n/g, '↵')
    .replace(/\t/g, '→')
    .replace(/\p{Cc}/gu, spellOut);
  return `"${visible ? line.replaceAll(' ', '·') : line}"`;
}

const spellOut = (character: string): string => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** A bar that fills a share (0 to 1) of `columns`, to an eighth of a column. */
export function bar(share: number, columns: number): string {
  const eighths = Math.round(8 * columns * Math.min(Math.max(share, 0), 1));
  return '█'.repeat(Math.floor(eighths / 8)) + EIGHTHS[eighths % 8];
}

/** Bytes in binary units: `14.0 MiB`. */
export function byteSize(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];
  const unit = Math.min(Math.floor(Math.log2(Math.max(bytes, 1)) / 10), units.length - 1);
  return unit === 0 ? `${bytes} bytes` : `${(bytes / 1024 ** unit).toFixed(1)} ${units[unit]}`;
}

/** Wraps a text into lines of at most `columns`, each behind `indent`. Words longer than that stay whole. */
export function wrap(text: string, columns: number, indent: string): string {
  const lines: string[] = [];
  for (const paragraph of text.split('\n')) {
    let line = '';
    for (const word of paragraph.split(' ')) {
      if (line && columnsOf(line) + 1 + columnsOf(word) > columns - indent.length) {
        lines.push(line);
        line = word;
      } else {
        line = line ? `${line} ${word}` : word;
      }
    }
    lines.push(line);
  }
  return lines.map((line) => indent + line).join('\n');
}
