import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { InputError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { type FitOptions, fitLens, planFit, UNIT } from '../../src/lens/fit.ts';
import type { LayerLens, LinearLens } from '../../src/lens/lens.ts';
import { matrixFrom } from '../../src/linalg/dense.ts';
import { whitener } from '../../src/linalg/positive.ts';
import { type ModelConfig, parseConfig } from '../../src/model/config.ts';
import { forward } from '../../src/model/forward.ts';
import { initialCheckpoint } from '../../src/model/initial.ts';
import { type LoadedModel, loadModel, type ModelFiles, modelFiles, openModel } from '../../src/model/load.ts';
import { countFrom } from '../../src/model/model.ts';
import { read } from '../../src/tensor/tensor.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

/** A fixture, perhaps with its files changed. */
async function fixture(name: string, change = (files: ModelFiles) => files): Promise<LoadedModel> {
  const model = await loadModel(context, change(await openModel(checkoutSource(`test/data/${name}`))));
  onTestFinished(model.dispose);
  return model;
}

const gpt2 = (sizes: Record<string, number>): ModelConfig =>
  parseConfig({ model_type: 'gpt2', n_head: 1, n_layer: 2, ...sizes }, 'config.json');

async function fresh(config: ModelConfig): Promise<LoadedModel> {
  const model = await loadModel(context, modelFiles('fresh', config, initialCheckpoint(config, 1)));
  onTestFinished(model.dispose);
  return model;
}

function expectSound({ layer, rms, first, rest }: LayerLens, d: number): void {
  expect(rms, `layer ${layer}`).toBeGreaterThan(0);
  for (const { embedding, previous, intercept, covariance, kappa } of [first, rest]) {
    expect([embedding, intercept, covariance].map(({ length }) => length)).toEqual([d * d, d, d * d]);
    expect([...embedding, ...intercept, ...covariance, ...(previous ?? [])].every(Number.isFinite)).toBe(true);
    expect(kappa).toBeGreaterThan(0);
    expect(kappa).toBeLessThanOrEqual(1);
    const s = matrixFrom(covariance, d);
    expect(s.isSymmetric()).toBe(true);
    expect(() => whitener(s)).not.toThrow();
  }
  expect(first.previous).toBeUndefined();
  expect(rest.previous).toHaveLength(d * d);
}

/** Root mean square of what a lens leaves of the states of a prompt, and of the states about their mean. */
async function explained(model: LoadedModel, { layer, rest }: LayerLens, ids: Uint32Array): Promise<[number, number]> {
  const d = model.config.width;
  const states = context.scope(() => forward(model, ids, { layer }));
  const rows = context.scope(() => model.embed(ids, countFrom(0, ids.length)));
  const [h, e] = [await read(states), await read(rows)].map((values) => matrixFrom(values, d));
  states.dispose();
  rows.dispose();
  const behind = h.subMatrix(1, ids.length - 1, 0, d - 1);
  const predicted = e
    .subMatrix(1, ids.length - 1, 0, d - 1)
    .mmul(matrixFrom(rest.embedding, d))
    .add(h.subMatrix(0, ids.length - 2, 0, d - 1).mmul(matrixFrom(rest.previous!, d)))
    .addRowVector([...rest.intercept]);
  const rms = (norm: number) => norm / Math.sqrt(behind.rows * d);
  return [rms(behind.clone().sub(predicted).norm('frobenius')), rms(behind.center('column').norm('frobenius'))];
}

describe('a fit', () => {
  test.each(['gpt2-tanh', 'gptneo'])(
    'of every layer of %s is sound, and explains states it has not seen',
    async (name) => {
      const model = await fixture(name);
      const { layers, width, vocabularySize } = model.config;
      const lenses = await fitLens(model, countFrom(0, layers + 1).reverse() as unknown as number[]);
      expect(lenses.map(({ layer }) => layer)).toEqual([...countFrom(0, layers + 1)]);
      const ids = countFrom(0, 40).map((i) => (i * 31 + 7) % vocabularySize);
      for (const lens of lenses.slice(1)) {
        expectSound(lens, width);
        const [left, whole] = await explained(model, lens, ids);
        expect(left).toBeLessThan(0.9 * whole);
        // The covariance says how much is left.
        const s = matrixFrom(lens.rest.covariance, width);
        expect(left / Math.sqrt(s.trace() / width)).toBeGreaterThan(0.7);
        expect(left / Math.sqrt(s.trace() / width)).toBeLessThan(1.4);
      }
    },
  );

  test('comes out the same for a seed, and otherwise for another; for a layer alone as for it among others', async () => {
    const model = await fixture('gpt2-unscaled-attention');
    const [one] = await fitLens(model, [2], { seed: 5 });
    expect(await fitLens(model, [1, 2], { seed: 5 })).toEqual([expect.objectContaining({ layer: 1 }), one]);
    const [other] = await fitLens(model, [2], { seed: 6 });
    expect(other.rest.embedding).not.toEqual(one.rest.embedding);
  });

  test('of a layer named twice is made once', async () => {
    const model = await fixture('gpt2-unscaled-attention');
    expect((await fitLens(model, [1, 0, 1, 0])).map(({ layer }) => layer)).toEqual([0, 1]);
  });

  test('takes the unit of noise from where states are of their usual size', async () => {
    const model = await fixture('gpt2-massive');
    const [lens] = await fitLens(model, [2]);
    const states = forward(model, countFrom(0, 40), { layer: 2 });
    const h = await read(states);
    states.dispose();
    const rms = (rows: Float32Array) => Math.hypot(...rows) / Math.sqrt(rows.length);
    const d = model.config.width;
    expect(rms(h.subarray(0, d))).toBeGreaterThan(100 * lens.rms);
    expect(lens.rms / rms(h.subarray(d))).toBeGreaterThan(0.5);
    expect(lens.rms / rms(h.subarray(d))).toBeLessThan(2);
  });

  test('leaves no buffer behind', async () => {
    const model = await fixture('gpt2-unscaled-attention');
    const { liveBytes } = context.pool.statistics;
    await fitLens(model, [0, 1, 2]);
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
  });
});

describe('the cost of a fit', () => {
  test.each([
    ['the default model', gpt2({ vocab_size: 4096, n_positions: 256, n_embd: 192 })],
    ['GPT-2 small', gpt2({ vocab_size: 50257, n_positions: 1024, n_embd: 768 })],
    ['a fixture', gpt2({ vocab_size: 97, n_positions: 40, n_embd: 24 })],
    ['a model of one token', gpt2({ vocab_size: 1, n_positions: 1, n_embd: 8 })],
  ])('for %s is within 60 passes of 128 rows, with more rows than there are features', (_, config) => {
    const { length, own, random, rows } = planFit(config);
    expect(rows / UNIT).toBeLessThanOrEqual(60);
    expect(length).toBeLessThanOrEqual(128);
    if (length > 1) expect((own + random) * (length - 1)).toBeGreaterThan(4 * config.width);
  });

  test('is told of as it grows, and is the planned one in the end', async () => {
    const model = await fixture('gpt2-unscaled-attention');
    const steps: [number, number][] = [];
    await fitLens(model, [1], { onProgress: (...step) => steps.push(step) });
    const total = planFit(model.config).rows / UNIT;
    expect(steps.every(([, of]) => of === total)).toBe(true);
    expect(steps.map(([done]) => done)).toEqual(steps.map(([done]) => done).toSorted((a, b) => a - b));
    expect(steps.at(-1)![0]).toBe(total);
  });

  test('is nothing for layer 0, whose states are the rows of the embedding', async () => {
    const model = await fixture('gpt2-tanh');
    let passes = 0;
    const [{ layer, rms, first, rest }] = await fitLens(model, [0], { onProgress: () => passes++ });
    expect(passes).toBe(0);
    expect(layer).toBe(0);
    const d = model.config.width;
    expect(first).toMatchObject({ kappa: 1, intercept: new Float32Array(d) });
    expect(rest).toBe(first);
    expect(matrixFrom(first.embedding, d).sub(matrixFrom(first.covariance, d).div(first.covariance[0])).max()).toBe(0);
    const states = forward(model, countFrom(0, 40), { layer: 0 });
    const h = await read(states);
    states.dispose();
    expect(rms / (Math.hypot(...h) / Math.sqrt(h.length))).toBeCloseTo(1, 0);
  });
});

describe('a small model is fitted all the same', () => {
  test.each([
    ['with a single position', { vocab_size: 30, n_positions: 1, n_embd: 8 }],
    ['with two positions', { vocab_size: 30, n_positions: 2, n_embd: 8 }],
    ['with fewer tokens than dimensions', { vocab_size: 3, n_positions: 20, n_embd: 16 }],
    ['with a single token', { vocab_size: 1, n_positions: 20, n_embd: 8 }],
  ])('%s', async (_, sizes) => {
    const model = await fresh(gpt2(sizes));
    const numbers = ({ embedding, previous = new Float32Array(), intercept, covariance, kappa }: LinearLens) => [
      ...embedding,
      ...previous,
      ...intercept,
      ...covariance,
      kappa,
    ];
    for (const { rms, first, rest } of await fitLens(model, [1, 2])) {
      expect([rms, ...numbers(first), ...numbers(rest)].every(Number.isFinite)).toBe(true);
      for (const { kappa } of [first, rest]) {
        expect(kappa).toBeGreaterThan(0);
        expect(kappa).toBeLessThanOrEqual(1);
      }
    }
  });
});

describe('a fit is refused or stopped', () => {
  test.each([-1, 3, 1.5])('for layer %d, which does not exist', async (layer) => {
    const model = await fixture('gpt2-unscaled-attention');
    await expect(fitLens(model, [1, layer])).rejects.toThrow(InputError);
    await expect(fitLens(model, [1, layer])).rejects.toThrow(`Layer ${layer} does not exist`);
  });

  /** The fixture with a NaN in a tensor. */
  const damaged = (tensor: string) =>
    fixture('gpt2-unscaled-attention', (files) => ({
      ...files,
      checkpoint: {
        ...files.checkpoint,
        async float32(name, begin, end) {
          const values = await files.checkpoint.float32(name, begin, end);
          if (name.endsWith(tensor)) values[3] = Number.NaN;
          return values;
        },
      },
    }));

  test.each([
    ['a block', 'h.0.mlp.c_fc.weight', [1, 2], 1],
    ['the embedding', 'wte.weight', [0], 0],
  ])('where a weight of %s is NaN', async (_, tensor, layers, named) => {
    const model = await damaged(tensor);
    const { liveBytes } = context.pool.statistics;
    await expect(fitLens(model, layers)).rejects.toThrow(InputError);
    await expect(fitLens(model, layers)).rejects.toThrow(
      new RegExp(`States of layer ${named} are not finite.*check the checkpoint`),
    );
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
  });

  test('before it begins by a signal, with its reason', async () => {
    const model = await fixture('gpt2-unscaled-attention');
    const signal = AbortSignal.abort(new Error('enough'));
    for (const layers of [[1], [0]]) await expect(fitLens(model, layers, { signal })).rejects.toThrow('enough');
  });

  // While sampling, in the random prompts, in the single tokens, and when all has run.
  test.each([0.1, 0.7, 0.85, 1])('by a signal after %d of the rows, before the next batch', async (share) => {
    const model = await fixture('gpt2-unscaled-attention');
    const controller = new AbortController();
    const { liveBytes } = context.pool.statistics;
    let after = 0;
    const options: FitOptions = {
      signal: controller.signal,
      onProgress(done, total) {
        if (controller.signal.aborted) after++;
        if (done >= share * total) controller.abort(new Error('enough'));
      },
    };
    await expect(fitLens(model, [1, 2], options)).rejects.toThrow('enough');
    expect(after).toBe(0);
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
  });
});
