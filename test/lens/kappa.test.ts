import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import type { Context } from '../../src/gpu/context.ts';
import { fitLens } from '../../src/lens/fit.ts';
import { kappaRows, pairRatio, SAFETY } from '../../src/lens/kappa.ts';
import { matrixFrom } from '../../src/linalg/dense.ts';
import { type LoadedModel, loadModel, openModel } from '../../src/model/load.ts';
import { countFrom } from '../../src/model/model.ts';
import { newPositionMap } from '../../src/model/position-map.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { take } from '../../src/tensor/tensor.ts';

const D = 5;
const normal = (seed: number, size: number): Float32Array => Float32Array.from(seededRandom(seed).normal(size));
const B = normal(1, D * D);
const mapped = (rows: Float32Array, scale = 1): Float32Array =>
  Float32Array.from(matrixFrom(rows, D).mmul(matrixFrom(B, D)).to1DArray(), (value) => scale * value);

describe('kappa of some rows', () => {
  const rows = normal(2, 60 * D);

  test('is a share of what distances shrink by', () => {
    expect(pairRatio(rows, mapped(rows, 0.5), B, D)).toBeCloseTo(SAFETY / 2, 5);
  });

  test('is no more where they grow', () => {
    expect(pairRatio(rows, mapped(rows, 3), B, D)).toBeCloseTo(SAFETY, 5);
  });

  test('is that of the worst pair', () => {
    const states = mapped(rows);
    // Rows 7 and 30 are drawn together to a tenth of their distance.
    for (let j = 0; j < D; j++) states[30 * D + j] = 0.9 * states[7 * D + j] + 0.1 * states[30 * D + j];
    const others = pairRatio(rows.slice(31 * D), states.slice(31 * D), B, D);
    expect(pairRatio(rows, states, B, D)).toBeLessThanOrEqual(Math.fround((SAFETY / 10) * (1 + 1e-5)));
    expect(others).toBeCloseTo(SAFETY, 5);
  });

  test('takes no account of equal rows, nor of those that only rounding tells apart', () => {
    const twins = rows.slice();
    twins.copyWithin(8 * D, 3 * D, 4 * D);
    twins.copyWithin(20 * D, 9 * D, 10 * D);
    twins[20 * D] += 1e-6;
    expect(pairRatio(twins, mapped(twins), B, D)).toBeGreaterThan(0.99 * SAFETY);
  });

  test('of one row is that share, as there is nothing to be told apart', () => {
    expect(pairRatio(rows.slice(0, D), mapped(rows).slice(0, D), B, D)).toBeCloseTo(SAFETY, 5);
  });
});

test('kappa takes some 1100 rows of prompts of 128, and none of prompts of one', () => {
  expect(kappaRows(128)).toBe(8 * 64 + 3 * 127 + 3 * 63 + 2 * 31);
  expect(kappaRows(2)).toBe(8 * 65);
  expect(kappaRows(1)).toBe(0);
});

describe('of a model', () => {
  let context: Context;
  let model: LoadedModel;
  beforeAll(async () => {
    context = await testContext();
    model = await loadModel(context, await openModel(checkoutSource('test/data/gpt2-tanh'))); // 97 tokens, 40 positions
  });
  afterAll(() => {
    model.dispose();
    context.destroy();
  });

  test('no pair of tokens lies nearer than kappa says, behind prefixes it was not measured on', async () => {
    const { width: d, vocabularySize } = model.config;
    const { next } = seededRandom(21);
    for (const { layer, first, rest } of await fitLens(model, [1, 2, 3])) {
      for (const length of [0, 1, 5, 20, 39]) {
        const lens = length > 0 ? rest : first;
        const prefix = Uint32Array.from({ length }, () => Math.floor(next() * vocabularySize));
        const map = newPositionMap(model, layer, { capacity: Math.max(1, length) });
        if (length > 0) {
          context.scope(() => {
            map.extend(model.embed(prefix, countFrom(0, length)), [{ slot: 0, count: length }]);
          });
        }
        const [rows, states] = context.scope(() => {
          const all = countFrom(0, vocabularySize);
          const input = model.embed(all, new Uint32Array(vocabularySize).fill(length));
          return [input, map.states(input, new Uint32Array(vocabularySize))];
        });
        const [w, h] = [await take(rows), await take(states)];
        map.cache.dispose();
        // `pairRatio` keeps a share.
        expect(pairRatio(w, h, lens.embedding, d) / SAFETY, `layer ${layer}, behind ${length}`).toBeGreaterThan(
          lens.kappa,
        );
      }
    }
  });
});
