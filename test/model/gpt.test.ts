import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { type Context, createContext } from '../../src/gpu/context.ts';
import type { Checkpoint } from '../../src/io/checkpoint.ts';
import { readJson } from '../../src/io/json.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import type { Source } from '../../src/io/source.ts';
import { parseConfig } from '../../src/model/config.ts';
import { forward, residualStates } from '../../src/model/forward.ts';
import { capture, type HookPoint } from '../../src/model/hooks.ts';
import { type LoadedModel, loadModel, modelFiles, openModel } from '../../src/model/load.ts';
import { countFrom } from '../../src/model/model.ts';
import { newPositionMap } from '../../src/model/position-map.ts';
import { rmsError } from '../../src/reference/agree.ts';
import { read, readAll, upload } from '../../src/tensor/tensor.ts';
import { worstRow } from '../support/agree.ts';
import { FIXTURES } from '../support/fixture-names.ts';
import { hashedCheckpoint } from '../support/hashed.ts';

/** Largest difference allowed, in units of the RMS of each state: of the row of one position. */
const BOUND = 2e-5;

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

async function load(source: Source, on = context): Promise<LoadedModel> {
  if (!source.name.includes('hashed')) return loadModel(on, await openModel(source));
  const config = parseConfig(await readJson(source, 'config.json'), 'config.json');
  return loadModel(on, modelFiles(source.name, config, hashedCheckpoint(config)));
}

async function reference(source: Source): Promise<Checkpoint> {
  const file = await openSafetensors((await source.open('reference.safetensors'))!);
  onTestFinished(() => file.close());
  return file;
}

/** Rows of a reference tensor [B, T, width] for one sequence. */
async function referenceRows(file: Checkpoint, name: string, sequence: number): Promise<Float64Array> {
  const [, rows = 0, width = 0] = file.tensors.get(name)!.shape;
  return file.float64(name, sequence * rows * width, (sequence + 1) * rows * width);
}

describe.each(['cpu', 'hardware'] as const)('with kernels for %s adapters', (kind) => {
  test.each([...FIXTURES, 'hashed-d64'])(
    '%s: every residual state and the logits are those of transformers',
    async (name) => {
      const source = checkoutSource(`test/data/${name}`);
      const on = await createContext({ device: context.device, kind });
      const model = await load(source, on);
      const file = await reference(source);
      const [batch = 0, length = 0] = file.tensors.get('input_ids')!.shape;
      const ids = await file.float32('input_ids');
      const positions = file.tensors.has('positions') ? await file.float32('positions') : countFrom(0, length);
      const keep = (values: Float32Array, width: number) =>
        Float32Array.from([...positions].flatMap((p) => [...values.subarray(p * width, (p + 1) * width)]));
      for (let b = 0; b < batch; b++) {
        const states = residualStates(model, Uint32Array.from(ids.subarray(b * length, (b + 1) * length)));
        const logits = model.logits(states.at(-1)!);
        const got = await readAll([...states, logits]);
        for (let layer = 0; layer < states.length; layer++) {
          const want = await referenceRows(file, `residual.${layer}`, b);
          expect(
            worstRow(keep(got[layer], model.config.width), want, model.config.width),
            `residual.${layer}`,
          ).toBeLessThan(BOUND);
        }
        const want = await referenceRows(file, 'logits', b);
        const { vocabularySize } = model.config;
        expect(worstRow(keep(got.at(-1)!, vocabularySize), want, vocabularySize), 'logits').toBeLessThan(BOUND);
        for (const tensor of [...states, logits]) tensor.dispose();
      }
      model.dispose();
    },
  );
});

describe('the position map', () => {
  let model: LoadedModel;
  beforeAll(async () => {
    model = await load(checkoutSource('weights'));
  });
  afterAll(() => model.dispose());

  const sentence = 'The sea was calm, and nobody on the shore looked up.';
  const ids = () => model.tokenizer!.encode(sentence);
  const rowsOf = (tokens: Uint32Array, first = 0) => model.embed(tokens, countFrom(first, tokens.length));

  test('candidates over a cached prefix get the states of the whole prompt', async () => {
    const tokens = ids();
    const whole = await read(forward(model, tokens, { layer: 4 }));
    const map = newPositionMap(model, 4, { slots: 3 });
    const last = tokens.length - 1;
    map.extend(rowsOf(tokens.subarray(0, last)), [{ slot: 2, count: last }]);
    const candidates = map.states(rowsOf(tokens.subarray(last), last), Uint32Array.of(2));
    const d = map.width;
    expect(rmsError(await read(candidates), whole.subarray(last * d))).toBeLessThan(2e-6);
    map.cache.dispose();
  });

  test('windows of several sequences at once equal each alone, and truncate undoes them', async () => {
    const [a, b] = [ids(), model.tokenizer!.encode('Then it rained for a week.')];
    const map = newPositionMap(model, 6, { slots: 2, capacity: 32 });
    map.extend(rowsOf(a.subarray(0, 3)), [{ slot: 0, count: 3 }]);
    map.extend(rowsOf(b.subarray(0, 5)), [{ slot: 0, count: 5 }]);
    map.cache.truncate(0, 3);
    const rest = [a.subarray(3), b] as const;
    const positions = Uint32Array.from([...countFrom(3, rest[0].length), ...countFrom(0, b.length)]);
    const rows = model.embed(Uint32Array.from([...rest[0], ...b]), positions);
    const both = await read(
      map.extend(rows, [
        { slot: 0, count: rest[0].length },
        { slot: 1, count: b.length },
      ]),
    );
    const alone = await readAll([forward(model, a), forward(model, b)]);
    const d = map.width;
    expect(rmsError(both.subarray(0, rest[0].length * d), alone[0].subarray(3 * d))).toBeLessThan(2e-6);
    expect(rmsError(both.subarray(rest[0].length * d), alone[1])).toBeLessThan(2e-6);
    expect(map.cache.lengths).toEqual([a.length, b.length]);
    map.cache.dispose();
  });

  test('a row may see only part of its prefix', async () => {
    const tokens = ids();
    const map = newPositionMap(model, 5);
    map.extend(rowsOf(tokens), [{ slot: 0, count: tokens.length }]);
    const row = map.states(rowsOf(tokens.subarray(4, 5), 4), Uint32Array.of(0), Uint32Array.of(4));
    const whole = await read(forward(model, tokens, { layer: 5 }));
    expect(rmsError(await read(row), whole.subarray(4 * map.width, 5 * map.width))).toBeLessThan(2e-6);
    map.cache.dispose();
  });

  test('a steady loop makes no buffers and no pipelines, and submits once a step', async () => {
    const map = newPositionMap(model, 3);
    const tokens = ids();
    map.extend(rowsOf(tokens), [{ slot: 0, count: tokens.length }]);
    const slots = new Uint32Array(8);
    const step = async () => {
      const states = context.scope(() => map.states(rowsOf(slots, 20), slots));
      await read(states);
      states.dispose();
    };
    await step();
    await step();
    const before = { ...context.pool.statistics, ...context.pipelines.statistics, ...context.recorder.statistics };
    for (let i = 0; i < 10; i++) await step();
    const { buffersCreated, liveBytes } = context.pool.statistics;
    expect(buffersCreated).toBe(before.buffersCreated);
    expect(liveBytes).toBe(before.liveBytes);
    expect(context.pipelines.statistics.pipelinesCreated).toBe(before.pipelinesCreated);
    expect(context.recorder.statistics.bindGroupsCreated).toBe(before.bindGroupsCreated);
    expect(context.recorder.statistics.submits - before.submits).toBe(10);
    map.cache.dispose();
  });

  test('hooks capture what TransformerLens names, and patching changes what follows', async () => {
    const points: HookPoint[] = [
      'blocks.2.hook_resid_pre',
      'blocks.2.hook_attn_out',
      'blocks.2.hook_mlp_out',
      'blocks.2.hook_resid_post',
    ];
    const { hooks, values } = capture(points);
    const plain = await read(forward(model, ids()));
    const hooked = await read(forward(model, ids(), { hooks }));
    expect(rmsError(hooked, plain)).toBeLessThan(2e-6);
    const [pre, attn, mlp, post] = await readAll(points.map((point) => values.get(point)!));
    expect(
      rmsError(
        pre!.map((v, i) => v + attn![i] + mlp![i]),
        post!,
      ),
    ).toBeLessThan(2e-6);
    const patched = forward(model, ids(), {
      hooks: new Map([
        ['blocks.2.hook_mlp_out', (value) => upload(context, new Float32Array(value.size), value.shape)],
      ]),
    });
    expect(rmsError(await read(patched), plain)).toBeGreaterThan(0.01);
    for (const value of values.values()) value.dispose();
  });
});
