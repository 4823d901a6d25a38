import { type Content, type Markup, markup } from './markup.ts';

/** Height of letters in plots. */
export const FONT = 13;

/** Width of a text in the letters of plots, as nearly as can be said without a font. */
export const textWidth = (text: string): number => 0.56 * FONT * Array.from(text).length;

/** A coordinate to a tenth. */
export const fixed = (value: number): number => Number(value.toFixed(1));

/**
 * A picture of its own, in colours for white paper; in a page its classes take the page's colours.
 *
 * @param title What it shows, in a sentence: read aloud, and shown on hovering.
 * @param kind Class of the element.
 */
export function svg(title: string, width: number, height: number, kind: string, content: Content): Markup {
  const [w, h] = [fixed(width), fixed(height)];
  return markup`<svg xmlns="http://www.w3.org/2000/svg" class="${kind}" viewBox="0 0 ${w} ${h}"
 width="${w}" height="${h}" role="img" aria-label="${title}"
 font-family="system-ui, sans-serif" font-size="${FONT}" fill="#444">
<title>${title}</title>
<rect class="ground" width="${w}" height="${h}" fill="#fff"/>
${content}</svg>
`;
}

/** A text with its anchor at (x, y). */
export const label = (x: number, y: number, text: Content, anchor: 'start' | 'middle' | 'end' = 'start'): Markup =>
  markup`<text x="${fixed(x)}" y="${fixed(y)}" text-anchor="${anchor}">${text}</text>\n`;

/** What hovering shows, as the first thing inside an element. */
export const hover = (text: string | undefined): Content =>
  text === undefined ? undefined : markup`<title>${text}</title>`;
