import { expect, test } from 'vitest';
import { determinantSigns, nearestRows, rowLength } from '../../src/probe/inspect.ts';
import { seededRandom } from '../support/agree.ts';
import { searched } from './float64-search.ts';
import { AXIS, cubic, disguised } from './scalar-maps.ts';

test('of three preimages the outer two have one sign, the middle one the other', () => {
  const step = disguised(cubic(1, 1, 2, 3), 4);
  const chain = { steps: [{ name: '', width: 3, states: never, linearize: never }] };
  const signs = [1, 2, 3].map(
    (t) =>
      searched(
        determinantSigns(
          chain,
          AXIS.map((u) => t * u),
        ),
        [step],
      ).result,
  );
  expect(signs).toEqual([[1], [-1], [1]]);
});

const never = () => {
  throw new Error('of the GPU');
};

test('the nearest rows of a table come nearest first, in units of the length of a row', () => {
  const table = Float32Array.of(0, 0, 2, 0, 0, 2, 2, 2); // squares 0, 4, 4, 8
  const unit = 2; // root of their mean
  expect(nearestRows(table, Float64Array.of(2, 1), 3)).toEqual([
    { token: 1, distance: 1 / unit },
    { token: 3, distance: 1 / unit },
    { token: 0, distance: Math.sqrt(5) / unit },
  ]);
  expect(nearestRows(table, Float64Array.of(2, 1), 9).map(({ token }) => token)).toEqual([1, 3, 0, 2]);
  expect(rowLength(table, Float64Array.of(3, 4))).toBe(5 / unit);
});

test.each([1, 7, 64])('a row of the table is the nearest to itself, d = %i', (d) => {
  const table = seededRandom(d).normal(33 * d);
  for (const token of [0, 17, 32]) {
    const row = Float64Array.from(table.subarray(token * d, (token + 1) * d));
    expect(nearestRows(table, row, 1)).toEqual([{ token, distance: 0 }]);
  }
});
