import type { Matrix } from 'ml-matrix';
import type { Context } from '../gpu/context.ts';
import { matrixFrom, product } from '../linalg/dense.ts';
import { ridged, solvePositive } from '../linalg/positive.ts';
import { matmul } from '../ops/matmul.ts';
import { readAll, type Tensor, take, upload } from '../tensor/tensor.ts';

/** Rows of a block: products over more would lose digits in f32. */
const BLOCK = 256;

/**
 * X^T Y of x [n, a] and y [n, b], each with its width: a block of rows in f32 on the GPU, the blocks summed in float64.
 * @returns [a, b]
 */
export async function crossProduct(
  context: Context,
  [x, a]: readonly [Float32Array, number],
  [y, b]: readonly [Float32Array, number],
): Promise<Matrix> {
  const total = new Float64Array(a * b);
  const n = x.length / a;
  for (let first = 0; first < n; first += 8 * BLOCK) {
    const parts = context.scope(() => {
      const products: Tensor[] = []; // (a, b)
      for (let begin = first; begin < Math.min(first + 8 * BLOCK, n); begin += BLOCK) {
        const end = Math.min(begin + BLOCK, n);
        const block = upload(context, x.subarray(begin * a, end * a), [end - begin, a]);
        const other = y === x ? block : upload(context, y.subarray(begin * b, end * b), [end - begin, b]);
        products.push(matmul(block, other, { transposeA: true }));
      }
      return products;
    });
    for (const part of await readAll(parts).finally(() => parts.forEach((tensor) => void tensor.dispose()))) {
      for (let i = 0; i < total.length; i++) total[i] += part[i];
    }
  }
  return matrixFrom(total, b);
}

/** Mean of the columns of [n, width], and the rows without it. */
export function centred(rows: Float32Array, width: number): { mean: Float64Array; rows: Float32Array } {
  const n = rows.length / width;
  const sums = new Float64Array(width);
  rows.forEach((value, i) => {
    sums[i % width] += value;
  });
  // Divided last: what never varies is left exactly zero.
  const mean = sums.map((sum) => sum / n);
  return { mean, rows: rows.map((value, i) => value - mean[i % width]) };
}

/** y ~ x A + c with the covariance of what is left. */
export interface LinearFit {
  /** [a, b] */
  readonly slope: Matrix;
  /** [b] */
  readonly intercept: Float64Array;
  /** [b, b]. From no more samples than features it is zero but for rounding: add noise before it is inverted. */
  readonly covariance: Matrix;
}

/** Share of each diagonal element that the ridge adds: in the features, and in what they leave. */
const RIDGE = { features: 1e-5, residual: 1e-4 } as const;
/** With fewer samples a feature than this, slopes follow the noise: the ridge is then chosen by samples held out. */
const PLENTY = 4;
/** Ridges that held-out samples choose from, smallest first. */
const RIDGES = [1e-3, 1e-2, 1e-1, 1, 10];

/**
 * Ridge regression of y [n, b] on features x [n, a], with the covariance of its residual.
 *
 * Where samples are few for the features (wide models, whose fit costs no more passes than others'), the ridge is the one
 * that leaves the least of samples it has not seen: two halves, each fitted alone, judge each other. What they leave of
 * each other is also what the covariance is taken of, since a fit leaves too little of its own samples; of half as many
 * it leaves rather too much.
 * @throws InputError when the features are not finite.
 */
export async function regress(
  context: Context,
  [x, a]: readonly [Float32Array, number],
  [y, b]: readonly [Float32Array, number],
): Promise<LinearFit> {
  const n = x.length / a;
  const features = centred(x, a);
  const values = centred(y, b);
  const estimate = n < PLENTY * a && n >= 2 * BLOCK ? ridgeHeldOut : ridgeOfAll;
  const { slope, covariance } = await estimate(context, [features.rows, a], [values.rows, b]);
  const shift = product(matrixFrom(features.mean, a), slope).to1DArray();
  return {
    slope,
    intercept: values.mean.map((value, j) => value - shift[j]),
    covariance: ridged(covariance, RIDGE.residual),
  };
}

type Estimate = (
  context: Context,
  x: readonly [Float32Array, number],
  y: readonly [Float32Array, number],
) => Promise<Omit<LinearFit, 'intercept'>>;

/** Slopes of all centred samples. */
const ridgeOfAll: Estimate = async (context, [x, a], [y, b]) => {
  const n = x.length / a;
  const xx = await crossProduct(context, [x, a], [x, a]);
  const xy = await crossProduct(context, [x, a], [y, b]);
  const yy = await crossProduct(context, [y, b], [y, b]);
  const slope = solvePositive(ridged(xx, RIDGE.features), xy); // (a, b)
  // (y - x A)^T (y - x A), with A^T X^T X A = A^T X^T y up to the ridge.
  const explained = product(slope.transpose(), xy);
  const left = yy.sub(explained);
  // Each feature takes a degree of freedom; where there are few samples, no more than three quarters of them.
  const covariance = left.div(Math.max(n - a, n / 4));
  return { slope, covariance: symmetric(covariance) };
};

/** Slopes of all centred samples with the ridge, and the covariance, of what each half leaves of the other. */
const ridgeHeldOut: Estimate = async (context, [x, a], [y, b]) => {
  const halves = await Promise.all(
    [0, 1].map(async (parity) => {
      const [own, seen] = [everySecondBlock(x, a, parity), everySecondBlock(y, b, parity)];
      const xx = await crossProduct(context, [own, a], [own, a]);
      return { x: own, y: seen, xx, xy: await crossProduct(context, [own, a], [seen, b]) };
    }),
  );
  let best = { ridge: 0, left: new Float32Array(), squares: Number.POSITIVE_INFINITY };
  for (const ridge of RIDGES) {
    const parts: Float32Array[] = [];
    for (const [i, { xx, xy }] of halves.entries()) {
      const other = halves[1 - i];
      const slope = solvePositive(ridged(xx, ridge), xy);
      parts.push(await leftBy(context, slope, [other.x, a], [other.y, b]));
    }
    const left = new Float32Array(y.length);
    left.set(parts[0]);
    left.set(parts[1], parts[0].length);
    const squares = left.reduce((sum, value) => sum + value * value, 0);
    if (squares >= best.squares) break;
    best = { ridge, left, squares };
  }
  const [{ xx, xy }, other] = halves;
  // The same ridge, of twice the samples.
  const slope = solvePositive(ridged(xx.clone().add(other.xx), best.ridge / 2), xy.clone().add(other.xy));
  const covariance = (await crossProduct(context, [best.left, b], [best.left, b])).div(y.length / b);
  return { slope, covariance: symmetric(covariance) };
};

const symmetric = (a: Matrix): Matrix => a.clone().add(a.transpose()).div(2);

/** y - x A */
const leftBy = (
  context: Context,
  slope: Matrix,
  [x, a]: readonly [Float32Array, number],
  [y, b]: readonly [Float32Array, number],
): Promise<Float32Array> =>
  take(
    context.scope(() => {
      const rows = upload(context, x, [x.length / a, a]);
      const minusSlope = upload(
        context,
        Float32Array.from(slope.to1DArray(), (value) => -value),
        [a, b],
      );
      return matmul(rows, minusSlope, { residual: upload(context, y, [y.length / b, b]) });
    }),
  );

/** Whole blocks, as neighbouring rows are alike: they come from one prompt. */
function everySecondBlock(rows: Float32Array, width: number, parity: number): Float32Array {
  const size = BLOCK * width;
  return rows.filter((_, i) => Math.floor(i / size) % 2 === parity);
}
