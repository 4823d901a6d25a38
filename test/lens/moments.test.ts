import { Matrix } from 'ml-matrix';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { type Context, createContext } from '../../src/gpu/context.ts';
import { NOISE_FLOOR } from '../../src/lens/lens.ts';
import { centred, crossProduct, type LinearFit, regress } from '../../src/lens/moments.ts';
import { matrixFrom } from '../../src/linalg/dense.ts';
import { ridged, solvePositive, whitener } from '../../src/linalg/positive.ts';
import { seededRandom } from '../../src/reference/random.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const normal = (seed: number, size: number): Float32Array => Float32Array.from(seededRandom(seed).normal(size));
const largest = (a: Matrix): number => Math.max(...a.to1DArray().map(Math.abs));

/** Rows x A + c, rounded to f32. */
function mapped(x: Float32Array, slope: Matrix, intercept: readonly number[]): Float32Array {
  const y = matrixFrom(x, slope.rows).mmul(slope);
  return Float32Array.from(y.to1DArray(), (value, i) => value + intercept[i % intercept.length]);
}

describe.each(['cpu', 'hardware'] as const)('a cross product, with kernels for %s adapters', (kind) => {
  test.each([1, 255, 256, 257, 2049])('over %i rows is that of float64, to rounding of f32', async (n) => {
    const on = await createContext({ device: context.device, kind });
    const [a, b] = [7, 3];
    const x = normal(n, n * a).map((value, i) => (i % a === 2 ? 1000 * value : value));
    const y = normal(n + 1, n * b);
    const { liveBytes } = on.pool.statistics;
    const got = await crossProduct(on, [x, a], [y, b]);
    expect(on.pool.statistics.liveBytes).toBe(liveBytes);
    on.destroy();
    const [left, right] = [matrixFrom(x, a), matrixFrom(y, b)];
    const want = left.transpose().mmul(right);
    for (let i = 0; i < a; i++) {
      for (let j = 0; j < b; j++) {
        const size = left.getColumnVector(i).norm('frobenius') * right.getColumnVector(j).norm('frobenius');
        expect(Math.abs(got.get(i, j) - want.get(i, j))).toBeLessThan(1e-6 * size);
      }
    }
  });
});

test('rows are centred about their mean, whatever its size', () => {
  const x = normal(1, 1000 * 3).map((value, i) => value + [0, 5, -3000][i % 3]);
  const { mean, rows } = centred(x, 3);
  expect(centred(rows, 3).mean.every((left) => Math.abs(left) < 1e-6)).toBe(true);
  expect(mean[2]).toBeCloseTo(-3000, 0);
});

const [ROWS, FEATURES, VALUES] = [3000, 12, 5];
const slope = matrixFrom(normal(2, FEATURES * VALUES), VALUES);
const intercept = [3, -1, 0, 100, 0.5];
const x = normal(3, ROWS * FEATURES);
const clean = mapped(x, slope, intercept);
/** Rows of normal numbers times this make the noise. */
const mix = matrixFrom(normal(4, VALUES * VALUES), VALUES).mul(0.3);
const noise = mapped(normal(5, ROWS * VALUES), mix, [0]);
const noisy = clean.map((value, i) => value + noise[i]);

const fitted = (features: Float32Array, values: Float32Array, a = FEATURES): Promise<LinearFit> =>
  regress(context, [features, a], [values, VALUES]);

describe('a regression', () => {
  test('recovers a linear map and its intercept, and leaves next to nothing', async () => {
    const found = await fitted(x, clean);
    expect(largest(Matrix.sub(found.slope, slope))).toBeLessThan(1e-4);
    found.intercept.forEach((value, j) => {
      expect(Math.abs(value - intercept[j])).toBeLessThan(1e-4);
    });
    expect(largest(found.covariance)).toBeLessThan(1e-3);
  });

  test('under noise finds the map to within it, and the covariance of the noise', async () => {
    const found = await fitted(x, noisy);
    expect(largest(Matrix.sub(found.slope, slope))).toBeLessThan(0.06);
    // Whitened by what was found, the truth is the identity but for 1 / sqrt(n).
    const white = whitener(found.covariance);
    const seen = white.transpose().mmul(mix.transpose()).mmul(mix).mmul(white);
    expect(largest(seen.sub(Matrix.eye(VALUES)))).toBeLessThan(0.15);
  });

  test('of few samples does not take the noise for smaller than it is', async () => {
    // 20 samples for 12 features and a mean: the fit takes 13 of 20 parts of the noise with it.
    let sum = 0;
    for (let seed = 0; seed < 30; seed++) {
      const found = await fitted(normal(100 + seed, 20 * FEATURES), normal(200 + seed, 20 * VALUES));
      sum += found.covariance.trace() / VALUES / 30;
    }
    expect(sum).toBeGreaterThan(0.8);
    expect(sum).toBeLessThan(1.2);
  });

  test.each([
    ['a constant feature', (value: number, i: number) => (i % FEATURES === 4 ? 7 : value)],
    ['a feature that is zero', (value: number, i: number) => (i % FEATURES === 4 ? 0 : value)],
    ['a feature twice', (value: number, i: number) => (i % FEATURES === 4 ? x[i + 1] : value)],
    ['only constant features', (_: number, i: number) => i % FEATURES],
  ])('on %s stays finite, and predicts as well as can be', async (_, change) => {
    const features = x.map(change);
    const found = await fitted(features, noisy);
    expect(largest(found.slope)).toBeLessThan(10);
    const left = residual(found, features, noisy);
    const best = residual(exactFit(features, noisy), features, noisy);
    expect(left / best).toBeLessThan(1.001);
    expect(() => whitener(found.covariance)).not.toThrow();
  });

  test.each([1, 2, 5, 13])('of %i samples, fewer than it needs, leaves nothing but rounding', async (rows) => {
    const values = noisy.slice(0, rows * VALUES);
    const found = await fitted(x.slice(0, rows * FEATURES), values);
    expect(largest(found.slope)).toBeLessThan(100);
    // The least noise that a scorer allows for makes it definite.
    const noise = NOISE_FLOOR ** 2 * (values.reduce((sum, value) => sum + value ** 2, 0) / values.length);
    expect(() => whitener(found.covariance.add(Matrix.eye(VALUES).mul(noise)))).not.toThrow();
  });
});

describe('the small coordinates keep their digits', () => {
  test.each([
    [
      'beside a coordinate 3000 times larger',
      (value: number, i: number) => (i % FEATURES === 5 ? 3000 * value : value),
    ],
    ['beside an offset of 3000', (value: number, i: number) => (i % FEATURES === 5 ? 3000 + value : value)],
    [
      // As behind the first position of GPT-2: one row in 40 has a massive coordinate, and others that go with it.
      'where one row in 40 is massive',
      (value: number, i: number) =>
        Math.floor(i / FEATURES) % 40 === 0 ? ([2700, -300, 30, 8][i % FEATURES] ?? value) : value,
    ],
  ])('%s', async (_, change) => {
    const features = x.map(change);
    const found = await fitted(features, noisy);
    const want = exactFit(features, noisy);
    // What the two predict differs by far less than what either leaves.
    const apart = residual({ slope: Matrix.sub(found.slope, want.slope) }, features, new Float32Array(noisy.length));
    expect(apart / residual(want, features, noisy)).toBeLessThan(1e-3);
  });

  test('in the states that are predicted, too', async () => {
    const values = noisy.map((value, i) => (i % VALUES === 1 ? 3000 * value : value));
    const [found, plain] = [await fitted(x, values), await fitted(x, noisy)];
    for (const j of [0, 2, 3, 4]) {
      expect(largest(found.slope.getColumnVector(j).sub(plain.slope.getColumnVector(j)))).toBeLessThan(1e-5);
      expect(found.covariance.get(j, j) / plain.covariance.get(j, j)).toBeCloseTo(1, 3);
      expect(found.covariance.get(j, 1) / 3000 / plain.covariance.get(j, 1)).toBeCloseTo(1, 2);
    }
  });
});

describe('of many features for its samples, a regression', () => {
  const [many, samples] = [240, 700];
  const wide = normal(11, 2 * samples * many);
  const [seen, fresh] = [wide.subarray(0, samples * many), wide.subarray(samples * many)];
  const errors = normal(12, 2 * samples * VALUES);
  /** Values that a map of this size explains in part; of samples to fit to, and of others. */
  function valuesBy(size: number): [Float32Array, Float32Array] {
    const map = matrixFrom(normal(13, many * VALUES), VALUES).mul(size / Math.sqrt(many));
    const all = mapped(wide, map, [2]).map((value, i) => value + errors[i]);
    return [all.subarray(0, samples * VALUES), all.subarray(samples * VALUES)];
  }

  // A map hidden in the noise, one half as large as it, and one that stands out of it.
  test.each([0, 0.5, 5])('predicts others as well as the best ridge does, with a map of size %d', async (size) => {
    const [values, others] = valuesBy(size);
    const found = await fitted(seen, values, many);
    const left = (slope: Matrix) => residual({ slope }, fresh, others, many);
    const of = [1e-5, 1e-3, 1e-2, 0.1, 0.3, 1, 3, 10].map((ridge) => left(exactFit(seen, values, ridge, many).slope));
    expect(left(found.slope) / Math.min(...of)).toBeLessThan(1.05);
    // The plain one follows the noise.
    if (size < 5) expect(left(found.slope) / of[0]).toBeLessThan(0.95);
  });

  test.each([0, 0.5, 5])('does not promise to be nearer to others than it is, with a map of size %d', async (size) => {
    const [values, others] = valuesBy(size);
    const { slope, intercept, covariance } = await fitted(seen, values, many);
    const off = matrixFrom(others, VALUES)
      .sub(matrixFrom(fresh, many).mmul(slope))
      .subRowVector([...intercept]);
    const distance = off.mmul(whitener(covariance)).norm('frobenius') ** 2 / off.rows / VALUES;
    // A half alone predicts worse than all do: where there is much to predict, the covariance errs on the wide side.
    expect(distance).toBeGreaterThan(0.3);
    expect(distance).toBeLessThan(1.15);
  });
});

/** The same ridge regression in float64 throughout. */
function exactFit(features: Float32Array, values: Float32Array, ridge = 1e-5, a = FEATURES): { slope: Matrix } {
  const [left, right] = [matrixFrom(features, a), matrixFrom(values, VALUES)].map((m) => m.center('column'));
  const gram = left.transpose().mmul(left);
  return { slope: solvePositive(ridged(gram, ridge), left.transpose().mmul(right)) };
}

/** Root mean square of what a slope leaves of values, about their mean. */
function residual(
  { slope }: Pick<LinearFit, 'slope'>,
  features: Float32Array,
  values: Float32Array,
  a = FEATURES,
): number {
  const predicted = matrixFrom(features, a).center('column').mmul(slope);
  const left = matrixFrom(values, VALUES).center('column').sub(predicted);
  return left.norm('frobenius') / Math.sqrt(values.length);
}
