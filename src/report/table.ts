import { type Content, type Markup, markup } from './markup.ts';

/** A column of a table. */
export interface Column {
  readonly title: string;
  /** Of figures. */
  readonly isNumber?: boolean;
}

/** A row of a table. */
export interface Row {
  /** One for each column; the first heads the row. */
  readonly cells: readonly Content[];
  /** What is to be said about the row, below it. */
  readonly note?: Content;
  /** Makes the row a place to link to. */
  readonly id?: string;
  /** `bad` and `warn` are tinted. */
  readonly kind?: 'bad' | 'warn';
}

/** A table that scrolls by itself where it is wider than the page. */
export function table(caption: string, columns: readonly Column[], rows: readonly Row[]): Markup {
  const kind = (i: number) => (columns[i]?.isNumber ? markup` class="number"` : '');
  const head = columns.map(({ title }, i) => markup`<th scope="col"${kind(i)}>${title}</th>`);
  const body = rows.map(({ cells, note, id, kind: tint }) => {
    const [first, ...rest] = cells;
    const attributes = [
      id === undefined ? '' : markup` id="${id}"`,
      tint === undefined ? '' : markup` class="${tint}"`,
    ];
    const others = rest.map((cell, i) => markup`<td${kind(i + 1)}>${cell}</td>`);
    const line = markup`<tr${attributes}><th scope="row"${kind(0)}>${first}</th>${others}</tr>\n`;
    if (note === undefined) return line;
    const noteClass = tint === undefined ? 'note' : `note ${tint}`;
    return markup`${line}<tr class="${noteClass}"><td colspan="${columns.length}">${note}</td></tr>\n`;
  });
  return scrolling(
    caption,
    markup`<table>
<caption><span>${caption}</span></caption>
<thead><tr>${head}</tr></thead>
<tbody>
${body}</tbody>
</table>`,
  );
}

/** A picture with what is to be said about it. */
export const figure = (picture: Content, caption: Content): Markup =>
  markup`<figure>${picture}<figcaption>${caption}</figcaption></figure>\n`;

/** What may be wider than the page, in a box that scrolls, by keyboard too. */
export const scrolling = (name: string, content: Markup): Markup =>
  markup`<div class="scroll" role="region" aria-label="${name}" tabindex="0">${content}</div>\n`;
