import { describe, expect, test } from 'vitest';
import { factored } from '../../src/linalg/lu.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';

const times = (rows: readonly Float64Array[], x: ArrayLike<number>) =>
  Float64Array.from(rows, (row) => row.reduce((sum, value, i) => sum + value * x[i], 0));
const matrix = (...rows: number[][]) => rows.map((row) => Float64Array.from(row));
const copied = (rows: readonly Float64Array[]) => rows.map((row) => row.slice());
const random = (seed: number, rows: number, columns: number) => {
  const { normal } = seededRandom(seed);
  return Array.from({ length: rows }, () => Float64Array.from(normal(columns)));
};

describe.each([1, 2, 3, 7, 63, 64, 65])('a random matrix of %i rows', (n) => {
  const a = random(n, n, n);

  test('gives back the solution that made the right side, for one right side after another', () => {
    const { solve } = factored(copied(a));
    for (const seed of [1, 2]) {
      const x = Float64Array.from(seededRandom(100 + seed).normal(n));
      const b = times(a, x);
      const given = b.slice();
      expectAgree(solve(b), x, { rel: 1e-9, abs: 1e-9 });
      expect(b).toEqual(given);
    }
  });

  test('changes the sign of its determinant with two rows, and with one negated', () => {
    const { sign } = factored(copied(a));
    expect(Math.abs(sign)).toBe(1);
    expect(factored([a[0].map((value) => -value), ...copied(a.slice(1))]).sign).toBe(-sign);
    if (n > 1) expect(factored(copied([a[1], a[0], ...a.slice(2)])).sign).toBe(-sign);
  });
});

test.each([
  ['the identity', matrix([1, 0], [0, 1]), 1],
  ['a reflection', matrix([0, 1], [1, 0]), -1],
  ['a rotation of three axes', matrix([0, 1, 0], [0, 0, 1], [1, 0, 0]), 1],
  ['a zero where the first pivot would stand', matrix([0, 2, 1], [1, 0, 0], [0, 0, 3]), -1],
  ['large and tiny rows', matrix([1e-200, 0], [0, -1e200]), -1],
] as const)('the sign of %s', (_, a, sign) => {
  expect(factored(copied(a)).sign).toBe(sign);
});

test('pivots: a tiny element on the diagonal costs no digits', () => {
  const [x, y] = factored(matrix([1e-20, 1], [1, 1])).solve(Float64Array.of(1, 2));
  expect(x).toBeCloseTo(1, 14);
  expect(y).toBeCloseTo(1, 14);
});

test('a matrix whose determinant is zero has no sign and no finite solution', () => {
  for (const a of [
    matrix([0]),
    matrix([1, 2], [2, 4]),
    matrix([0, 0], [0, 5]),
    matrix([1, 2, 3], [4, 5, 6], [5, 7, 9]),
  ]) {
    const { sign, solve } = factored(a);
    expect(sign).toBe(0);
    expect([...solve(new Float64Array(a.length).fill(1))].every(Number.isFinite)).toBe(false);
  }
});

test('a matrix with NaN has neither', () => {
  for (const a of [matrix([Number.NaN, 1], [1, 1]), matrix([1, 1], [1, Number.NaN])]) {
    const { sign, solve } = factored(a);
    expect(sign).toBe(0);
    expect([...solve(Float64Array.of(1, 1))].every(Number.isFinite)).toBe(false);
  }
});

test.each([3, 24, 65])('of lower rank only by rounding, %i rows: the sign is 0 all the same', (n) => {
  const a = random(n, n, n - 1);
  const b = random(n + 1, n - 1, n);
  const product = a.map((row) =>
    Float64Array.from({ length: n }, (_, j) => row.reduce((sum, v, k) => sum + v * b[k][j], 0)),
  );
  expect(factored(product).sign).toBe(0);
});
