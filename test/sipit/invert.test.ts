import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { InputError } from '../../src/errors.ts';
import { type Context, createContext } from '../../src/gpu/context.ts';
import { bytesFromArray } from '../../src/io/blobs.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { forward } from '../../src/model/forward.ts';
import { type LoadedModel, loadModel, openModel } from '../../src/model/load.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { calibrate } from '../../src/sipit/decision.ts';
import { invert } from '../../src/sipit/invert.ts';
import { encodeStates, readStates } from '../../src/sipit/states-file.ts';
import type { Candidate, PositionResult, StateRecord } from '../../src/sipit/types.ts';
import { warmUpInverter } from '../../src/sipit/warm-up.ts';
import { read } from '../../src/tensor/tensor.ts';

let context: Context;
let model: LoadedModel;
beforeAll(async () => {
  context = await testContext();
  model = await loadModel(context, await openModel(checkoutSource('weights')));
});
afterAll(() => {
  model.dispose();
  context.destroy();
});

async function statesOf(text: string | Uint32Array, layer: number): Promise<StateRecord & { ids: Uint32Array }> {
  const ids = typeof text === 'string' ? model.tokenizer!.encode(text) : text;
  const states = forward(model, ids, { layer });
  const values = await read(states);
  states.dispose();
  return { ids, values, width: model.config.width, layer, dtype: 'F32' };
}

function expectTrueTokens(positions: readonly PositionResult[], ids: Uint32Array): void {
  expect(positions.map(({ token }) => token)).toEqual([...ids]);
  for (const { verdict, distance, radius, runnerUp, othersBeyond, margin } of positions) {
    expect(verdict).toBe('accepted');
    expect(distance).toBeLessThanOrEqual(radius);
    const others = Math.min(runnerUp?.distance ?? Number.POSITIVE_INFINITY, othersBeyond ?? Number.POSITIVE_INFINITY);
    expect(others).toBeGreaterThan(100 * radius);
    expect(margin).toBeCloseTo(others - distance);
  }
}

describe('a prompt comes back from the states of one layer', () => {
  test.each([1, 3, 6])('layer %i', async (layer) => {
    const record = await statesOf('We sailed at dawn.', layer);
    const result = await invert(model, record);
    expectTrueTokens(result.positions, record.ids);
    expect(result).toMatchObject({ text: 'We sailed at dawn.', exact: true, layer, scope: 'calibrated' });
    expect(result.cost.candidates).toBe(result.positions.reduce((sum, p) => sum + p.candidates, 0));
    expect(result.cost.forwardEquivalents).toBeGreaterThan(1);
  });

  test('uniformly random tokens, the last token of the vocabulary among them', async () => {
    const { next } = seededRandom(3);
    const ids = Uint32Array.from([4095, ...Array.from({ length: 3 }, () => Math.floor(next() * 4096))]);
    const record = await statesOf(ids, 1);
    expectTrueTokens((await invert(model, record)).positions, ids);
  });

  test('one token, exhaustively: the runner-up is the true one over the vocabulary', async () => {
    const record = await statesOf(Uint32Array.of(1234), 2);
    const result = await invert(model, record, { policy: 'exhaustive', batch: 1000 });
    expectTrueTokens(result.positions, record.ids);
    expect(result).toMatchObject({ scope: 'vocabulary', exact: true });
    expect(result.positions[0].candidates).toBe(4096);
  });

  test('the embedding itself, layer 0', async () => {
    const record = await statesOf('A light in the window', 0);
    expectTrueTokens((await invert(model, record)).positions, record.ids);
  });

  test.each(['F16', 'BF16'] as const)('through a file that stores %s', async (dtype) => {
    const { ids, ...record } = await statesOf('We sailed at dawn.', 3);
    const digest = await model.digest();
    const bytes = encodeStates([{ ...record, dtype, model: digest }]);
    const { records, skipped } = await readStates(await openSafetensors(bytesFromArray('s.safetensors', bytes)));
    expect(skipped).toEqual([]);
    const [stored] = records;
    expect(stored).toMatchObject({ layer: 3, width: 192, dtype, model: digest });
    const result = await invert(model, stored);
    expect(result.tokens).toEqual([...ids]);
    expect(result.exact).toBe(true);
  });
});

describe('no wrong token is passed off as recovered', () => {
  test('a spoilt state is flagged, its nearest token kept, and every other token is exact', async () => {
    const record = await statesOf('The lamp went out before noon.', 2);
    const { normal } = seededRandom(5);
    const spoilt = 3;
    const at = spoilt * record.width;
    normal(record.width, 0.2).forEach((noise, i) => {
      record.values[at + i] += noise;
    });
    const result = await invert(model, record);
    expect(result.exact).toBe(false);
    expect(result.tokens).toEqual([...record.ids]);
    expect(result.positions.map(({ verdict }) => verdict === 'accepted')).toEqual(
      Array.from(record.ids, (_, t) => t !== spoilt),
    );
    const { verdict, distance, othersBeyond, reason } = result.positions[spoilt];
    expect(verdict).toBe('not found');
    expect(othersBeyond).toBeGreaterThan(distance); // no other can be nearer: the vocabulary need not be tried
    expect(reason).toMatch(/no token/);
  });

  test('states that no token gives end the search after three, with the best candidates and their distances', async () => {
    const values = seededRandom(6).normal(20 * 192, 4);
    const result = await invert(model, { values, width: 192, layer: 2, dtype: 'F32' });
    expect(result).toMatchObject({ exact: false, length: 20 });
    expect(result.positions).toHaveLength(3);
    expect(result.positions[0]).toMatchObject({ verdict: 'not found', candidates: 4096 });
    expect(result.positions[0].distance).toBeGreaterThan(result.positions[0].radius);
  });

  test('two tokens with one embedding row cannot be told apart, and are reported as ambiguous', async () => {
    const files = await openModel(checkoutSource('weights'));
    const width = files.config.width;
    const original = files.checkpoint.float32;
    // Token 700 gets the row of token 701.
    const checkpoint = {
      ...files.checkpoint,
      async float32(name: string, begin?: number, end?: number) {
        const values = await original(name, begin, end);
        if (name.endsWith('wte.weight')) values.copyWithin(700 * width, 701 * width, 702 * width);
        return values;
      },
    };
    const twins = await loadModel(context, { ...files, checkpoint });
    const states = forward(twins, Uint32Array.of(700, 5), { layer: 1 });
    const result = await invert(twins, { values: await read(states), width, layer: 1, dtype: 'F32' });
    expect(result.exact).toBe(false);
    expect(result.positions[0]).toMatchObject({ verdict: 'ambiguous', token: 700, runnerUp: { token: 701 } });
    expect(result.positions[1]).toMatchObject({ verdict: 'accepted', token: 5 });
    states.dispose();
    twins.dispose();
  });

  test('our own rounding is far below the accept radius', async () => {
    expect(await calibrate(model, 6)).toBeLessThan(1e-5);
  });
});

describe('bad input', () => {
  const record = (change: Partial<StateRecord>): StateRecord => ({
    values: new Float32Array(2 * 192),
    width: 192,
    layer: 3,
    dtype: 'F32',
    ...change,
  });
  test.each([
    ['another width', record({ values: new Float32Array(100), width: 50 }), /rows of 50.*192/],
    ['a layer too deep', record({ layer: 7 }), /Layer 7 does not exist.*0.*to 6/],
    ['no positions', record({ values: new Float32Array(0) }), /0 positions/],
    ['more positions than the context', record({ values: new Float32Array(257 * 192) }), /257 positions.*256/],
    ['NaN', record({ values: new Float32Array(2 * 192).fill(Number.NaN, 200, 201) }), /NaN at position 1, dimension 8/],
    ['infinity', record({ values: new Float32Array(192).fill(Number.POSITIVE_INFINITY) }), /Infinity at position 0/],
  ])('%s', async (_, bad, message) => {
    const failure = invert(model, bad);
    await expect(failure).rejects.toThrow(InputError);
    await expect(failure).rejects.toThrow(message);
  });
});

test('a signal stops the search and keeps what was recovered', async () => {
  const states = await statesOf('We sailed at dawn.', 1);
  const controller = new AbortController();
  const seen: Candidate[] = [];
  const result = await invert(model, states, {
    signal: controller.signal,
    onPosition: (position) => {
      seen.push(position);
      if (seen.length === 2) controller.abort();
    },
  });
  expect(result.exact).toBe(false);
  expect(result.tokens).toEqual([...states.ids.subarray(0, 2)]);
});

test('after a warm-up an inversion compiles nothing', async () => {
  const fresh = await createContext({ device: context.device });
  const warm = await loadModel(fresh, await openModel(checkoutSource('weights')));
  const steps: [number, number][] = [];
  await warmUpInverter(warm, (done, total) => steps.push([done, total]));
  const { pipelinesCreated } = fresh.pipelines.statistics;
  expect(steps.at(-1)).toEqual([pipelinesCreated, pipelinesCreated]);
  const states = forward(warm, Uint32Array.of(300, 9, 77, 21), { layer: 1 });
  const result = await invert(warm, { values: await read(states), width: 192, layer: 1, dtype: 'F32' });
  expect(result.exact).toBe(true);
  expect(fresh.pipelines.statistics.pipelinesCreated).toBe(pipelinesCreated);
  warm.dispose();
  fresh.destroy();
});

test('a hundred inversions hold no more GPU memory than one', async () => {
  const record = await statesOf(Uint32Array.of(44), 0);
  await invert(model, record);
  const { liveBytes } = context.pool.statistics;
  for (let i = 0; i < 100; i++) await invert(model, record);
  expect(context.pool.statistics.liveBytes).toBe(liveBytes);
});
