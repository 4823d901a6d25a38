import { describe, expect, test } from 'vitest';
import { agree } from '../../src/reference/agree.ts';

const bounds = { rel: 0.01, abs: 0.1 };

describe('agree', () => {
  test('takes the wider of the two bounds, and reports the element that uses most of it', () => {
    const { ok, worst } = agree([100.9, 0.05, 3], [100, 0, 3], bounds);
    expect(ok).toBe(true);
    expect(worst).toMatchObject({ index: 0, got: 100.9, want: 100 });
    expect(worst.share).toBeCloseTo(0.9);
  });

  test('a small error over its bound is worse than a large one within it', () => {
    const { ok, worst } = agree([1000, 0.2], [1009, 0], bounds);
    expect(ok).toBe(false);
    expect(worst).toMatchObject({ index: 1, share: 2 });
  });

  test.each([
    ['NaN', [1, Number.NaN], [1, 2]],
    ['a wanted NaN', [1, 2], [1, Number.NaN]],
    ['infinity', [Number.POSITIVE_INFINITY], [1]],
    ['another length', [1], [1, 2]],
  ])('%s never agrees', (_, got, want) => {
    expect(agree(got, want, bounds)).toMatchObject({ ok: false, worst: { share: Number.POSITIVE_INFINITY } });
  });

  test('exact bounds accept equal values, infinities too, and nothing else', () => {
    const exact = { rel: 0, abs: 0 };
    expect(agree([1, Number.NEGATIVE_INFINITY], [1, Number.NEGATIVE_INFINITY], exact).ok).toBe(true);
    expect(agree([1 + 1e-15], [1], exact).ok).toBe(false);
    expect(agree([], [], exact).ok).toBe(true);
  });
});
