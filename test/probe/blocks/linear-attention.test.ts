import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { InputError, ShapeError } from '../../../src/errors.ts';
import type { Context } from '../../../src/gpu/context.ts';
import { factored } from '../../../src/linalg/lu.ts';
import {
  type LinearAttention,
  linearAttention,
  linearAttentionTwin,
  prefixMatrix,
  randomLinearAttention,
} from '../../../src/probe/blocks/linear-attention.ts';
import { linearAttentionInverse } from '../../../src/probe/blocks/linear-attention-inverse.ts';
import { read, upload } from '../../../src/tensor/tensor.ts';
import { seededRandom, worstRow } from '../../support/agree.ts';
import { expectJacobians } from './jacobians.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

/** The last row of causal linear attention over a sequence, by its definition: a sum over positions. */
function lastOfSequence(attention: LinearAttention, sequence: Float32Array): Float64Array {
  const { width: d, heads, headDim, residual, queryWeight, keyWeight, valueWeight, outWeight } = attention;
  const inner = heads * headDim;
  const last = sequence.length / d - 1;
  const times = (t: number, weight: ArrayLike<number>, j: number) =>
    Array.from({ length: d }, (_, i) => sequence[t * d + i] * weight[i * inner + j]).reduce((a, b) => a + b);
  const y = Float64Array.from({ length: d }, (_, i) => (residual ? sequence[last * d + i] : 0));
  for (let t = 0; t <= last; t++) {
    for (let column = 0; column < inner; column++) {
      let score = 0;
      const head = Math.floor(column / headDim) * headDim;
      for (let j = head; j < head + headDim; j++) score += times(last, queryWeight, j) * times(t, keyWeight, j);
      const value = (score / Math.sqrt(headDim)) * times(t, valueWeight, column);
      for (let i = 0; i < d; i++) y[i] += value * outWeight[column * d + i];
    }
  }
  return y;
}

describe.each([
  { width: 3, heads: 1, residual: false },
  { width: 7, heads: 1, residual: true },
  { width: 24, heads: 4, residual: true },
  { width: 24, heads: 3, headDim: 24, residual: false },
])('linear attention with %o', (shape) => {
  const attention = randomLinearAttention(shape.width, shape);
  const d = shape.width;
  const ROWS = 5;

  test.each([0, 1, 6])('behind %i rows the twin is the sum over positions', (t) => {
    const sequence = seededRandom(t + 1).normal((t + 1) * d);
    const l = prefixMatrix(attention, sequence.subarray(0, t * d));
    const got = linearAttentionTwin(attention, l, sequence.subarray(t * d));
    expect(worstRow(got, lastOfSequence(attention, sequence), d)).toBeLessThan(1e-12);
  });

  test('values and Jacobians on the GPU are those of the twin', async () => {
    const { normal } = seededRandom(9);
    using block = linearAttention(context, attention, normal(4 * d));
    const rows = normal(ROWS * d);
    const got = await read(block.states(upload(context, rows, [ROWS, d]), new Uint32Array(ROWS)));
    expect(worstRow(got, block.twin(rows), d)).toBeLessThan(1e-5);
    await expectJacobians(context, block, rows);
  });
});

const length = (x: Float64Array): number => Math.hypot(...x);
const apart = (a: Float64Array, b: Float64Array): number => length(a.map((v, i) => v - b[i])) / length(b);

describe.each([
  { d: 3, headDim: 3, residual: false },
  { d: 3, headDim: 3, residual: true },
  { d: 7, headDim: 7, residual: false },
  { d: 7, headDim: 3, residual: true },
  { d: 24, headDim: 24, residual: true },
])('all preimages under one head: %o', ({ d, headDim, residual }) => {
  const examples = [0, 5].flatMap((t) =>
    [1, 2, 3, 4, 5, 6].map((seed) => {
      const { normal } = seededRandom(100 * t + seed);
      const attention = randomLinearAttention(seed, { width: d, headDim, residual });
      const prefix = normal(t * d);
      const l = prefixMatrix(attention, prefix);
      const x = Float64Array.from(normal(d, [0.3, 1, 3][seed % 3]));
      const y = linearAttentionTwin(attention, l, x);
      return { attention, l, x, y, preimages: linearAttentionInverse(attention, prefix)(y) };
    }),
  );

  test('the input that made the output is among them, and each gives the output', () => {
    for (const { x, y, attention, l, preimages } of examples) {
      expect(Math.min(...preimages.map((p) => apart(p.x, x)))).toBeLessThan(1e-8);
      for (const p of preimages) {
        // A root next to a pole has an x so large that rounding it moves the output.
        expect(p.residual).toBeLessThan(Math.max(1e-12, 10 * p.rounding));
        if (p.verified) expect(apart(linearAttentionTwin(attention, l, p.x), y)).toBeLessThan(1e-8);
      }
    }
  });

  test('the sign of each is that of the determinant by differences', () => {
    for (const { attention, l, preimages } of examples) {
      for (const { x, sign } of preimages.filter((p) => p.rounding < 1e-12)) {
        const h = 1e-5 * length(x);
        const columns = Array.from(x, (v, i) => {
          const [right, left] = [h, -h].map((step) => linearAttentionTwin(attention, l, x.with(i, v + step)));
          return right.map((value, j) => (value - left[j]) / (2 * h));
        });
        expect(factored(columns).sign).toBe(sign); // of the transpose
      }
    }
  });

  test('they differ, and their number is odd', () => {
    for (const { preimages } of examples) {
      expect(preimages.length % 2).toBe(1);
      preimages.forEach((p, i) => {
        for (const q of preimages.slice(0, i)) expect(apart(p.x, q.x)).toBeGreaterThan(1e-6);
      });
    }
  });

  test('a scan of the equation finds no other root', () => {
    for (const { attention, l, y, preimages } of examples.filter(() => d < 8)) {
      const roots = preimages.map((p) => p.root);
      for (const [a, b] of signChanges(attention, l, y)) {
        expect(roots.some((root) => root >= a - 1e-9 && root <= b + 1e-9)).toBe(true);
      }
    }
  });
});

/** Where s - x(s) A x(s)^T changes its sign, from -1000 to 1000, with y = x (L + s V) solved for x. */
function signChanges(attention: LinearAttention, l: Float64Array, y: Float64Array): [number, number][] {
  const { width: d } = attention;
  const alone = { ...attention, residual: false };
  const unit = (i: number) => Float64Array.from({ length: d }, (_, j) => (i === j ? 1 : 0));
  const score = (x: Float64Array) => {
    // (x A x^T) x V, against x V
    const image = linearAttentionTwin(alone, new Float64Array(d * d), x);
    const value = linearValue(attention, x);
    const j = value.reduce((best, v, i) => (Math.abs(v) > Math.abs(value[best]) ? i : best), 0);
    return image[j] / value[j];
  };
  const values = Array.from({ length: d }, (_, i) => linearValue(attention, unit(i)));
  const at = (s: number) => {
    const x = solve(
      Array.from({ length: d }, (_, j) => Array.from({ length: d }, (_, i) => l[i * d + j] + s * values[i][j])),
      y,
    );
    return s - score(x);
  };
  const points = Array.from({ length: 4001 }, (_, i) => Math.sinh((i - 2000) / 263.1));
  const found = points.map(at);
  return points.slice(1).flatMap((s, i) => (found[i] * found[i + 1] < 0 ? [[points[i], s] as [number, number]] : []));
}

/** x W_v W_o */
function linearValue({ width: d, headDim, valueWeight, outWeight }: LinearAttention, x: Float64Array): Float64Array {
  const y = new Float64Array(d);
  for (let k = 0; k < headDim; k++) {
    const v = x.reduce((sum, value, i) => sum + value * valueWeight[i * headDim + k], 0);
    for (let j = 0; j < d; j++) y[j] += v * outWeight[k * d + j];
  }
  return y;
}

/** Gauss and Jordan. */
function solve(a: number[][], b: Float64Array): Float64Array {
  const rows = a.map((row, i) => [...row, b[i]]);
  for (let k = 0; k < rows.length; k++) {
    const pivot = rows.reduce((best, row, i) => (i >= k && Math.abs(row[k]) > Math.abs(rows[best][k]) ? i : best), k);
    [rows[k], rows[pivot]] = [rows[pivot], rows[k]];
    rows.forEach((row, i) => {
      const factor = i === k ? 0 : row[k] / rows[k][k];
      if (factor) for (let j = k; j < row.length; j++) row[j] -= factor * rows[k][j];
    });
  }
  return Float64Array.from(rows, (row, i) => row[row.length - 1] / row[i]);
}

test('a narrow head without residual fills a subspace only, which is said', () => {
  const narrow = randomLinearAttention(1, { width: 7, headDim: 3 });
  expect(() => linearAttentionInverse(narrow)).toThrow(/singular whatever s is/);
  expect(() => linearAttentionInverse(narrow, seededRandom(1).normal(7 * 7))).toThrow(/singular whatever s is/);
  expect(() => linearAttentionInverse({ ...narrow, valueWeight: new Float32Array(21) })).toThrow(InputError);
});

test('without a prefix and a residual there is one preimage, by a cube root', () => {
  const attention = randomLinearAttention(3, { width: 7 });
  const x = Float64Array.from(seededRandom(4).normal(7));
  const preimages = linearAttentionInverse(attention)(linearAttentionTwin(attention, prefixMatrix(attention), x));
  expect(preimages.length).toBe(1);
  expect(apart(preimages[0].x, x)).toBeLessThan(1e-9);
});

test('several heads, outputs of another width and outputs that are not finite are refused', () => {
  expect(() => linearAttentionInverse(randomLinearAttention(1, { width: 8, heads: 2 }))).toThrow(InputError);
  const inverse = linearAttentionInverse(randomLinearAttention(1, { width: 3 }));
  expect(() => inverse(new Float64Array(4))).toThrow(ShapeError);
  expect(() => inverse(Float64Array.of(1, Number.NaN, 2))).toThrow(InputError);
});
