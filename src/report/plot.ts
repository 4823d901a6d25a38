import { type Axis, linearAxis, logAxis, tickText } from './axis.ts';
import { MUTED, SERIES } from './colours.ts';
import { type Content, type Markup, markup } from './markup.ts';
import { fixed, label, svg, textWidth } from './svg.ts';

/** What a plot says in words, and its size in units of its own: pixels, if it is shown as it is. */
export interface PlotOptions {
  /** What it shows, in a sentence: read aloud, and shown on hovering. */
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

/** An entry of the legend: its name, and what is drawn around the middle of a line 24 wide. */
export interface LegendEntry {
  readonly name: string;
  readonly key: (x: number, y: number) => Content;
}

/** From values to coordinates. */
export interface Place {
  x(value: number): number;
  y(value: number): number;
  /** The y of the low end. */
  readonly bottom: number;
}

const ROW = 20;
const INSET = 8;

/**
 * The axes and the legend of a plot, with what `draw` puts between them.
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
  const across = x.log ? logAxis(xs) : linearAxis(xs, Math.floor(width / 80), false);
  const up = y.log ? logAxis(ys, 5) : linearAxis(ys, 5);
  const rows = legendRows(legend, width - 24);
  const top = 16 + ROW * (rows.length + 1);
  const left = 20 + Math.max(...up.ticks.map((tick) => textWidth(tickText(tick))));
  const [right, bottom] = [width - 16, height - 44];
  const place: Place = {
    x: (value) => fixed(left + INSET + across.at(value) * (right - left - 2 * INSET)),
    y: (value) => fixed(bottom - up.at(value) * (bottom - top)),
    bottom,
  };
  const keys = rows.map((row, i) =>
    row.map(({ entry, at }) => [entry.key(at + 12, 16 + ROW * i), label(at + 30, 20 + ROW * i, entry.name)]),
  );
  return svg(title, width, height, 'plot', [
    keys,
    label(12, top - 10, y.label),
    horizontals(up, place, left, right),
    verticals(across, place),
    label((left + right) / 2, height - 8, x.label, 'middle'),
    draw(place),
  ]);
}

const horizontals = (axis: Axis, place: Place, left: number, right: number): Content =>
  axis.ticks.map((tick) => {
    const y = place.y(tick);
    const line = markup`<path class="grid" stroke="#ddd" d="M${fixed(left)},${y}H${right}"/>`;
    return [line, label(left - 6, y + 4, tickText(tick), 'end')];
  });

const verticals = (axis: Axis, place: Place): Content =>
  axis.ticks.map((tick) => {
    const x = place.x(tick);
    const line = markup`<path class="grid" stroke="#999" d="M${x},${place.bottom}v4"/>`;
    return [line, label(x, place.bottom + 18, tickText(tick), 'middle')];
  });

/** Entries side by side as long as there is room. */
function legendRows(legend: readonly LegendEntry[], width: number) {
  const rows: { entry: LegendEntry; at: number }[][] = [];
  let at = Number.POSITIVE_INFINITY;
  for (const entry of legend) {
    const needed = 30 + textWidth(entry.name) + 16;
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
