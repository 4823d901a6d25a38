import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { type Context, createContext } from '../../src/gpu/context.ts';
import type { Checkpoint } from '../../src/io/checkpoint.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { parseConfig } from '../../src/model/config.ts';
import { forward } from '../../src/model/forward.ts';
import { capture } from '../../src/model/hooks.ts';
import { type LoadedModel, loadModel, modelFiles, openModel } from '../../src/model/load.ts';
import { countFrom } from '../../src/model/model.ts';
import { newPositionMap, type PositionMap } from '../../src/model/position-map.ts';
import { loadReferenceModel } from '../../src/model/reference.ts';
import { rmsError } from '../../src/reference/agree.ts';
import { read, readAll } from '../../src/tensor/tensor.ts';
import { worstRow } from '../support/agree.ts';
import { hashedCheckpoint } from '../support/hashed.ts';

/** Largest difference allowed, in units of the RMS of the row of one position. */
const BOUND = 2e-5;
const WINDOW = 6;
const LENGTH = 15;

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

describe.each(['cpu', 'hardware'] as const)(
  'across the edge of a local window, with kernels for %s adapters',
  (kind) => {
    let model: LoadedModel;
    let file: Checkpoint;
    let ids: Uint32Array;
    beforeAll(async () => {
      const on = await createContext({ device: context.device, kind });
      const source = checkoutSource('test/data/gptneo');
      model = await loadModel(on, await openModel(source)); // blocks: global, local, global, local
      file = await openSafetensors((await source.open('reference.safetensors'))!);
      ids = Uint32Array.from((await file.float32('input_ids')).subarray(0, LENGTH));
    });
    afterAll(async () => {
      model.dispose();
      await file.close();
    });

    const rowsAt = (first: number, count: number) =>
      model.embed(ids.subarray(first, first + count), countFrom(first, count));
    const extend = (map: PositionMap, count: number) =>
      map.extend(rowsAt(map.cache.lengths[0], count), [{ slot: 0, count }]);

    /** The worst row of states of positions from `first` on, against transformers. */
    async function errorOf(states: Float32Array, layer: number, first: number): Promise<number> {
      const d = model.config.width;
      return worstRow(states, await file.float64(`residual.${layer}`, first * d, first * d + states.length), d);
    }

    test.each([
      ['one by one', new Array(LENGTH).fill(1)],
      ['in pieces that end at the window and beside it', [5, 1, 1, 6, 2]],
      ['in two, the second longer than the window', [4, 11]],
    ])('a prompt extended %s has the states of the whole', async (_, pieces) => {
      for (const layer of [2, 4]) {
        const map = newPositionMap(model, layer, { capacity: LENGTH });
        let first = 0;
        for (const count of pieces) {
          expect(await errorOf(await read(extend(map, count)), layer, first)).toBeLessThan(BOUND);
          first += count;
        }
        map.cache.dispose();
      }
    });

    test.each([0, 1, WINDOW - 1, WINDOW, WINDOW + 1, LENGTH - 1])(
      'candidates for position %i see what the token there sees',
      async (t) => {
        const map = newPositionMap(model, 4, { capacity: LENGTH });
        if (t > 0) extend(map, t);
        const others = Uint32Array.from({ length: 9 }, (_, i) => (i === 4 ? ids[t] : i));
        const rows = model.embed(others, new Uint32Array(9).fill(t));
        const states = await read(map.states(rows, new Uint32Array(9)));
        const d = map.width;
        expect(await errorOf(states.subarray(4 * d, 5 * d), 4, t)).toBeLessThan(BOUND);
        map.cache.dispose();
      },
    );

    test('rows that see only part of a prefix have the window of that part', async () => {
      const map = newPositionMap(model, 4, { capacity: LENGTH });
      extend(map, LENGTH);
      const states = await read(map.states(rowsAt(0, LENGTH), new Uint32Array(LENGTH), countFrom(0, LENGTH)));
      expect(await errorOf(states, 4, 0)).toBeLessThan(BOUND);
      map.cache.dispose();
    });

    test('a local block hears nothing from before its window, a global one does', async () => {
      const changed = Uint32Array.from(ids);
      changed[3] = (ids[3] + 1) % model.config.vocabularySize;
      const hearing = async (block: number): Promise<number[]> => {
        const points = [`blocks.${block}.attn.hook_z`] as const;
        const { hooks, values } = capture(points);
        const runs: Float32Array[] = [];
        for (const tokens of [ids, changed]) {
          const map = newPositionMap(model, block + 1, { from: block, capacity: LENGTH });
          map.extend(model.embed(tokens, countFrom(0, LENGTH)), [{ slot: 0, count: LENGTH }], hooks).dispose();
          runs.push(await read(values.get(points[0])!));
          map.cache.dispose();
        }
        for (const value of values.values()) value.dispose();
        const d = model.config.width;
        const row = (run: Float32Array, t: number) => run.subarray(t * d, (t + 1) * d).join();
        return [...countFrom(0, LENGTH)].filter((t) => row(runs[0], t) !== row(runs[1], t));
      };
      expect(await hearing(0)).toEqual([...countFrom(3, LENGTH - 3)]);
      expect(await hearing(1)).toEqual([...countFrom(3, WINDOW)]);
    });

    test('hooks stand where they do in GPT-2, and change nothing by watching', async () => {
      const points = ['q', 'k', 'v', 'z'].map((part) => `blocks.1.attn.hook_${part}` as `blocks.1.attn.hook_q`);
      const { hooks, values } = capture([...points, 'blocks.1.hook_resid_mid', 'blocks.1.mlp.hook_pre']);
      const [hooked, plain] = [forward(model, ids, { hooks }), forward(model, ids)];
      const [a, b] = await readAll([hooked, plain]);
      expect(rmsError(a, b)).toBeLessThan(2e-6);
      for (const point of points) expect(values.get(point)!.shape).toEqual([LENGTH, model.config.width]);
      expect(values.get('blocks.1.mlp.hook_pre')!.shape).toEqual([LENGTH, 4 * model.config.width]);
      for (const tensor of [hooked, plain, ...values.values()]) tensor.dispose();
    });
  },
);

test.each(['cpu', 'hardware'] as const)(
  'a window of 256 in a context of 2048, with kernels for %s adapters: a prompt of 600, and candidates behind it',
  async (kind) => {
    const on = await createContext({ device: context.device, kind });
    const sizes = { vocab_size: 31, max_position_embeddings: 2048, hidden_size: 8, num_layers: 2, num_heads: 2 };
    const config = parseConfig(
      { model_type: 'gpt_neo', ...sizes, attention_types: [[['global', 'local'], 1]] },
      'config.json',
    );
    expect([0, 1].map(config.attentionWindow)).toEqual([undefined, 256]);
    const checkpoint = hashedCheckpoint(config);
    const model = await loadModel(on, modelFiles('hashed', config, checkpoint));
    const twin = await loadReferenceModel(config, (name) => checkpoint.float32(`transformer.${name}`));
    const ids = Uint32Array.from({ length: 600 }, (_, i) => (7 * i * i + i) % 31);
    const want = twin.residualStates(ids);
    const map = newPositionMap(model, 2); // a cache for all 2048 positions
    const states = map.extend(model.embed(ids, countFrom(0, 600)), [{ slot: 0, count: 600 }]);
    expect(worstRow(await read(states), want[2], 8)).toBeLessThan(BOUND);
    const prefix = twin.prefix();
    twin.extend(want[0], prefix);
    const candidates = Uint32Array.of(0, 11, 30);
    const rows = model.embed(candidates, new Uint32Array(3).fill(600));
    const expected = twin.states(
      [...candidates].flatMap((id) => [...twin.embed([id], 600)]),
      prefix,
    );
    expect(worstRow(await read(map.states(rows, new Uint32Array(3))), expected, 8)).toBeLessThan(BOUND);
    map.cache.dispose();
    model.dispose();
  },
);
