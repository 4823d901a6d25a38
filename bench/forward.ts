import { createNodeContext } from '../src/gpu/context.node.ts';
import { parseConfig } from '../src/model/config.ts';
import { largestBinding, loadModel, modelFiles } from '../src/model/load.ts';
import { countFrom } from '../src/model/model.ts';
import { newPositionMap } from '../src/model/position-map.ts';
import { matmul } from '../src/ops/matmul.ts';
import { sliceRows } from '../src/ops/slice.ts';
import { empty, read } from '../src/tensor/tensor.ts';
import { hashedCheckpoint } from '../test/support/hashed.ts';
import { bestOf, describeRun, table } from './adapter.ts';

const GPT2_SMALL = { model_type: 'gpt2', vocab_size: 50257, n_positions: 1024, n_embd: 768, n_layer: 12, n_head: 12 };
const TOKENS = 128;
const REPEATS = 5;

/** A forward pass of GPT-2 small's shape: its share of the matmul rate, its time by kernel, and what a step allocates. */
export async function main(): Promise<void> {
  const config = parseConfig(GPT2_SMALL, 'GPT-2 small');
  const context = await createNodeContext({ bindingBytes: largestBinding(config) });
  const model = await loadModel(context, modelFiles('hashed weights', config, hashedCheckpoint(config)));
  const map = newPositionMap(model, config.layers, { capacity: TOKENS });
  const ids = Uint32Array.from({ length: TOKENS }, (_, i) => (7919 * i) % config.vocabularySize);
  const { width: d, innerWidth } = config;

  async function forward(): Promise<void> {
    map.cache.truncate(0, 0);
    const last = context.scope(() => {
      const states = map.extend(model.embed(ids, countFrom(0, TOKENS)), [{ slot: 0, count: TOKENS }]);
      return sliceRows(states, TOKENS - 1, 1);
    });
    await read(last);
    last.dispose();
  }

  const shapes = [
    [d, 3 * d],
    [d, d],
    [d, innerWidth],
    [innerWidth, d],
  ] as const;
  const operands = shapes.map(([k, n]) => [empty(context, [TOKENS, k]), empty(context, [k, n])] as const);
  async function products(): Promise<void> {
    for (let layer = 0; layer < config.layers; layer++) for (const [a, b] of operands) matmul(a, b).dispose();
    await context.finish();
  }

  await forward();
  await products();
  const before = { ...context.pool.statistics, ...context.pipelines.statistics, ...context.recorder.statistics };
  const forwardMs = await bestOf(REPEATS, forward);
  const after = { ...context.pool.statistics, ...context.pipelines.statistics, ...context.recorder.statistics };
  const productsMs = await bestOf(REPEATS, products);
  const flops = 2 * TOKENS * config.layers * shapes.reduce((sum, [k, n]) => sum + k * n, 0);

  console.log(`GPT-2 small's shape, T = ${TOKENS}, all 12 blocks; best of ${REPEATS}; ${describeRun(context)}\n`);
  console.log(
    table(
      ['', 'ms', 'GFLOP/s of its matrix products', 'share of the matmul rate'],
      [
        ['its 48 matrix products alone', productsMs.toFixed(0), (flops / productsMs / 1e6).toFixed(2), '1'],
        ['forward', forwardMs.toFixed(0), (flops / forwardMs / 1e6).toFixed(2), (productsMs / forwardMs).toFixed(2)],
      ],
    ),
  );
  const perStep = (key: 'submits' | 'dispatches') => (after[key] - before[key]) / REPEATS;
  console.log(
    `\nSteady state, ${REPEATS} forwards: ${after.buffersCreated - before.buffersCreated} buffers and ${after.pipelinesCreated - before.pipelinesCreated} pipelines made; ${perStep('submits')} submits, ${perStep('dispatches')} dispatches a forward\n`,
  );
  const times = await context.recorder.profile(forward);
  const total = times.reduce((sum, time) => sum + time.milliseconds, 0);
  console.log(
    table(
      ['kernel', 'dispatches', 'ms', 'share'],
      times.map((time) => [
        time.label,
        time.dispatches,
        time.milliseconds.toFixed(1),
        `${((100 * time.milliseconds) / total).toFixed(1)} %`,
      ]),
    ),
  );
  context.destroy();
}
