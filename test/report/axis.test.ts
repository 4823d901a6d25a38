import { expect, test } from 'vitest';
import { linearAxis, logAxis, tickText } from '../../src/report/axis.ts';

test('a linear axis has round steps and ends at them', () => {
  const { low, high, ticks, at } = linearAxis([4.03, 8.2]);
  expect(ticks).toEqual([4, 5, 6, 7, 8, 9]);
  expect([low, high, at(4), at(6.5), at(9)]).toEqual([4, 9, 0, 0.5, 1]);
  expect(linearAxis([0.1, 0.3]).ticks).toEqual([0.1, 0.15, 0.2, 0.25, 0.3]);
});

test('an axis of whole numbers has no halves', () => {
  expect(linearAxis([1, 2, 3]).ticks).toEqual([1, 2, 3]);
  expect(linearAxis([7]).ticks).toEqual([6, 7, 8]);
});

test('an axis that is not rounded ends at its values', () => {
  const { low, high, ticks } = linearAxis([3, 4987], 6, false);
  expect([low, high]).toEqual([3, 4987]);
  expect(ticks).toEqual([1000, 2000, 3000, 4000]);
});

test('no value, one value, values that hardly differ', () => {
  for (const values of [[], [0], [5], [-2.5], [1e9, 1e9 + 1e-7], [1e-30], [Number.NaN, Number.POSITIVE_INFINITY]]) {
    for (const axis of [linearAxis(values), linearAxis(values, 6, false), logAxis(values)]) {
      expect(axis.high).toBeGreaterThan(axis.low);
      expect(axis.ticks.length).toBeLessThan(20);
      for (const number of [axis.low, axis.high, ...axis.ticks]) expect(number).toSatisfy(Number.isFinite);
      for (const value of values.filter(Number.isFinite)) {
        expect(axis.at(value)).toBeGreaterThanOrEqual(-1e-9);
        expect(axis.at(value)).toBeLessThanOrEqual(1 + 1e-9);
      }
    }
  }
});

test('a logarithmic axis has decades, or 1, 2 and 5 where those are few', () => {
  expect(logAxis([2e-5, 30]).ticks).toEqual([1e-5, 1e-3, 1e-1, 10, 1000]);
  expect(logAxis([0.02, 30]).ticks).toEqual([0.01, 0.1, 1, 10, 100]);
  expect(logAxis([7.8, 17.7]).ticks).toEqual([5, 10, 20]);
  expect(logAxis([1, 1000]).ticks).toEqual([1, 10, 100, 1000]);
  const { at } = logAxis([1, 1000]);
  expect(at(10)).toBeCloseTo(1 / 3, 12);
  expect([at(0), at(-4)]).toEqual([0, 0]);
});

test('ticks are short', () => {
  expect([0, 1500, 0.25, 1e-5, 2e6, -0.1].map(tickText)).toEqual(['0', '1,500', '0.25', '1e-5', '2e6', '-0.1']);
});
