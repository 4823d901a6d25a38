import { describe, expect, test } from 'vitest';
import { InputError, ShapeError } from '../../../src/errors.ts';
import { factored } from '../../../src/linalg/lu.ts';
import { type FirstAttention, firstAttentionTwin } from '../../../src/probe/blocks/first-attention.ts';
import { firstAttentionInverse } from '../../../src/probe/blocks/first-attention-inverse.ts';
import { seededRandom } from '../../support/agree.ts';

/** @param size Of the weights: the larger, the more preimages. */
function randomStep(seed: number, d: number, size: number): FirstAttention {
  const { normal } = seededRandom(seed);
  return {
    width: d,
    gain: normal(d).map((v) => 1 + 0.3 * v),
    bias: normal(d, 0.2),
    epsilon: 1e-5,
    valueWeight: normal(d * d, size / Math.sqrt(d)),
    valueBias: normal(d, 0.3),
    outWeight: normal(d * d, size / Math.sqrt(d)),
    outBias: normal(d, 0.3),
  };
}

const length = (x: Float64Array): number => Math.hypot(...x);
const apart = (a: Float64Array, b: Float64Array): number => length(a.map((v, i) => v - b[i])) / length(b);

const SIZES = [3, 7, 24].flatMap((d) => [1, 3].map((size) => ({ d, size })));

describe.each(SIZES)('attention at the first position, d = $d, weights of size $size', ({ d, size }) => {
  const examples = Array.from({ length: 12 }, (_, seed) => {
    const step = randomStep(seed, d, size);
    const x = Float64Array.from(seededRandom(1000 + seed).normal(d, [0.1, 1, 10][seed % 3]));
    const y = firstAttentionTwin(step, x);
    return { step, x, y, preimages: firstAttentionInverse(step)(y) };
  });

  test('the input that made the output is a preimage, and every preimage gives the output', () => {
    for (const { step, x, y, preimages } of examples) {
      expect(Math.min(...preimages.map((p) => apart(p.x, x)))).toBeLessThan(1e-9);
      for (const p of preimages) {
        expect(apart(firstAttentionTwin(step, p.x), y)).toBeLessThan(1e-12);
        expect(p.verified).toBe(true);
      }
    }
  });

  test('the signs of det Dg add up to 1, as they do for any map that adds something bounded', () => {
    for (const { preimages } of examples) expect(preimages.reduce((sum, p) => sum + p.sign, 0)).toBe(1);
    expect(examples.some(({ preimages }) => preimages.length > 1)).toBe(true);
  });

  test('Newton starts all over the ball of possible preimages find no other', () => {
    for (const { step, x, y, preimages } of examples.slice(0, d < 24 ? 6 : 2)) {
      for (const found of newtonFrom(step, x, y)) {
        expect(Math.min(...preimages.map((p) => apart(found, p.x)))).toBeLessThan(1e-6);
      }
    }
  });
});

/** What Newton's method by differences reaches from 40 starts around x and y. */
function newtonFrom(step: FirstAttention, x: Float64Array, y: Float64Array): Float64Array[] {
  const d = x.length;
  const { normal, next } = seededRandom(7);
  return Array.from({ length: 40 }, () => {
    const noise = normal(d, 3 * next());
    let at: Float64Array = (next() < 0.5 ? x : y).map((v, i) => 2 * next() * v + noise[i]);
    for (let round = 0; round < 30; round++) {
      const value = firstAttentionTwin(step, at);
      if (apart(value, y) < 1e-11) return [at];
      const h = 1e-7 * (length(at) / Math.sqrt(d) || 1);
      const columns = Array.from({ length: d }, (_, i) =>
        firstAttentionTwin(step, at.with(i, at[i] + h)).map((v, j) => (v - value[j]) / h),
      );
      const rows = Array.from({ length: d }, (_, j) => Float64Array.from(columns, (column) => column[j]));
      const change = factored(rows).solve(value.map((v, j) => v - y[j]));
      at = at.map((v, i) => v - change[i]);
      if (!Number.isFinite(length(at))) return [];
    }
    return [];
  }).flat();
}

test('an output of another width or that is not finite is refused', () => {
  const inverse = firstAttentionInverse(randomStep(1, 3, 1));
  expect(() => inverse(new Float64Array(4))).toThrow(ShapeError);
  expect(() => inverse(Float64Array.of(1, Number.NaN, 2))).toThrow(InputError);
});

test('a row without variance is reached too', () => {
  const step = randomStep(2, 7, 1);
  const x = new Float64Array(7).fill(0.4);
  const preimages = firstAttentionInverse(step)(firstAttentionTwin(step, x));
  expect(Math.min(...preimages.map((p) => apart(p.x, x)))).toBeLessThan(1e-9);
});
