import { expect, test } from 'vitest';
import { difference, norm, plus, scaled } from '../../src/linalg/vector.ts';
import { seededRandom } from '../support/agree.ts';

const vectors = [0, 1, 3, 7, 64, 65].map((n) => {
  const { normal } = seededRandom(n);
  return [Float64Array.from(normal(n)), Float64Array.from(normal(n))] as const;
});

test('sums, differences and multiples are of each element, and leave their operands alone', () => {
  for (const [a, b] of vectors) {
    const before = [a.slice(), b.slice()];
    expect([...plus(a, b)]).toEqual([...a].map((value, i) => value + b[i]));
    expect([...plus(a, b, -2)]).toEqual([...a].map((value, i) => value - 2 * b[i]));
    expect([...difference(a, b)]).toEqual([...a].map((value, i) => value - b[i]));
    expect([...scaled(a, 3)]).toEqual([...a].map((value) => 3 * value));
    expect([a, b]).toEqual(before);
  }
});

test('the norm is the length', () => {
  for (const [a] of vectors) expect(norm(a)).toBeCloseTo(Math.hypot(...a), 12);
  expect(norm(Float64Array.of(3, 4))).toBe(5);
  expect(norm(Float64Array.of(1, Number.NaN))).toBeNaN();
});
