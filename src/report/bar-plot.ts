import { type Markup, markup } from './markup.ts';
import { type PlotOptions, plot, seriesColour } from './plot.ts';
import { fixed, hover } from './svg.ts';
import { count, significant } from './text.ts';

/** One bar, from one value of x to another. */
export interface Bin {
  readonly from: number;
  readonly to: number;
  readonly value: number;
  /** What hovering shows; default `from to to: value`. */
  readonly label?: string;
}

/** Bars that stand side by side: a histogram, once `bins` has counted. */
export function barPlot(options: PlotOptions & { readonly bars: readonly Bin[] }): Markup {
  const { bars } = options;
  const xs = bars.flatMap(({ from, to }) => [from, to]);
  const { name, colour } = seriesColour(0);
  const ys = [...(options.y.log ? [1] : [0]), ...bars.map(({ value }) => value)];
  return plot(options, xs, ys, [], (place) =>
    bars.map(({ from, to, value, label = `${significant(from)} to ${significant(to)}: ${count(value)}` }) => {
      const [left, right, top] = [place.x(from), place.x(to), value > 0 ? place.y(value) : place.bottom];
      const size = markup`width="${fixed(Math.max(right - left - 1, 1))}" height="${fixed(place.bottom - top)}"`;
      const box = markup`x="${left}" y="${top}" ${size}`;
      return markup`<rect class="${name} dot" fill="${colour}" ${box}>${hover(label)}</rect>\n`;
    }),
  );
}

/**
 * Counts values in bins of equal width, or of equal ratio.
 *
 * @param log Bins of equal ratio; values that are not positive count in the first.
 */
export function bins(values: readonly number[], number = 24, log = false): Bin[] {
  const finite = values.filter(Number.isFinite);
  const spread = log ? finite.filter((value) => value > 0) : finite;
  if (spread.length === 0) return [];
  const into = log ? Math.log : (value: number) => value;
  const outOf = log ? Math.exp : (value: number) => value;
  const least = spread.reduce((a, b) => Math.min(a, b));
  const most = spread.reduce((a, b) => Math.max(a, b));
  if (least === most)
    return [{ from: least - Math.abs(least) / 10, to: most + Math.abs(most) / 10, value: finite.length }];
  const low = into(least);
  const step = (into(most) - low) / number;
  const counts = new Array<number>(number).fill(0);
  for (const value of finite) {
    const bin = log && value <= 0 ? 0 : Math.floor((into(value) - low) / step);
    counts[Math.min(Math.max(bin, 0), number - 1)]++;
  }
  const edges = Array.from({ length: number + 1 }, (_, i) => (i < number ? outOf(low + i * step) : most));
  return counts.map((value, i) => ({ from: edges[i], to: edges[i + 1], value }));
}
