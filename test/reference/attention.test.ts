import { describe, expect, it } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { type AttentionCache, attention, attentionJvp, attentionVjp } from '../../src/reference/attention.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';
import { expectTwins } from '../support/twins.ts';

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

  it('reads the rows just before a row from the batch, as if they had been appended', () => {
    const cache = randomCache(10);
    const qkv = seededRandom(11).normal(3 * 3 * D); // (3, 3D)
    const rows = { slots: [1, 1, 1], seen: [1, 2, 3] };
    const [keys, values] = [cache.keys.slice(), cache.values.slice()];
    for (const r of [0, 1]) {
      const at = (CAPACITY + 1 + r) * D;
      keys.set(qkv.subarray((3 * r + 1) * D, (3 * r + 2) * D), at);
      values.set(ownValue(qkv, r), at);
    }
    const appended = attention(qkv, { keys, values, capacity: CAPACITY, ...rows }, OPTIONS);
    expectAgree(attention(qkv, { ...cache, ...rows, live: [0, 1, 2] }, OPTIONS), appended, { rel: 0, abs: 0 });
  });

  it('refuses rows that name entries the cache does not hold', () => {
    const qkv = new Float64Array(3 * D);
    const call = (slot: number, seen: number) => () =>
      attention(qkv, { ...randomCache(9), slots: [slot], seen: [seen] }, OPTIONS);
    expect(call(2, 1)).toThrow(ShapeError);
    expect(call(0, 5)).toThrow(/sees 5 entries of slot 0/);
    expect(call(-1, 0)).toThrow(ShapeError);
    expect(call(0, -1)).toThrow(ShapeError);
    const live = () => attention(qkv, { ...randomCache(9), slots: [0], seen: [1], live: [1] }, OPTIONS);
    expect(live).toThrow(/1 of the 1 entries that row 0 sees/);
  });
});

describe('attentionVjp and attentionJvp', () => {
  const twins = (rows: Pick<AttentionCache, 'slots' | 'seen' | 'live'>, window?: number) => {
    const cache = { ...randomCache(12), ...rows };
    const options = { ...OPTIONS, window };
    const qkv = Float64Array.from(seededRandom(13).normal(rows.slots.length * 3 * D)); // (rows, 3D)
    expectTwins({
      f: (x) => attention(x, cache, options),
      x: qkv,
      jvp: (dx) => attentionJvp(dx, qkv, cache, options),
      vjp: (dy) => attentionVjp(dy, qkv, cache, options),
    });
  };

  it('differentiate a prompt', () => twins({ slots: [0, 0, 0, 0], seen: [0, 1, 2, 3], live: [0, 1, 2, 3] }));

  it('differentiate windows behind the prefixes of two slots', () =>
    twins({ slots: [1, 1, 0, 0, 0], seen: [2, 3, 1, 2, 3], live: [0, 1, 0, 1, 2] }));

  it('differentiate candidates that do not see each other', () => twins({ slots: [0, 0, 1, 0], seen: [2, 2, 4, 0] }));

  it('differentiate local attention', () => twins({ slots: [0, 0, 0, 1], seen: [1, 2, 3, 4], live: [0, 1, 2, 0] }, 2));

  it('refuse derivatives of the wrong size', () => {
    const qkv = new Float64Array(3 * D);
    const cache = { ...randomCache(14), slots: [0], seen: [1] };
    expect(() => attentionVjp(qkv, qkv, cache, OPTIONS)).toThrow(/attentionVjp: dy/);
    expect(() => attentionJvp(qkv.subarray(D), qkv, cache, OPTIONS)).toThrow(/attentionJvp: dqkv/);
  });
});
