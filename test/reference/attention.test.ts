import { describe, expect, it } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { attention } from '../../src/reference/attention.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';

const HEADS = 3;
const HEAD_DIM = 5;
const D = HEADS * HEAD_DIM;
const CAPACITY = 4;
const OPTIONS = { heads: HEADS, headDim: HEAD_DIM, scale: 0.4 };

/** Two slots of random keys and values. */
function randomCache(seed: number) {
  const random = seededRandom(seed);
  return { keys: random.normal(2 * CAPACITY * D), values: random.normal(2 * CAPACITY * D), capacity: CAPACITY }; // (2, 4, D)
}

const ownValue = (qkv: Float32Array, row = 0) => qkv.subarray((3 * row + 2) * D, (3 * row + 3) * D); // (D)

describe('attention', () => {
  it('gives a lone row its own value', () => {
    const qkv = seededRandom(1).normal(3 * D); // (1, 3D)
    const out = attention(qkv, { ...randomCache(2), slots: [1], seen: [0] }, OPTIONS);
    expectAgree(out, ownValue(qkv), { rel: 1e-15, abs: 0 });
  });

  it('averages the values when the query is zero', () => {
    const cache = randomCache(3);
    const qkv = seededRandom(4)
      .normal(3 * D)
      .fill(0, 0, D); // (1, 3D)
    const out = attention(qkv, { ...cache, slots: [1], seen: [2] }, OPTIONS);
    const at = CAPACITY * D;
    const want = ownValue(qkv).map((own, c) => (own + cache.values[at + c] + cache.values[at + D + c]) / 3);
    expectAgree(out, want, { rel: 0, abs: 1e-6 });
  });

  it('weighs two entries by the logistic of the scaled difference, each head for itself', () => {
    // heads of size 1: q = (1, 2), cached k = (3, 0), own k = (1, 1); cached v = 1, own v = 0
    const qkv = [1, 2, 1, 1, 0, 0]; // (1, 3 * 2)
    const cache = { keys: [3, 0], values: [1, 1], capacity: 1, slots: [0], seen: [1] };
    const out = attention(qkv, cache, { heads: 2, headDim: 1, scale: 0.5 });
    expectAgree(out, [1 / (1 + Math.exp(-1)), 1 / (1 + Math.exp(1))], { rel: 1e-14, abs: 0 });
  });

  it('sees nothing of other slots, of entries beyond seen, nor of other rows', () => {
    const cache = randomCache(5);
    const qkv = seededRandom(6).normal(2 * 3 * D); // (2, 3D)
    const rows = { slots: [0, 1], seen: [2, 3] };
    const out = attention(qkv, { ...cache, ...rows }, OPTIONS); // (2, D)

    const keys = cache.keys.slice().fill(9, 2 * D, CAPACITY * D); // slot 0 beyond its two entries
    const values = cache.values.slice().fill(9, 2 * D, CAPACITY * D);
    const changed = attention(qkv, { keys, values, capacity: CAPACITY, ...rows }, OPTIONS);
    expectAgree(changed, out, { rel: 0, abs: 0 });

    const alone = attention(qkv.subarray(3 * D), { ...cache, slots: [1], seen: [3] }, OPTIONS); // (1, D)
    expectAgree(alone, out.subarray(D), { rel: 0, abs: 0 });
  });

  it('a window of 1 leaves only the row itself; of 3, what a cache without the older entries gives', () => {
    const cache = randomCache(7);
    const qkv = seededRandom(8).normal(3 * D); // (1, 3D)
    const windowed = (window: number) => attention(qkv, { ...cache, slots: [0], seen: [4] }, { ...OPTIONS, window });
    expectAgree(windowed(1), ownValue(qkv), { rel: 1e-15, abs: 0 });
    const recent = {
      keys: cache.keys.subarray(2 * D, 4 * D),
      values: cache.values.subarray(2 * D, 4 * D),
      capacity: 2,
    };
    expectAgree(windowed(3), attention(qkv, { ...recent, slots: [0], seen: [2] }, OPTIONS), { rel: 0, abs: 0 });
    expectAgree(windowed(5), windowed(99), { rel: 0, abs: 0 });
  });

  it('refuses rows that name entries the cache does not hold', () => {
    const qkv = new Float64Array(3 * D);
    const call = (slot: number, seen: number) => () =>
      attention(qkv, { ...randomCache(9), slots: [slot], seen: [seen] }, OPTIONS);
    expect(call(2, 1)).toThrow(ShapeError);
    expect(call(0, 5)).toThrow(/sees 5 entries of slot 0/);
    expect(call(-1, 0)).toThrow(ShapeError);
    expect(call(0, -1)).toThrow(ShapeError);
  });
});
