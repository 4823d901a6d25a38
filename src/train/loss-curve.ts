import type { Evaluation } from './train.ts';

/** What the curve shows. */
export interface LossHistory {
  /** Of each step. */
  readonly losses: ArrayLike<number>;
  readonly evaluations: readonly Evaluation[];
  /** A line to beat. */
  readonly unigramLoss?: number;
}

const WIDTH = 720;
const HEIGHT = 400;
const MARGIN = { left: 56, right: 20, top: 36, bottom: 44 };
/** Points of a line; more could not be told apart. */
const POINTS = 400;

/** The losses of training as an SVG picture: each step, and held-out text. */
export function lossCurve({ losses, evaluations, unigramLoss }: LossHistory): string {
  const steps = Math.max(losses.length, evaluations.at(-1)?.step ?? 0, 1);
  const training = averaged(losses);
  const heldOut = evaluations.map(({ step, loss }) => [step, loss] as const);
  const values = [...training, ...heldOut].map(([, loss]) => loss);
  if (unigramLoss !== undefined) values.push(unigramLoss);
  const [low, high] = values.length > 0 ? [Math.min(...values), Math.max(...values)] : [0, 1];
  const yTicks = ticks(Math.min(low, high - 1e-3), high, 6);
  const [bottom, top] = [Math.min(low, yTicks[0]), Math.max(high, yTicks[yTicks.length - 1])];
  const x = (step: number) => fixed(MARGIN.left + (step / steps) * (WIDTH - MARGIN.left - MARGIN.right));
  const y = (loss: number) =>
    fixed(HEIGHT - MARGIN.bottom - ((loss - bottom) / (top - bottom)) * (HEIGHT - MARGIN.top - MARGIN.bottom));
  const line = (points: readonly (readonly [number, number])[], style: string) =>
    `<polyline fill="none" ${style} points="${points.map(([step, loss]) => `${x(step)},${y(loss)}`).join(' ')}"/>`;
  const text = (at: string, content: string) => `<text ${at}>${content}</text>`;
  const legend = (at: number, colour: string, name: string) =>
    `<rect x="${at}" y="16" width="16" height="3" fill="${colour}"/>${text(`x="${at + 22}" y="21"`, name)}`;

  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#444">`,
    `<title>Loss over ${steps} steps</title>`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#fff"/>`,
    ...yTicks.map(
      (loss) =>
        `<path stroke="#ddd" d="M${MARGIN.left},${y(loss)}H${WIDTH - MARGIN.right}"/>` +
        text(`x="${MARGIN.left - 8}" y="${y(loss) + 4}" text-anchor="end"`, String(loss)),
    ),
    ...ticks(0, steps, 6).map((step) =>
      text(`x="${x(step)}" y="${HEIGHT - MARGIN.bottom + 18}" text-anchor="middle"`, step.toLocaleString('en')),
    ),
    text(`x="${WIDTH / 2}" y="${HEIGHT - 8}" text-anchor="middle"`, 'step'),
    text(`transform="rotate(-90)" x="${-HEIGHT / 2}" y="16" text-anchor="middle"`, 'loss (nats a token)'),
    ...(unigramLoss === undefined
      ? []
      : [
          line(
            [
              [0, unigramLoss],
              [steps, unigramLoss],
            ],
            'stroke="#888" stroke-dasharray="5 4"',
          ),
          legend(340, '#888', `token frequencies alone: ${unigramLoss.toFixed(2)}`),
        ]),
    line(training, 'stroke="#9ecae1" stroke-width="1.2"'),
    line(heldOut, 'stroke="#08519c" stroke-width="2"'),
    ...heldOut.map(([step, loss]) => `<circle cx="${x(step)}" cy="${y(loss)}" r="3" fill="#08519c"/>`),
    legend(MARGIN.left, '#9ecae1', 'training'),
    legend(MARGIN.left + 100, '#08519c', `held-out text: ${evaluations.at(-1)?.loss.toFixed(3) ?? ''}`),
    '</svg>\n',
  ].join('\n');
}

/** Losses at their steps, averaged in equal groups where there are too many. */
function averaged(losses: ArrayLike<number>): (readonly [step: number, loss: number])[] {
  const group = Math.ceil(losses.length / POINTS);
  const points: (readonly [number, number])[] = [];
  for (let begin = 0; begin < losses.length; begin += group) {
    const some = Array.prototype.slice.call(losses, begin, begin + group) as number[];
    points.push([begin + (some.length + 1) / 2, some.reduce((sum, loss) => sum + loss, 0) / some.length]);
  }
  return points;
}

/** Round numbers between two others, about `count` of them. */
function ticks(low: number, high: number, count: number): number[] {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10);
  const first = Math.ceil(low / step);
  const last = Math.floor(high / step);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(10)));
}

const fixed = (value: number): number => Number(value.toFixed(1));
