import { Matrix } from 'ml-matrix';
import { expect, test } from 'vitest';
import { InputError } from '../../../src/errors.ts';
import { eigenvalues, realRoots, type ScalarEquation } from '../../../src/probe/blocks/scalar-equation.ts';

/** (s - r_1) ... (s - r_n) / (s - pole)^2, with all roots as candidates, each off by `error`. */
function rational(roots: readonly number[], pole: number, error = 0): ScalarEquation {
  const product = (s: number, factors: readonly number[]) => factors.reduce((value, root) => value * (s - root), 1);
  return {
    candidates: roots.map((re) => ({ re: re + error, im: 0 })),
    at(s) {
      const value = product(s, roots) / (s - pole) ** 2;
      const rise = roots.reduce((sum, _, i) => sum + product(s, roots.toSpliced(i, 1)), 0) / (s - pole) ** 2;
      return { value, slope: rise - (2 * value) / (s - pole) };
    },
  };
}

function expectRoots(got: readonly number[], want: readonly number[]) {
  expect(got.length).toBe(want.length);
  got.forEach((root, i) => {
    expect(Math.abs(root - want[i])).toBeLessThan(1e-12 * (1 + Math.abs(want[i])));
  });
}

const ROOTS = [-5, -4.5, 0.25, 3, 8];

test('roots are found from rough candidates, a pole among them', () => {
  expectRoots(realRoots(rational(ROOTS, 1, 1e-3)), ROOTS);
});

test.each([0, 1, 2, 3, 4])('without a candidate for root %i, it is found by the signs of the slopes', (i) => {
  const equation = rational(ROOTS, 1, 1e-3);
  expectRoots(realRoots({ ...equation, candidates: equation.candidates.toSpliced(i, 1) }), ROOTS);
});

test('one root needs no candidate at all', () => {
  expectRoots(realRoots({ ...rational([1e6], -3), candidates: [] }), [1e6]);
});

test('a pair that rounding has made complex counts as two', () => {
  const candidates = [{ re: -5, im: 0 }, ...[1, -1].map((side) => ({ re: 2, im: side * 1e-4 }))];
  expectRoots(realRoots({ ...rational([-5, 2 - 1e-4, 2 + 1e-4], 7), candidates }), [-5, 2 - 1e-4, 2 + 1e-4]);
});

test('zero is a root like others', () => {
  expectRoots(realRoots(rational([-1, 0, 1], 0.5)), [-1, 0, 1]);
});

test('roots below the beginning do not count', () => {
  const equation = rational([-5, 1, 2], 7);
  expectRoots(realRoots({ ...equation, from: 1.5 }), [2]);
});

test('eigenvalues of a matrix that is not finite are refused: the iteration would not end', () => {
  expect(() =>
    eigenvalues(
      new Matrix([
        [1, Number.NaN],
        [0, 1],
      ]),
    ),
  ).toThrow(InputError);
});
