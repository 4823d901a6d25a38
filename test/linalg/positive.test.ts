import { Matrix } from 'ml-matrix';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { matrixFrom } from '../../src/linalg/dense.ts';
import { principalAxes, ridged, solvePositive, whitener } from '../../src/linalg/positive.ts';
import { seededRandom } from '../../src/reference/random.ts';

/** A [rows, columns] matrix of standard normal numbers. */
const normal = (seed: number, rows: number, columns: number): Matrix =>
  matrixFrom(seededRandom(seed).normal(rows * columns), columns);

/** An orthonormal basis of R^n, as columns. */
const rotation = (seed: number, n: number): Matrix => principalAxes(Matrix.eye(n, n), n).mmul(turns(seed, n));

/** Givens rotations of every pair of neighbours, by random angles. */
function turns(seed: number, n: number): Matrix {
  const { next } = seededRandom(seed);
  let all = Matrix.eye(n, n);
  for (let i = 0; i + 1 < n; i++) {
    const [c, s] = [Math.cos(6 * next()), 0];
    const turn = Matrix.eye(n, n);
    turn.set(i, i, c + s);
    turn.set(i + 1, i + 1, c);
    turn.set(i, i + 1, Math.sqrt(1 - c * c));
    turn.set(i + 1, i, -Math.sqrt(1 - c * c));
    all = all.mmul(turn);
  }
  return all;
}

/** U diag(values) U^T, exactly symmetric. */
function withSpectrum(u: Matrix, values: readonly number[]): Matrix {
  const a = u.mmul(Matrix.diag([...values])).mmul(u.transpose());
  return a.clone().add(a.transpose()).div(2);
}

/** A symmetric positive definite matrix with a condition number of about 1e4. */
const positive = (seed: number, n: number): Matrix =>
  withSpectrum(
    rotation(seed, n),
    Array.from({ length: n }, (_, i) => 10 ** (4 * (1 - (i + 1) / n))),
  );

const largest = (a: Matrix): number => a.to1DArray().reduce((most, value) => Math.max(most, Math.abs(value)), 0);
const gap = (a: Matrix, b: Matrix): number => largest(Matrix.sub(a, b));

const SIZES = [1, 2, 3, 7, 63, 65];

describe.each(SIZES)('of %i coordinates', (n) => {
  const a = positive(n, n);

  test('the whitener L has L L^T A = I, and gives samples of covariance A the covariance I', () => {
    const l = whitener(a);
    expect(gap(l.mmul(l.transpose()).mmul(a), Matrix.eye(n, n))).toBeLessThan(1e-9);
    expect(gap(l.transpose().mmul(a).mmul(l), Matrix.eye(n, n))).toBeLessThan(1e-11);
  });

  test.each([1, 3, 65])('a system with %i right-hand sides is solved', (columns) => {
    const x = normal(n + columns, n, columns);
    const b = a.mmul(x);
    const before = [a.clone(), b.clone()];
    expect(gap(solvePositive(a, b), x)).toBeLessThan(1e-9);
    expect([a, b]).toEqual(before);
  });

  test('principal axes are orthonormal however many are asked for', () => {
    for (const count of new Set([1, Math.ceil(n / 2), n])) {
      const axes = principalAxes(a, count);
      expect([axes.rows, axes.columns]).toEqual([n, count]);
      expect(gap(axes.transpose().mmul(axes), Matrix.eye(count, count))).toBeLessThan(1e-12);
    }
  });
});

describe('principal axes', () => {
  const n = 40;
  const u = rotation(3, n);
  /** Share of the unit vector u_i that lies in the span of the axes. */
  const held = (axes: Matrix, i: number) => axes.transpose().mmul(u.getColumnVector(i)).norm('frobenius');

  test('of a known spectrum are its own, largest first', () => {
    const a = withSpectrum(
      u,
      Array.from({ length: n }, (_, i) => 10 / (1 + i) ** 2),
    );
    const axes = principalAxes(a, 5);
    for (let i = 0; i < 5; i++) {
      expect(Math.abs(u.getColumnVector(i).transpose().mmul(axes.getColumnVector(i)).get(0, 0))).toBeGreaterThan(0.999);
    }
  });

  test('span the leading subspace where eigenvalues repeat', () => {
    const a = withSpectrum(u, [...new Array(6).fill(4), ...new Array(n - 6).fill(0.5)]);
    const axes = principalAxes(a, 6);
    for (let i = 0; i < 6; i++) expect(held(axes, i)).toBeGreaterThan(1 - 1e-12);
  });

  test('of as many as there are coordinates span them all, and carry the whole variance', () => {
    const a = positive(5, n);
    const axes = principalAxes(a, n);
    expect(axes.transpose().mmul(a).mmul(axes).trace()).toBeCloseTo(a.trace(), 6);
    for (let i = 0; i < n; i++) expect(held(axes, i)).toBeCloseTo(1, 10);
  });

  test.each([
    ['of rank 2, as that of three tokens is', [3, 1]],
    ['zero, as that of one token is', []],
  ])('of a covariance %s are orthonormal and hold its range', (_, values) => {
    const a = withSpectrum(u, [...values, ...new Array(n - values.length).fill(0)]);
    const axes = principalAxes(a, 8);
    expect(gap(axes.transpose().mmul(axes), Matrix.eye(8, 8))).toBeLessThan(1e-9);
    values.forEach((_, i) => {
      expect(held(axes, i)).toBeGreaterThan(1 - 1e-12);
    });
  });

  test('come out the same each time', () => {
    expect(principalAxes(positive(6, 9), 4)).toEqual(principalAxes(positive(6, 9), 4));
  });
});

describe('a ridge', () => {
  test('adds a share of each diagonal element, and nothing off the diagonal', () => {
    const a = matrixFrom([4, 1, 1, 1e-6], 2);
    const raised = ridged(a, 0.01);
    expect(raised.get(0, 0)).toBeCloseTo(4.04, 12);
    expect(raised.get(1, 1)).toBeCloseTo(1.01e-6, 12);
    expect([raised.get(0, 1), raised.get(1, 0)]).toEqual([1, 1]);
    expect(a.get(0, 0)).toBe(4);
  });

  test.each([
    ['a coordinate that never varies', [2, 0, 0, 0]],
    ['no coordinate that varies', [0, 0, 0, 0]],
    ['two that are the same', [1, 1, 1, 1]],
  ])('makes a covariance with %s definite', (_, values) => {
    const raised = ridged(matrixFrom(values, 2), 1e-5);
    const inverse = solvePositive(raised, Matrix.eye(2, 2));
    expect(inverse.to1DArray().every(Number.isFinite)).toBe(true);
    expect(gap(inverse.mmul(raised), Matrix.eye(2, 2))).toBeLessThan(1e-9);
  });
});

describe('a matrix that is not positive definite is refused with a cure', () => {
  test.each([
    ['with a negative eigenvalue', [1, 2, 2, 1]],
    ['with a negative diagonal', [-1, 0, 0, 1]],
    ['that is singular', [1, 0, 0, 0]],
    ['with a NaN', [1, Number.NaN, Number.NaN, 1]],
  ])('%s', (_, values) => {
    const a = matrixFrom(values, 2);
    for (const work of [() => whitener(a), () => solvePositive(a, Matrix.eye(2, 2))]) {
      expect(work).toThrow(InputError);
      expect(work).toThrow(/2 coordinates is not positive definite.*add a ridge/);
    }
  });
});

test('rounding that leaves a matrix a little asymmetric does no harm', () => {
  const a = positive(8, 7);
  a.set(2, 5, a.get(2, 5) * (1 + 1e-9));
  const l = whitener(a);
  expect(gap(l.mmul(l.transpose()).mmul(a), Matrix.eye(7, 7))).toBeLessThan(1e-4);
});
