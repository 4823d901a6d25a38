import { tickText } from './axis.ts';
import { type Content, type Markup, markup } from './markup.ts';
import { type Colour, type PlotOptions, plot, seriesColour } from './plot.ts';
import { fixed, hover } from './svg.ts';

/** A point of a series; where `y` is missing or no finite number, the line is broken. */
export interface PlotPoint {
  readonly x: number;
  readonly y: number | undefined;
  /** What hovering shows; default `x: y`. */
  readonly label?: string;
  /** Drawn hollow: a bound rather than a value, say. */
  readonly open?: boolean;
}

/** Points that belong together. */
export interface Series {
  readonly name: string;
  readonly points: readonly PlotPoint[];
  /** Default `both`. */
  readonly style?: 'line' | 'points' | 'both';
  readonly dashed?: boolean;
  /** Thin and grey, behind the others. */
  readonly muted?: boolean;
  /** Width of the line; default 2, of a muted one 1.5. */
  readonly width?: number;
}

/** Series of points as a picture. Their points differ in shape as well as in colour. */
export function linePlot(options: PlotOptions & { readonly series: readonly Series[] }): Markup {
  const { series } = options;
  const shown = series.map(({ points }) => points.filter(isFinitePoint));
  const colours = coloursOf(series);
  const legend = series.map((one, i) => ({
    name: one.name,
    key: (x: number, y: number) => [
      one.style === 'points' ? [] : markup`<path ${stroke(one, colours[i])} d="M${x - 12},${y}h24"/>`,
      one.style === 'line' ? [] : marker(colours[i], x, y),
    ],
  }));
  const xs = shown.flatMap((points) => points.map(({ x }) => x));
  const ys = shown.flatMap((points) => points.map(({ y }) => y));
  return plot(options, xs, ys, legend, (place) =>
    series.map((one, i) => {
      const at = ({ x, y }: FinitePoint) => `${place.x(x)},${place.y(y)}`;
      const runs = one.style === 'points' ? [] : runsOf(one.points);
      const dots = one.style === 'line' ? runs.filter((run) => run.length === 1).flat() : shown[i];
      return [
        runs.filter((run) => run.length > 1).map((run) => line(one, colours[i], run.map(at))),
        dots.map(({ x, y, label = `${tickText(x)}: ${y}`, open }) =>
          marker(colours[i], place.x(x), place.y(y), open, `${one.name}, ${label}`),
        ),
      ];
    }),
  );
}

type FinitePoint = PlotPoint & { readonly y: number };

const isFinitePoint = (point: PlotPoint): point is FinitePoint =>
  point.y !== undefined && Number.isFinite(point.y) && Number.isFinite(point.x);

/** Colours go to series that are not muted, in their order. */
function coloursOf(series: readonly Series[]): Colour[] {
  let next = 0;
  return series.map(({ muted }) => seriesColour(muted ? undefined : next++));
}

/** Points without a gap between them. */
function runsOf(points: readonly PlotPoint[]): FinitePoint[][] {
  const runs: FinitePoint[][] = [[]];
  for (const point of points) {
    if (isFinitePoint(point)) runs[runs.length - 1].push(point);
    else if (runs[runs.length - 1].length > 0) runs.push([]);
  }
  return runs;
}

function line(one: Series, colour: Colour, points: readonly string[]): Markup {
  return markup`<polyline ${stroke(one, colour)} points="${points.join(' ')}"/>\n`;
}

function stroke({ dashed, muted, width = muted ? 1.5 : 2 }: Series, { name, colour }: Colour): Markup {
  const dashes = dashed ? markup` stroke-dasharray="5 4"` : '';
  return markup`class="${name} line" fill="none" stroke="${colour}" stroke-width="${width}"${dashes}`;
}

/** Circle, square, diamond, triangle: all within a square of 8. */
const SHAPES: readonly ((x: number, y: number) => string)[] = [
  (x, y) => `M${fixed(x - 3.5)},${y}a3.5,3.5 0 1 0 7,0a3.5,3.5 0 1 0 -7,0z`,
  (x, y) => `M${fixed(x - 3)},${fixed(y - 3)}h6v6h-6z`,
  (x, y) => `M${x},${fixed(y - 4.5)}l4,4.5l-4,4.5l-4,-4.5z`,
  (x, y) => `M${x},${fixed(y - 4)}l4,7h-8z`,
];

function marker({ index, name, colour }: Colour, x: number, y: number, open = false, title?: string): Content {
  const look = markup`class="${name} ${open ? 'open' : 'dot'}" fill="${open ? '#fff' : colour}" stroke="${colour}"`;
  return markup`<path ${look} d="${SHAPES[index % SHAPES.length](x, y)}">${hover(title)}</path>\n`;
}
