import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import type { Context } from '../../src/gpu/context.ts';
import type { LinearLens } from '../../src/lens/lens.ts';
import { indexOf, rivalIndex } from '../../src/lens/rivals.ts';
import { matrixFrom } from '../../src/linalg/dense.ts';
import { type LoadedModel, loadModel, openModel } from '../../src/model/load.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { read } from '../../src/tensor/tensor.ts';

/** Distances of every token's row from that of `token`, in float64. */
const distancesFrom = (token: number, rows: Float32Array, r: number): number[] =>
  Array.from({ length: rows.length / r }, (_, other) =>
    Math.hypot(...Array.from({ length: r }, (_, j) => rows[token * r + j] - rows[other * r + j])),
  );

/** Checks an index against looking at every token. */
function expectTrue(rows: Float32Array, r: number, tokens: readonly number[]): void {
  const index = indexOf(rows, r);
  const count = rows.length / r;
  for (const token of tokens) {
    const distances = distancesFrom(token, rows, r);
    const others = [...distances.keys()]
      .filter((other) => other !== token)
      .sort((a, b) => distances[a] - distances[b] || a - b);
    const gaps = distances.map((distance, other) => Math.abs(index.bound(token, other) - distance));
    expect(Math.max(...gaps)).toBeLessThan(1e-10);

    // Nowhere, between two tokens, and beyond all of them; not where rounding decides which side one is on.
    const steps = others.flatMap((other, i) => {
      const [here, next] = [distances[other], distances[others[i + 1]] ?? 1e9];
      return next - here > 1e-6 && (i < 5 || i % 17 === 0) ? [(here + next) / 2] : [];
    });
    for (const reach of [0, ...steps, Number.POSITIVE_INFINITY]) {
      const found = index.within(token, reach);
      expect(found).toHaveLength(new Set(found).size);
      expect(new Set(found)).toEqual(new Set(others.filter((other) => distances[other] < reach)));
      expect(found.every((other, i) => i === 0 || distances[other] > distances[found[i - 1]] - 1e-9)).toBe(true);
    }

    for (const excepted of [0, 1, 2, Math.floor(count / 2), count - 2, count - 1]) {
      const except = new Set(others.slice(0, Math.max(0, excepted)));
      const left = others.find((other) => !except.has(other));
      const want = left === undefined ? Number.POSITIVE_INFINITY : distances[left];
      const found = index.beyond(token, except);
      if (want === Number.POSITIVE_INFINITY) expect(found).toBe(want);
      else expect(found).toBeCloseTo(want, 10);
    }
  }
}

const normal = (seed: number, size: number): Float32Array => Float32Array.from(seededRandom(seed).normal(size));
const ALL = (count: number) => Array.from({ length: count }, (_, token) => token);

describe('the nearest tokens are those found by looking at all', () => {
  test.each([
    [1, 3],
    [2, 3],
    [3, 1],
    [64, 2],
    [257, 5],
  ])('of %i, along %i axes', (count, r) => {
    expectTrue(normal(count, count * r), r, ALL(count).slice(0, 64));
  });

  test('where all stand level along the first axis', () => {
    const r = 3;
    const rows = normal(1, 65 * r).map((value, i) => (i % r === 0 ? 0.5 : value));
    expectTrue(rows, r, ALL(20));
  });

  test('where many lie equally far apart, as on a grid', () => {
    const rows = Float32Array.from(ALL(125).flatMap((i) => [i % 5, Math.floor(i / 5) % 5, Math.floor(i / 25)]));
    expectTrue(rows, 3, [0, 31, 62, 124]);
  });

  test('where rows are equal, as those that pad a vocabulary', () => {
    const rows = normal(2, 40 * 4);
    rows.fill(0.25, 30 * 4);
    expectTrue(rows, 4, [0, 7, 29, 30, 39]);
    const index = indexOf(rows, 4);
    expect(index.bound(31, 38)).toBe(0);
    expect(index.within(31, 1e-30)).toEqual([30, 32, 33, 34, 35, 36, 37, 38, 39]);
    expect(index.beyond(31, new Set([30, 32]))).toBe(0);
  });

  test('where the first axis is no help, far from the token that is nearest along the others', () => {
    const rows = Float32Array.of(0, 0, 1, 100, 2, 100, 3, 100, 50, 1, -60, 0);
    const index = indexOf(rows, 2);
    expect(index.beyond(0, new Set())).toBeCloseTo(Math.hypot(50, 1), 10);
    expect(index.within(0, 60.5)).toEqual([4, 5]);
  });
});

describe('of a model', () => {
  let context: Context;
  let model: LoadedModel;
  beforeAll(async () => {
    context = await testContext();
    const files = await openModel(checkoutSource('test/data/gpt2-tanh')); // 97 tokens, width 24
    const { width } = files.config;
    const { float32 } = files.checkpoint;
    // Tokens 95 and 96 get the row of token 3.
    const checkpoint: typeof files.checkpoint = {
      ...files.checkpoint,
      async float32(name, begin, end) {
        const values = await float32(name, begin, end);
        if (!name.endsWith('wte.weight')) return values;
        for (const twin of [95, 96]) values.copyWithin(twin * width, 3 * width, 4 * width);
        return values;
      },
    };
    model = await loadModel(context, { ...files, checkpoint });
  });
  afterAll(() => {
    model.dispose();
    context.destroy();
  });

  test('distances are those of the embedding under the lens; twins are no distance apart', async () => {
    const { width: d, vocabularySize } = model.config;
    const b = normal(5, d * d);
    const lens: LinearLens = { embedding: b, intercept: new Float32Array(d), covariance: b, kappa: 0.5 };
    const { liveBytes } = context.pool.statistics;
    const index = await rivalIndex(model, lens);
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);

    const table = await read(model.tokenTable.chunks[0]);
    const rows = Float32Array.from(matrixFrom(table, d).mmul(matrixFrom(b, d)).to1DArray());
    for (const token of [0, 3, 50, 96]) {
      const distances = distancesFrom(token, rows, d);
      const gaps = ALL(vocabularySize).map((other) => Math.abs(index.bound(token, other) - distances[other]));
      expect(Math.max(...gaps)).toBeLessThan(1e-5 * Math.max(...distances));
    }
    expect([index.bound(3, 95), index.bound(96, 95)]).toEqual([0, 0]);
    expect(index.within(95, 1e-9)).toEqual([3, 96]);
    expect(index.beyond(95, new Set([3, 96]))).toBeGreaterThan(0);
  });
});
