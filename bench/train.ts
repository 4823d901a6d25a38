import { valueAndGrad } from '../src/autograd/grad.ts';
import { linearize } from '../src/autograd/tape.ts';
import { createNodeContext } from '../src/gpu/context.node.ts';
import { parseConfig } from '../src/model/config.ts';
import { largestBinding, loadModel, modelFiles } from '../src/model/load.ts';
import { newPositionMap } from '../src/model/position-map.ts';
import { crossEntropy } from '../src/ops/cross-entropy.ts';
import { noGrad } from '../src/ops/op.ts';
import { read, type Tensor, upload } from '../src/tensor/tensor.ts';
import { hashedCheckpoint } from '../test/support/hashed.ts';
import { bestOf, describeRun, table } from './adapter.ts';

/** The default model's architecture, and one block of GPT-2 small's width. */
const SHAPES = {
  'default model': { vocab_size: 4096, n_positions: 256, n_embd: 192, n_layer: 6, n_head: 6 },
  'width of GPT-2 small': { vocab_size: 4096, n_positions: 256, n_embd: 768, n_layer: 2, n_head: 12 },
};
const [SEQUENCES, LENGTH] = [2, 128];
const REPEATS = 3;

/**
 * A training step: time of the backward pass over that of the forward pass, time by kernel; and the adjoint in the rows
 * alone, with all weights frozen.
 */
export async function main(): Promise<void> {
  const rows: string[][] = [];
  for (const [name, shape] of Object.entries(SHAPES)) {
    const config = parseConfig({ model_type: 'gpt2', ...shape }, name);
    const context = await createNodeContext({ bindingBytes: largestBinding(config) });
    const model = await loadModel(context, modelFiles(name, config, hashedCheckpoint(config)));
    const map = newPositionMap(model, config.layers, { slots: SEQUENCES, capacity: LENGTH });
    const count = SEQUENCES * LENGTH;
    const ids = Uint32Array.from({ length: count }, (_, i) => (7919 * i) % config.vocabularySize);
    const positions = ids.map((_, i) => i % LENGTH);
    const segments = Array.from({ length: SEQUENCES }, (_, slot) => ({ slot, count: LENGTH }));
    const weights = [...model.weights.entries()].flatMap(([, { chunks }]) => chunks);
    const states = (x: Tensor) => {
      for (let slot = 0; slot < SEQUENCES; slot++) map.cache.truncate(slot, 0);
      return map.extend(x, segments);
    };
    const loss = () => crossEntropy(model.logits(states(model.embed(ids, positions))), ids);
    const timed = async (work: () => Tensor) => {
      const result = context.scope(work);
      await read(result);
      result.dispose();
    };
    const step = () =>
      timed(() => {
        const { value } = valueAndGrad(loss, weights);
        return value;
      });
    const embedded = model.embed(ids, positions);
    const cotangent = upload(context, new Float32Array(embedded.size).fill(1), embedded.shape);
    const forwardStates = () => timed(() => noGrad(() => states(embedded)));
    const adjoint = () => timed(() => linearize(states, [embedded]).vjp(cotangent)[0]);

    await step();
    await adjoint();
    const [forward, both, plain, frozen] = [
      await bestOf(REPEATS, () => timed(loss)),
      await bestOf(REPEATS, step),
      await bestOf(REPEATS, forwardStates),
      await bestOf(REPEATS, adjoint),
    ];
    rows.push([
      name,
      forward.toFixed(0),
      both.toFixed(0),
      ((both - forward) / forward).toFixed(2),
      plain.toFixed(0),
      frozen.toFixed(0),
      (frozen / plain).toFixed(2),
      ((1000 * count) / both).toFixed(0),
    ]);
    const times = await context.recorder.profile(step);
    const total = times.reduce((sum, time) => sum + time.milliseconds, 0);
    console.log(
      `\n${name}, ${SEQUENCES} x ${LENGTH} tokens: loss and all gradients by kernel; ${describeRun(context)}\n`,
    );
    console.log(
      table(
        ['kernel', 'dispatches', 'ms', 'share', 'GFLOP/s'],
        times.map((time) => [
          time.label,
          time.dispatches,
          time.milliseconds.toFixed(1),
          `${((100 * time.milliseconds) / total).toFixed(1)} %`,
          (time.flops / time.milliseconds / 1e6).toFixed(2),
        ]),
      ),
    );
    context.destroy();
  }
  console.log(
    '\nBest of three, ms. "Adjoint": states and the gradient in the rows, weights frozen, over the states alone.\n',
  );
  console.log(
    table(
      [
        '',
        'forward and loss',
        'with all gradients',
        'backward / forward',
        'states',
        'adjoint',
        'adjoint / states',
        'tokens/s',
      ],
      rows,
    ),
  );
}
