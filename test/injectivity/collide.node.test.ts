import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { type Context, createContext } from '../../src/gpu/context.ts';
import { comparePairs, type Pair } from '../../src/injectivity/closest.ts';
import { type CollideOptions, collide } from '../../src/injectivity/collide.ts';
import { exactDistance } from '../../src/injectivity/compare.ts';
import { lastStates } from '../../src/injectivity/last-states.ts';
import { margins } from '../../src/injectivity/margins.ts';
import { compareIds, promptSet } from '../../src/injectivity/prompt-set.ts';
import { mergeResults, resultOf } from '../../src/injectivity/result.ts';
import { folderStore } from '../../src/injectivity/store.node.ts';
import { parseConfig } from '../../src/model/config.ts';
import { forward } from '../../src/model/forward.ts';
import { type LoadedModel, loadModel, modelFiles } from '../../src/model/load.ts';
import { binStart } from '../../src/ops/pair-distances.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { take } from '../../src/tensor/tensor.ts';
import { expectAgree } from '../support/agree.ts';
import { hashedCheckpoint } from '../support/hashed.ts';
import { plantedStore } from '../support/planted.ts';

const config = parseConfig(
  { model_type: 'gpt2', vocab_size: 97, n_positions: 24, n_embd: 36, n_layer: 3, n_head: 3 },
  'a small model',
);
const { width } = config;

let own: Context;
beforeAll(async () => {
  own = await testContext();
});
afterAll(() => own.destroy());

const load = (context: Context) => loadModel(context, modelFiles('small', config, hashedCheckpoint(config)));

/** Distinct prompts, sorted; many share a beginning, and some are the beginning of others. */
function prompts(count: number): Uint32Array[] {
  const random = seededRandom(5);
  const below = (n: number) => Math.floor(random.next() * n);
  const seen = new Map<string, Uint32Array>();
  while (seen.size < count) {
    const ids = Uint32Array.from({ length: 1 + below(12) }, (_, i) => below(i < 3 ? 4 : 97));
    seen.set(ids.join(), ids);
  }
  return [...seen.values()].sort(compareIds);
}

const setOf = (ids: readonly Uint32Array[]) =>
  promptSet(
    config,
    ids.map((one, i) => ({ line: i + 1, ids: one })),
  );
const identity = {
  model: 'm',
  config: 'c',
  prompts: 'p',
  layers: [1, 2, 3],
  precisions: ['f32'],
  closest: 10,
} as const;

describe.each(['cpu', 'hardware'] as const)('last-token states, on %s adapters', (kind) => {
  test('are those of a pass of each prompt by itself, at every layer asked for', async () => {
    const context = await createContext({ device: own.device, kind });
    const model = await load(context);
    const some = prompts(60);
    for await (const { first, layers } of lastStates(model, some, [1, 3])) {
      for (const [i, layer] of [1, 3].entries()) {
        for (let k = 0; k < layers[i].length / width; k += 7) {
          const whole = await take(forward(model, some[first + k], { layer }));
          const state = layers[i].subarray(k * width, (k + 1) * width);
          expectAgree(state, whole.slice(-width), { rel: 1e-4, abs: 2e-5 }, `prompt ${k}, layer ${layer}`);
        }
      }
    }
    model.dispose();
  });
});

describe('the test of all pairs', () => {
  let model: LoadedModel;
  beforeAll(async () => {
    model = await load(own);
  });
  afterAll(() => model.dispose());

  test.each([
    ['cpu', 2000],
    ['hardware', 250], // whose barriers are dear on the adapters of tests
  ] as const)(
    'misses nothing: on %s adapters, among %i prompts with near-duplicates, it finds what float64 finds over all pairs',
    async (kind, count) => {
      const context = await createContext({ device: own.device, kind });
      const on = await load(context);
      const some = prompts(count);
      const store = plantedStore(some.length, width);
      const below = 1e-5;
      const { layers } = await collide(on, some, { store, layers: [1, 3], closest: count / 10, below });
      for (const { layer, closest, below: found, histogram, pairs } of layers) {
        const states = await store.read(layer, 0, some.length);
        const all: Pair[] = [];
        let near = 0;
        const counts = new Array<number>(histogram.length).fill(0);
        for (let a = 0; a < some.length; a++) {
          for (let b = a + 1; b < some.length; b++) {
            const distance = exactDistance(states, a, states, b, width);
            if (distance < below) near++;
            if (distance < 0.05) all.push({ a, b, distance });
            counts[binOf(distance ** 2)]++;
          }
        }
        expect(all.length).toBeGreaterThan(count / 10);
        expect(closest).toEqual(all.sort(comparePairs).slice(0, count / 10));
        expect(near).toBeGreaterThan(count / 40);
        expect(found).toBe(near);
        expect(pairs).toBe((count * (count - 1)) / 2);
        expect(histogram.reduce((sum, count) => sum + count, 0)).toBe(pairs);
        // A pair within rounding of an edge may be in the neighbouring bin: sums up to an edge differ by few.
        let [got, want] = [0, 0];
        histogram.forEach((count, bin) => {
          got += count;
          want += counts[bin];
          expect(Math.abs(got - want)).toBeLessThanOrEqual(2 + 1e-4 * pairs);
        });
      }
      on.dispose();
    },
  );

  test('in shards, merged, gives what one run gives', async () => {
    const some = prompts(600);
    const set = setOf(some);
    const run = async (options: CollideOptions) =>
      resultOf(await collide(model, some, { store: plantedStore(600, width), ...options }), set, identity);
    const whole = await run({});
    const parts = await Promise.all(
      [2, 0, 1].map(async (index) => ({ name: `part ${index}`, result: await run({ shard: { index, count: 3 } }) })),
    );
    expect(parts.every(({ result }) => result.layers[0].pairs < whole.layers[0].pairs / 2)).toBe(true);
    expect(mergeResults(parts)).toEqual(whole);
    expect(() => mergeResults(parts.slice(1))).toThrow(/Of 3 shards 2 are missing/);
    expect(() => mergeResults([...parts, parts[0]])).toThrow(/both shard 2\/3/);
  });

  test('stopped anywhere and taken up again, gives what an unbroken run gives', async () => {
    const some = prompts(400);
    const set = setOf(some);
    const job = { ...identity, shard: { index: 0, count: 1 }, below: 1e-6 };
    const whole = resultOf(await collide(model, some), set, identity);
    const folder = await mkdtemp(join(tmpdir(), 'preimage-collide-'));
    let calls = 0;
    let result: ReturnType<typeof resultOf> | undefined;
    for (let stops = 0; !result; stops++) {
      const controller = new AbortController();
      const store = await folderStore(folder, job, width, { resume: stops > 0, force: stops === 0 });
      let left = 9;
      try {
        const onProgress = () => {
          calls++;
          if (--left === 0) controller.abort();
        };
        const found = await collide(model, some, { store, signal: controller.signal, onProgress });
        result = resultOf(found, set, identity);
        expect(stops).toBeGreaterThan(3);
      } catch (error) {
        if (error !== controller.signal.reason) throw error;
      } finally {
        await store.close();
      }
    }
    expect(calls).toBeGreaterThan(30);
    expect(result).toEqual(whole);
    const other = { ...job, model: 'another' };
    await expect(folderStore(folder, other, width, { resume: true })).rejects.toThrow(
      /begun with the model with digest "m"/,
    );
    await expect(folderStore(folder, job, width)).rejects.toThrow(/Go on with --resume/);
    await writeFile(join(folder, 'lock'), `${hostname()} ${process.ppid}`);
    await expect(folderStore(folder, job, width, { force: true })).rejects.toThrow(/in use by process \d/);
    await writeFile(join(folder, 'lock'), `${hostname()} 4194305`); // more than any process has
    await writeFile(join(folder, 'notes.txt'), '');
    await (await folderStore(folder, job, width, { force: true })).remove();
    expect(await readdir(folder)).toEqual(['notes.txt']);
    await rm(folder, { recursive: true });
  });

  test('finds the collisions that rounding to 4 bits makes, and none before', async () => {
    const some = prompts(300);
    const { layers } = await collide(model, some, { layers: [1], precisions: ['f32', 'f16', 'bf16', 'int8', 'int4'] });
    const found = Object.fromEntries(layers.map(({ precision, below }) => [precision, below]));
    expect(found).toMatchObject({ f32: 0, f16: 0, bf16: 0, int8: 0 });
    expect(found.int4).toBeGreaterThan(0);
  });

  test('refuses the embedding, and states that are not finite, by name', async () => {
    const some = prompts(20);
    await expect(collide(model, some, { layers: [0, 1] })).rejects.toThrow(/Layer 0 is the embedding/);
    await expect(collide(model, some, { layers: [4] })).rejects.toThrow(/Layer 4 does not exist/);
    await expect(collide(model, some, { below: 1e-20 })).rejects.toThrow(/no distance that pairs can be counted below/);
    const checkpoint = hashedCheckpoint(config);
    const biased = (by: number) => ({
      ...checkpoint,
      float32: async (name: string, begin?: number, end?: number) => {
        const values = await checkpoint.float32(name, begin, end);
        return name.endsWith('h.1.mlp.c_proj.bias') ? values.fill(by) : values;
      },
    });
    const bad = await loadModel(own, modelFiles('broken', config, biased(Number.NaN)));
    await expect(collide(bad, some, { layers: [1, 2] })).rejects.toThrow(/prompt 0 at layer 2 holds NaN/);
    await expect(margins(bad, [some[0]]).next()).rejects.toThrow(
      /token 0 behind the prefix, at layer 2, has length NaN/,
    );
    bad.dispose();
    const large = await loadModel(own, modelFiles('large', config, biased(1e5)));
    await expect(collide(large, some, { precisions: ['f16'] })).rejects.toThrow(/prompt 0 .*Infinity.*leave f16 out/);
    large.dispose();
  });

  test('margins are the least distance of any two next tokens', async () => {
    const prefix = Uint32Array.of(3, 1, 4);
    const found = [];
    for await (const one of margins(model, [new Uint32Array(0), prefix], { layers: [1, 3] })) found.push(one);
    expect(found.map(({ depth }) => depth)).toEqual([0, 3]);
    const states: Float32Array[] = [];
    for (let token = 0; token < config.vocabularySize; token++) {
      states.push((await take(forward(model, Uint32Array.of(...prefix, token)))).slice(-width));
    }
    let least = Number.POSITIVE_INFINITY;
    let tokens: [number, number] = [0, 0];
    for (const [a, x] of states.entries()) {
      for (let b = a + 1; b < states.length; b++) {
        const distance = exactDistance(x, 0, states[b], 0, width);
        if (distance < least) [least, tokens] = [distance, [a, b]];
      }
    }
    expect(found[1].layers[1].tokens).toEqual(tokens);
    expect(found[1].layers[1].distance).toBeCloseTo(least, 4);
  });
});

describe('a set of prompts', () => {
  const lines = (...ids: number[][]) => ids.map((one, i) => ({ line: i + 1, ids: Uint32Array.from(one) }));

  test('keeps each once, and says which lines were left out and why', () => {
    const long = Array.from({ length: 30 }, (_, i) => i);
    const set = promptSet(config, lines([5, 6], [2], long, [5, 6], [5], [500], []));
    expect(set.prompts.map(({ line }) => line)).toEqual([2, 5, 1]);
    expect(set.duplicates).toEqual([{ line: 4, of: 1 }]);
    expect(set.skipped.map(({ line }) => line)).toEqual([3, 6, 7]);
    expect(set.skipped[0].reason).toMatch(/30 tokens; the model has 24/);
  });

  test('of fewer than two is refused', () => {
    expect(() => promptSet(config, lines([1, 2], [1, 2]))).toThrow(/1 is distinct.*1 duplicates.*no pair/);
    expect(() => promptSet(config, [])).toThrow(/no pair/);
  });
});

const STARTS = Array.from({ length: 256 }, (_, bin) => binStart(bin));

/** The last bin that begins at or below a square. */
function binOf(square: number): number {
  let [bin, end] = [0, STARTS.length];
  while (end - bin > 1) {
    const middle = (bin + end) >> 1;
    if (square >= STARTS[middle]) bin = middle;
    else end = middle;
  }
  return bin;
}
