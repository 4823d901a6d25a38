import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { InputError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { type LoadedModel, loadModel, openModel } from '../../src/model/load.ts';
import { countFrom } from '../../src/model/model.ts';
import { newPositionMap } from '../../src/model/position-map.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { findLayer, type LayerTrial, placeRecords } from '../../src/sipit/find-layer.ts';
import { invert } from '../../src/sipit/invert.ts';
import type { FileRecord } from '../../src/sipit/states-file.ts';
import { take } from '../../src/tensor/tensor.ts';

let context: Context;
const models = new Map<string, LoadedModel>();
beforeAll(async () => {
  context = await testContext();
  for (const name of ['gpt2-tanh', 'gpt2-massive', 'gptneo']) {
    models.set(name, await loadModel(context, await openModel(checkoutSource(`test/data/${name}`))));
  }
});
afterAll(() => {
  for (const model of models.values()) model.dispose();
  context.destroy();
});

const some = (seed: number, length: number): Uint32Array => {
  const { next } = seededRandom(seed);
  return Uint32Array.from({ length }, () => Math.floor(next() * 97));
};

/** States of some tokens whose first stands at a position, with noise as a share of each state. */
async function recordOf(
  model: LoadedModel,
  layer: number,
  { ids = some(layer, 7), first = 0, noise = 0 } = {},
): Promise<FileRecord> {
  const map = newPositionMap(model, layer, { capacity: ids.length });
  const values = await take(
    context.scope(() => map.extend(model.embed(ids, countFrom(first, ids.length)), [{ slot: 0, count: ids.length }])),
  ).finally(map.cache.dispose);
  const { normal } = seededRandom(9);
  const d = model.config.width;
  for (let t = 0; t < ids.length; t++) {
    const row = values.subarray(t * d, (t + 1) * d);
    const deviation = noise * Math.sqrt(row.reduce((sum, value) => sum + value * value, 0) / d);
    normal(d, deviation).forEach((error, i) => {
      row[i] += error;
    });
  }
  return { values, width: d, dtype: 'F32', name: 'states' };
}

describe.each(['gpt2-tanh', 'gpt2-massive', 'gptneo'])('%s', (name) => {
  test('every layer is found, at once where it is the likeliest', async () => {
    const model = models.get(name)!;
    const { layers } = model.config;
    let trials = 0;
    for (let layer = 0; layer <= layers; layer++) {
      const { tried, ...found } = await findLayer(model, await recordOf(model, layer));
      expect(found).toEqual({ layer, firstPosition: 0 });
      expect(tried[0]).toMatchObject({ layer, firstPosition: 0 });
      expect(tried[0].distance).toBeLessThan(tried[0].radius);
      for (const { distance } of tried.slice(1)) expect(distance).toBeGreaterThan(0.05);
      trials += tried.length;
    }
    expect(trials).toBeLessThan(2 * (layers + 1));
  });

  test('and the first position, of those possible', async () => {
    const model = models.get(name)!;
    for (const first of [0, 5]) {
      for (const layer of [1, model.config.layers]) {
        const record = { ...(await recordOf(model, layer, { first })), firstPosition: 5, firstPositions: [5, 0] };
        expect(await findLayer(model, record)).toMatchObject({ layer, firstPosition: first });
      }
    }
  });

  test('a state alone is enough', async () => {
    const model = models.get(name)!;
    const record = await recordOf(model, 1, { ids: Uint32Array.of(33) });
    expect(await findLayer(model, record)).toMatchObject({ layer: 1 });
  });

  test('a spoilt state does not decide', async () => {
    const model = models.get(name)!;
    const record = await recordOf(model, 2);
    record.values.copyWithin(2 * 24, 5 * 24, 6 * 24);
    expect(await findLayer(model, record)).toMatchObject({ layer: 2 });
  });

  test.each([0.01, 0.05])('under noise of %d that nobody told of, all layers are compared', async (noise) => {
    const model = models.get(name)!;
    const { layer, tried } = await findLayer(model, await recordOf(model, 2, { noise }));
    expect(layer).toBe(2);
    expect(tried).toHaveLength(model.config.layers + 1);
    expect(tried[0].distance).toBeGreaterThan(tried[0].radius);
    expect(tried[1].distance).toBeGreaterThan(2 * tried[0].distance);
  });
});

describe('what fits nothing', () => {
  test.each([
    ['states of another model', () => recordOf(models.get('gptneo')!, 2)],
    [
      'noise',
      async (): Promise<FileRecord> => ({
        values: seededRandom(3).normal(5 * 24),
        width: 24,
        dtype: 'F32',
        name: 'states',
      }),
    ],
  ])('%s: an error says how far off each layer was, and whose states they are', async (_, make) => {
    const model = models.get('gpt2-tanh')!;
    const failure = findLayer(model, { ...(await make()), model: 'feedfeedfeedfeed' });
    await expect(failure).rejects.toThrow(InputError);
    await expect(failure).rejects.toThrow(
      new RegExp(
        String.raw`^states fits no layer of .*: layer 0 is off by \S+ %, layer 1 .*, layer 3 is off by \S+ %\. ` +
          `The digest of the model is ${await model.digest()}; the file was made by feedfeedfeedfeed\\. .*--model`,
      ),
    );
  });

  test('from none of the possible positions: the best of them counts', async () => {
    const values = seededRandom(3).normal(5 * 24);
    const record: FileRecord = { values, width: 24, dtype: 'F32', firstPositions: [2, 0] };
    await expect(findLayer(models.get('gpt2-tanh')!, record)).rejects.toThrow(
      /: layer 0 is off by \d+ %, layer 1 is off by [^,]*, layer 2 [^,]*, layer 3 [^,]* %\..*the file does not say which model/,
    );
  });

  test.each([
    ['another width', { values: new Float32Array(10), width: 5 }, /rows of 5.*24/],
    ['no rows', { values: new Float32Array(0), width: 24 }, /0 positions/],
    ['too many rows', { values: new Float32Array(41 * 24), width: 24 }, /41 positions.*40/],
    ['infinity', { values: new Float32Array(24).fill(Number.POSITIVE_INFINITY), width: 24 }, /Infinity at position 0/],
  ])('%s is refused before anything is tried', async (_, bad, message) => {
    const failure = findLayer(models.get('gpt2-tanh')!, { ...bad, dtype: 'F32' });
    await expect(failure).rejects.toThrow(InputError);
    await expect(failure).rejects.toThrow(message);
  });
});

test('zeros are no reason to fail otherwise', async () => {
  const record: FileRecord = { values: new Float32Array(48), width: 24, dtype: 'F32' };
  await expect(findLayer(models.get('gpt2-tanh')!, record)).rejects.toThrow(/fits no layer/);
});

test('the search tells of each trial, and stops by a signal', async () => {
  const model = models.get('gpt2-tanh')!;
  const record = await recordOf(model, 2, { noise: 0.02 });
  const seen: LayerTrial[] = [];
  await findLayer(model, record, {
    onTrial: (trial, done, total) => {
      seen.push(trial);
      expect([done, total]).toEqual([seen.length, 4]);
    },
  });
  expect(seen.map(({ layer }) => layer).toSorted()).toEqual([0, 1, 2, 3]);
  const controller = new AbortController();
  const failure = findLayer(model, record, { signal: controller.signal, onTrial: () => controller.abort() });
  await expect(failure).rejects.toThrow(controller.signal.reason);
});

test('a search holds no GPU memory afterwards', async () => {
  const model = models.get('gpt2-tanh')!;
  const record = await recordOf(model, 2, { noise: 0.02 });
  await findLayer(model, record);
  const { liveBytes } = context.pool.statistics;
  await findLayer(model, record);
  await findLayer(model, { ...record, values: seededRandom(4).normal(96) }).catch(() => {});
  expect(context.pool.statistics.liveBytes).toBe(liveBytes);
});

describe('records of a file', () => {
  test('are placed by one of them', async () => {
    const model = models.get('gpt2-tanh')!;
    const prompts = [some(1, 3), some(2, 6), some(3, 4)];
    const records = await Promise.all(
      prompts.map(async (ids, b): Promise<FileRecord> => {
        const begin = 6 - ids.length;
        const padded = begin > 0 && { firstPosition: begin, firstPositions: [begin, 0] };
        return { ...(await recordOf(model, 3, { ids })), name: `h[${b}]`, ...padded };
      }),
    );
    const placed = await placeRecords(model, { records });
    expect(placed.records.map(({ layer, firstPosition = 0 }) => [layer, firstPosition])).toEqual([
      [3, 0],
      [3, 0],
      [3, 0],
    ]);
    expect(placed.notes).toEqual([
      expect.stringMatching(/^The states are of layer 3: it explains the first of them up to \S+ %/),
      'Positions begin behind the padding, as in generate(): that fits.',
    ]);
    for (const [b, record] of placed.records.entries()) {
      expect(await invert(model, record)).toMatchObject({ exact: true, tokens: [...prompts[b]] });
    }
  });

  test('that leave nothing open cost nothing', async () => {
    const record = { ...(await recordOf(models.get('gpt2-tanh')!, 1)), layer: 1 };
    const { records, notes } = await placeRecords(models.get('gpt2-tanh')!, { records: [record] });
    expect(records).toEqual([record]);
    expect(notes).toEqual([]);
  });

  test('whose layer is told keep the likelier position where neither fits', async () => {
    const model = models.get('gpt2-tanh')!;
    const values = seededRandom(8).normal(4 * 24);
    const record: FileRecord = { values, width: 24, dtype: 'F32', layer: 2, firstPosition: 3, firstPositions: [3, 0] };
    const { records, notes } = await placeRecords(model, { records: [record] });
    expect(records).toMatchObject([{ layer: 2, firstPosition: 3 }]);
    expect(notes).toEqual([expect.stringMatching(/count the padding.*neither choice fits/)]);
  });
});
