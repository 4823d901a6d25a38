import { type Axis, linearAxis, logAxis, tickText } from './axis.ts';
import { MUTED, SERIES } from './colours.ts';
import { type Content, type Markup, markup } from './markup.ts';

/** What a picture says in words, and its size in units of its own: pixels, if it is shown as it is. */
export interface PlotOptions {
  /** What the picture shows, in a sentence: read aloud, and shown on hovering. */
  readonly title: string;
  readonly x: AxisOptions;
  readonly y: AxisOptions;
  /** Default 480. */
  readonly width?: number;
  /** Default 300. */
  readonly height?: number;
}

/** One direction of a plot. */
export interface AxisOptions {
  readonly label: string;
  /** Logarithmic; what is not positive is drawn at the low end. */
  readonly log?: boolean;
}

/** An entry of the legend: its name, and what is drawn at the middle of a line 24 wide. */
export interface LegendEntry {
  readonly name: string;
  readonly key: (x: number, y: number) => Content;
}

/** From values to coordinates, and the edges of the space for marks. */
export interface Place {
  x(value: number): number;
  y(value: number): number;
  readonly bottom: number;
}

const FONT = 13;
/** Width of a character on the average. */
const CHARACTER = 0.56 * FONT;
const ROW = 20;
const INSET = 8;

/**
 * The axes of a plot with what `draw` puts between them. The picture is whole by itself, in colours for white paper;
 * in a page its classes take the page's colours.
 *
 * @param xs All values that must fit. @param ys As `xs`.
 */
export function plot(
  { title, x, y, width = 480, height = 300 }: PlotOptions,
  xs: readonly number[],
  ys: readonly number[],
  legend: readonly LegendEntry[],
  draw: (place: Place) => Content,
): Markup {
  const rows = legendRows(legend, width - 24);
  const across = x.log ? logAxis(xs) : linearAxis(xs, Math.floor(width / 80), false);
  const up = y.log ? logAxis(ys, 5) : linearAxis(ys, 5);
  const left = 20 + CHARACTER * Math.max(...up.ticks.map((tick) => tickText(tick).length));
  const top = 16 + ROW * rows.length + ROW;
  const [right, bottom] = [width - 16, height - 44];
  const place: Place = {
    x: (value) => fixed(left + INSET + across.at(value) * (right - left - 2 * INSET)),
    y: (value) => fixed(bottom - up.at(value) * (bottom - top)),
    bottom,
  };
  return markup`<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${title}" font-family="system-ui, sans-serif" font-size="${FONT}" fill="#444">
<title>${title}</title>
<rect class="ground" width="${width}" height="${height}" fill="#fff"/>
${rows.map((row, i) => row.map(({ entry, at }) => markup`${entry.key(at + 12, 16 + ROW * i)}<text x="${at + 30}" y="${20 + ROW * i}">${entry.name}</text>\n`))}<text x="${12}" y="${top - 10}">${y.label}</text>
${horizontals(up, place, left, right)}${verticals(across, place, bottom)}<text x="${fixed((left + right) / 2)}" y="${height - 8}" text-anchor="middle">${x.label}</text>
${draw(place)}</svg>
`;
}

const horizontals = (axis: Axis, place: Place, left: number, right: number): Content =>
  axis.ticks.map((tick) => {
    const y = place.y(tick);
    return markup`<path class="grid" stroke="#ddd" d="M${fixed(left)},${y}H${right}"/><text x="${fixed(left - 6)}" y="${fixed(y + 4)}" text-anchor="end">${tickText(tick)}</text>\n`;
  });

const verticals = (axis: Axis, place: Place, bottom: number): Content =>
  axis.ticks.map((tick) => {
    const x = place.x(tick);
    return markup`<path class="grid" stroke="#999" d="M${x},${bottom}v4"/><text x="${x}" y="${bottom + 18}" text-anchor="middle">${tickText(tick)}</text>\n`;
  });

/** Entries side by side as long as there is room. */
function legendRows(legend: readonly LegendEntry[], width: number) {
  const rows: { entry: LegendEntry; at: number }[][] = [];
  let at = Number.POSITIVE_INFINITY;
  for (const entry of legend) {
    const needed = 30 + CHARACTER * entry.name.length + 16;
    if (at + needed > width) {
      rows.push([]);
      at = 12;
    }
    rows[rows.length - 1].push({ entry, at: fixed(at) });
    at += needed;
  }
  return rows;
}

/** The class by which a page colours a series, its colour without a page, and its place in the palette. */
export interface Colour {
  readonly index: number;
  readonly name: string;
  readonly colour: string;
}

/** The colour of a series by its place in the palette; without one it is muted. */
export function seriesColour(index: number | undefined): Colour {
  if (index === undefined) return { index: 0, name: 'muted', colour: MUTED.light };
  return { index, name: `s${index % SERIES.length}`, colour: SERIES[index % SERIES.length].light };
}

/** A coordinate to a tenth. */
export const fixed = (value: number): number => Number(value.toFixed(1));
