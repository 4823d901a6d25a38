import { linePlot, type Series } from '../report/line-plot.ts';
import type { Evaluation } from './train.ts';

/** What the curve shows. */
export interface LossHistory {
  /** Of each step. */
  readonly losses: ArrayLike<number>;
  readonly evaluations: readonly Evaluation[];
  /** A line to beat. */
  readonly unigramLoss?: number;
}

/** Points of a line; more could not be told apart. */
const POINTS = 400;

/** The losses of training as an SVG picture: each step, and held-out text. */
export function lossCurve({ losses, evaluations, unigramLoss }: LossHistory): string {
  const steps = Math.max(losses.length, evaluations.at(-1)?.step ?? 0, 1);
  const heldOut = evaluations.map(({ step, loss }) => ({ x: step, y: loss }));
  const last = evaluations.at(-1)?.loss.toFixed(3);
  const level = (y: number): Series => ({
    name: `token frequencies alone: ${y.toFixed(2)}`,
    points: [0, steps].map((x) => ({ x, y })),
    style: 'line',
    dashed: true,
    muted: true,
  });
  const plot = linePlot({
    title: `Loss over ${steps} steps`,
    x: { label: 'step' },
    y: { label: 'loss (nats a token)' },
    width: 720,
    height: 400,
    series: [
      ...(unigramLoss === undefined ? [] : [level(unigramLoss)]),
      { name: 'training', points: averaged(losses), style: 'line', width: 1.2 },
      { name: last === undefined ? 'held-out text' : `held-out text: ${last}`, points: heldOut },
    ],
  });
  return String(plot);
}

/** Losses at their steps, averaged in equal groups where there are too many. */
function averaged(losses: ArrayLike<number>): { readonly x: number; readonly y: number }[] {
  const group = Math.ceil(losses.length / POINTS);
  const points: { x: number; y: number }[] = [];
  for (let begin = 0; begin < losses.length; begin += group) {
    const some = Array.prototype.slice.call(losses, begin, begin + group) as number[];
    points.push({ x: begin + (some.length + 1) / 2, y: some.reduce((sum, loss) => sum + loss, 0) / some.length });
  }
  return points;
}
