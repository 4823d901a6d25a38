import { linearAxis } from '../../report/axis.ts';
import { linePlot, type PlotPoint, type Series } from '../../report/line-plot.ts';
import type { Markup } from '../../report/markup.ts';
import { POINT } from './denoiser.ts';

/** What the figure shows. */
export interface NoiseFigure {
  /** What it shows, in a sentence. */
  readonly title: string;
  /** Of the model, from random noise, [n, 2]. */
  readonly samples: Float32Array;
  /** [m, 2] */
  readonly targets: ArrayLike<number>;
  /** The points before the first step, which are the noises found, and after each: [m, 2] each. */
  readonly states: readonly Float32Array[];
}

const WIDTH = 560;
/** What labels, ticks and the legend take of the width and of the height. */
const MARGINS = { width: 66, height: 120 };

/** The noise found for each target and the way the model takes from there to it, before samples of the model. */
export function noiseFigure({ title, samples, targets, states }: NoiseFigure): Markup {
  const ways = Array.from({ length: targets.length / POINT }, (_, i) => [
    ...states.map((points) => pointAt(points, i)),
    { x: 0, y: undefined }, // the line breaks here
  ]);
  const series: Series[] = [
    { name: 'samples of the model', points: pointsOf(samples), style: 'points', muted: true },
    { name: 'way of the model', points: ways.flat(), style: 'line', width: 1 },
    { name: 'noise found', points: pointsOf(states[0]), style: 'points' },
    { name: 'target', points: pointsOf(targets), style: 'points' },
  ];
  return linePlot({
    title,
    x: { label: 'first coordinate' },
    y: { label: 'second coordinate' },
    series,
    width: WIDTH,
    height: heightOf(series),
  });
}

/** At which both axes have one scale; the vertical one goes from tick to tick. */
function heightOf(series: readonly Series[]): number {
  const shown = series.flatMap(({ points }) => points).filter(({ y }) => y !== undefined);
  const [xs, ys] = [shown.map(({ x }) => x), shown.map(({ y }) => y!)];
  const [across, up] = [linearAxis(xs, 6, false), linearAxis(ys, 5)];
  const scale = (WIDTH - MARGINS.width) / (across.high - across.low);
  return Math.round(MARGINS.height + scale * (up.high - up.low));
}

const pointsOf = (points: ArrayLike<number>): PlotPoint[] =>
  Array.from({ length: points.length / POINT }, (_, i) => pointAt(points, i));

function pointAt(points: ArrayLike<number>, i: number): PlotPoint {
  const [x, y] = [points[POINT * i], points[POINT * i + 1]];
  return { x, y, label: `(${x.toFixed(2)}, ${y.toFixed(2)})` };
}
