import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { FormatError, InputError, TrainingError } from '../../src/errors.ts';
import { type Context, createContext } from '../../src/gpu/context.ts';
import { bytesFromArray } from '../../src/io/blobs.ts';
import type { Checkpoint } from '../../src/io/checkpoint.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import type { SafetensorsStream } from '../../src/io/safetensors-writer.ts';
import { parseConfig } from '../../src/model/config.ts';
import { initialCheckpoint } from '../../src/model/initial.ts';
import { type LoadedModel, loadModel, modelFiles, openModel } from '../../src/model/load.ts';
import { publishedName } from '../../src/model/parameters.ts';
import { rmsError } from '../../src/reference/agree.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { read, type Tensor } from '../../src/tensor/tensor.ts';
import { readTraining, type SavedTraining, type TrainingState, trainingFile } from '../../src/train/checkpoint.ts';
import type { Windows } from '../../src/train/data.ts';
import { createOptimizer } from '../../src/train/optimizer.ts';
import { completePlan, type TrainingPlan } from '../../src/train/plan.ts';
import { type StepReport, stepsWithin, type TrainOptions, train } from '../../src/train/train.ts';
import { createTrainer, type Trainer } from '../../src/train/trainer.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const config = parseConfig(
  { model_type: 'gpt2', vocab_size: 13, n_positions: 12, n_embd: 16, n_layer: 2, n_head: 2 },
  'config.json',
);

/** A small model to train, from the weights of a file or fresh. */
async function small(checkpoint: Checkpoint = initialCheckpoint(config, 1)): Promise<LoadedModel> {
  const model = await loadModel(context, modelFiles('small', config, checkpoint));
  onTestFinished(model.dispose);
  return model;
}

const noise = () => {
  const random = seededRandom(4);
  const tokens = Uint8Array.from({ length: 600 }, () => Math.floor(13 * random.next() ** 2));
  return { train: tokens.subarray(0, 500), heldOut: tokens.subarray(500) };
};

const PLAN = { steps: 6, batch: 4, learningRate: 1e-2, evaluateEvery: 2, seed: 5 } as const;

/** A state as a file holds it, read at once: its tensors do not outlive the step. */
async function keep(state: TrainingState): Promise<SavedTraining> {
  return readTraining(await openSafetensors(bytesFromArray('state', await bytesOf(trainingFile(state)))));
}

async function bytesOf({ sizeBytes, bytes }: SafetensorsStream): Promise<Uint8Array> {
  const file = new Uint8Array(sizeBytes);
  let at = 0;
  for await (const part of bytes()) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

/** All parameters, one after another. */
async function weightsOf({ parameters }: Trainer): Promise<Map<string, Float32Array>> {
  const weights = new Map<string, Float32Array>();
  for (const { name, tensor } of parameters) weights.set(name, await read(tensor));
  return weights;
}

describe.each(['cpu', 'hardware'] as const)('ten steps with kernels for %s adapters are those of PyTorch', (kind) => {
  const source = checkoutSource('test/data/train');

  test.each<[string, Partial<TrainingPlan>, number]>([
    [
      'adamw',
      {
        optimizer: { name: 'adamw', betas: [0.9, 0.95], epsilon: 1e-8, weightDecay: 0.1 },
        learningRate: 0.01,
        clipNorm: 1,
      },
      2e-3,
    ],
    ['gd', { optimizer: { name: 'sgd' }, learningRate: 0.1 }, 1e-4],
  ])('%s', async (name, options, bound) => {
    const on = await createContext({ device: context.device, kind });
    const model = await loadModel(on, await openModel(source));
    const reference = await openSafetensors((await source.open('reference.safetensors'))!);
    const trainer = createTrainer(model, completePlan({ ...options, batch: 4, window: 32 }, model.config));
    onTestFinished(async () => {
      trainer.dispose();
      model.dispose();
      await reference.close();
      on.destroy();
    });
    const batches = Uint32Array.from(await reference.float32('batches')); // (10, 4, 33)
    const losses = await reference.float64(`${name}.losses`);
    const norms = await reference.float64(`${name}.grad_norms`);
    for (let step = 0; step < 10; step++) {
      const windows = windowsOf(batches.subarray(step * 4 * 33, (step + 1) * 4 * 33), 33);
      const { loss, gradientNorm, culprit } = await trainer.step(windows, options.learningRate!, step + 1);
      expect(culprit).toBeUndefined();
      expect(Math.abs(loss - losses[step]), `loss of step ${step + 1}`).toBeLessThan(1e-4);
      expect(Math.abs(gradientNorm / norms[step] - 1), `norm of step ${step + 1}`).toBeLessThan(1e-3);
    }
    for (const [parameter, got] of await weightsOf(trainer)) {
      const want = await reference.float64(`${name}.final.${publishedName(parameter)}`);
      if (name === 'adamw' && parameter.endsWith('c_attn.bias')) {
        // A bias of all keys alike changes no attention: its gradient is rounding, which AdamW brings to full size.
        const d = model.config.width;
        for (const values of [got, want]) values.fill(0, d, 2 * d);
      }
      expect(rmsError(got, want), parameter).toBeLessThan(bound);
    }
  });
});

/** Rows of `length` tokens as windows of one less. */
function windowsOf(rows: Uint32Array, length: number): Windows {
  const count = rows.length / length;
  const part = (offset: number) =>
    Uint32Array.from({ length: count * (length - 1) }, (_, i) => {
      const row = Math.floor(i / (length - 1));
      return rows[row * length + (i % (length - 1)) + offset];
    });
  return { count, length: length - 1, inputs: part(0), labels: part(1) };
}

describe('training', () => {
  test('learns a sequence that repeats', async () => {
    const tokens = Uint8Array.from({ length: 400 }, (_, i) => [3, 1, 4, 1, 5, 9, 2, 6][i % 8]);
    const result = await train(
      await small(),
      { train: tokens, heldOut: tokens },
      { steps: 150, learningRate: 1e-2, warmup: 10, evaluateEvery: 75 },
    );
    expect(result.losses[0]).toBeCloseTo(Math.log(13), 1);
    // The first token of a window may be a 1, which two things follow.
    expect(result.evaluations.map(({ step }) => step)).toEqual([0, 75, 150]);
    expect(result.evaluations[2].loss).toBeLessThan(0.1);
    expect(result.unigramLoss).toBeGreaterThan(1.8);
    expect(result).toMatchObject({ step: 150, steps: 150, tokens: 150 * 8 * 12 });
  });

  test('tells of each step and evaluation, and of the state at the end', async () => {
    const steps: StepReport[] = [];
    const evaluations: number[] = [];
    let states = 0;
    await train(await small(), noise(), {
      ...PLAN,
      onStep: (report) => steps.push(report),
      onEvaluation: ({ step }) => evaluations.push(step),
      onCheckpoint: async () => void states++,
    });
    expect(steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(steps[0].steps).toBe(6);
    expect(steps[0].learningRate).toBeCloseTo(1e-2, 12);
    for (const { gradientNorm, tokensPerSecond } of steps) {
      expect(gradientNorm).toBeGreaterThan(0);
      expect(tokensPerSecond).toBeGreaterThan(0);
    }
    expect(evaluations).toEqual([0, 2, 4, 6]);
    expect(states).toBe(1);
  });

  test('a batch in parts gives the steps of the whole, to rounding', async () => {
    const whole = await train(await small(), noise(), PLAN);
    const parts = await train(await small(), noise(), { ...PLAN, accumulate: 2 });
    parts.losses.forEach((loss, i) => {
      expect(Math.abs(loss - whole.losses[i])).toBeLessThan(1e-4);
    });
  });

  test('a vocabulary over the binding limit, in chunks, is trained and kept as one in one piece', async () => {
    const wide = parseConfig({ ...config.raw, vocab_size: 97 }, 'config.json');
    const files = modelFiles('wide', wide, initialCheckpoint(wide, 1));
    // Only the loading of weights looks at this limit: the largest of the other parameters just fits.
    const limits = { maxStorageBufferBindingSize: 4 * 16 * 64 };
    const narrow = { ...context, device: { limits } } as Context;
    const runs: [Float32Array, SavedTraining][] = [];
    for (const [on, chunks] of [
      [context, 1],
      [narrow, 2],
    ] as const) {
      const model = await loadModel(on, files);
      onTestFinished(model.dispose);
      expect(model.tokenTable.chunks).toHaveLength(chunks);
      let saved: SavedTraining | undefined;
      const onCheckpoint = async (state: TrainingState) => {
        saved = await keep(state);
      };
      const { losses } = await train(model, noise(), { ...PLAN, onCheckpoint });
      const resumed = await loadModel(on, modelFiles('wide', wide, saved!.checkpoint));
      onTestFinished(resumed.dispose);
      const more = await train(resumed, noise(), { resume: saved, steps: 8, onCheckpoint });
      runs.push([Float32Array.of(...losses, ...more.losses), saved!]);
    }
    const [[whole, one], [parts, two]] = runs;
    parts.forEach((loss, i) => {
      expect(Math.abs(loss - whole[i])).toBeLessThan(1e-4);
    });
    expect([...two.checkpoint.tensors.keys()]).toEqual([...one.checkpoint.tensors.keys()]);
    const name = 'optimizer.square.transformer.wte.weight';
    expect(two.checkpoint.tensors.get(name)!.shape).toEqual([97, 16]);
    expect(rmsError(await two.checkpoint.float32(name), await one.checkpoint.float64(name))).toBeLessThan(1e-2);
  });

  test('clipping shortens the step of plain descent to the norm allowed', async () => {
    const model = await small();
    const options = { optimizer: { name: 'sgd' }, batch: 4, clipNorm: 0.01 } as const;
    using trainer = createTrainer(model, completePlan(options, config));
    const before = await weightsOf(trainer);
    const windows = windowsOf(Uint32Array.from(noise().train.subarray(0, 52)), 13);
    const { gradientNorm } = await trainer.step(windows, 0.5, 1);
    expect(gradientNorm).toBeGreaterThan(0.1);
    let moved = 0;
    for (const [name, after] of await weightsOf(trainer)) {
      after.forEach((value, i) => {
        moved += (value - before.get(name)![i]) ** 2;
      });
    }
    expect(Math.sqrt(moved)).toBeCloseTo(0.5 * 0.01, 4);
  });

  test('uses no more memory from step to step', async () => {
    const model = await small();
    const held: number[] = [];
    await train(model, noise(), { ...PLAN, onStep: () => held.push(context.pool.statistics.liveBytes) });
    expect(new Set(held.slice(1)).size).toBe(1);
  });

  test('holds no memory when it cannot begin', async () => {
    const model = await small();
    const held = context.pool.statistics.liveBytes;
    const good = { name: 'good', tensor: model.weights.tensor('wpe.weight') };
    const bad = { name: 'bad', tensor: { context, shape: [1], size: -1 } as unknown as Tensor };
    expect(() => createOptimizer([good, bad], completePlan({}, config).optimizer)).toThrow(RangeError);
    const broken = { ...model, config: undefined } as unknown as LoadedModel;
    expect(() => createTrainer(broken, completePlan({}, config))).toThrow(TypeError);
    expect(context.pool.statistics.liveBytes).toBe(held);
  });

  test('finds how many steps fit into a time, and changes nothing by it', async () => {
    const model = await small();
    const before = await read(model.weights.tensor('wpe.weight'));
    expect(await stepsWithin(model, noise(), PLAN, 0)).toBe(1);
    expect(await stepsWithin(model, noise(), PLAN, 3600)).toBeGreaterThan(100);
    expect(await read(model.weights.tensor('wpe.weight'))).toEqual(before);
  });

  test.each<[string, TrainOptions, RegExp]>([
    ['a text shorter than a batch', { batch: 50 }, /has 500 tokens to train on; a batch of 50 windows of 12 takes 601/],
    ['windows over the context', { window: 13 }, /Windows of 13 tokens do not fit/],
  ])('refuses %s', async (_, options, message) => {
    await expect(train(await small(), noise(), options)).rejects.toThrow(message);
  });
});

describe('a state', () => {
  /** Trains until a step, as an interrupted run does, and keeps the state. */
  async function interrupted(model: LoadedModel, after: number, options: TrainOptions): Promise<SavedTraining> {
    const controller = new AbortController();
    let saved: SavedTraining | undefined;
    const result = await train(model, noise(), {
      ...options,
      signal: controller.signal,
      onStep: ({ step }) => step === after && controller.abort(),
      onCheckpoint: async (state) => {
        saved = await keep(state);
      },
    });
    expect(result.step).toBe(after);
    return saved!;
  }

  test.each<[string, TrainOptions]>([
    ['adamw', PLAN],
    ['gradient descent', { ...PLAN, optimizer: { name: 'sgd' }, learningRate: 0.3 }],
  ])('goes on as if nothing had been, bit by bit: %s', async (_, options) => {
    const unbroken = await train(await small(), noise(), options);
    const first = await interrupted(await small(), 2, options);
    const second = await interrupted(await small(first.checkpoint), 3, { resume: first });
    const resumed = await train(await small(second.checkpoint), noise(), { resume: second });
    expect(resumed.losses).toEqual(unbroken.losses);
    expect(resumed.evaluations).toEqual(unbroken.evaluations);
    expect(resumed.seconds).toBeGreaterThan(second.seconds);
  });

  test('can be asked for more steps, not for fewer than were taken', async () => {
    const saved = await interrupted(await small(), 3, PLAN);
    const more = await train(await small(saved.checkpoint), noise(), { resume: saved, steps: 8 });
    expect(more.losses).toHaveLength(8);
    const fewer = train(await small(saved.checkpoint), noise(), { resume: saved, steps: 2 });
    await expect(fewer).rejects.toThrow(/has taken 3 steps already; 2 are asked for/);
    await expect(fewer).rejects.toThrow(InputError);
  });

  test('of another size is refused', async () => {
    const saved = await interrupted(await small(), 1, PLAN);
    const tensors = new Map(saved.checkpoint.tensors);
    tensors.set('optimizer.mean.transformer.wpe.weight', { dtype: 'F32', shape: [24, 16] });
    const resume = { ...saved, checkpoint: { ...saved.checkpoint, tensors } };
    const failed = train(await small(saved.checkpoint), noise(), { resume });
    await expect(failed).rejects.toThrow(FormatError);
    await expect(failed).rejects.toThrow(/mean.transformer.wpe.weight .* has 384 elements; its parameter has 192/);
  });

  test('is kept every so often', async () => {
    const states: number[] = [];
    await train(await small(), noise(), {
      ...PLAN,
      checkpointSeconds: 0,
      onCheckpoint: async ({ losses }) => void states.push(losses.length),
    });
    expect(states).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });
});

describe('numbers that are none', () => {
  const spoil = ({ weights }: LoadedModel) =>
    context.write(weights.tensor('h.0.ln_1.bias').buffer, 0, Float32Array.of(Number.NaN));

  /** Fresh weights, edited. */
  function edited(edit: (name: string, values: Float32Array) => void): Checkpoint {
    const fresh = initialCheckpoint(config, 1);
    return {
      ...fresh,
      async float32(name, begin, end) {
        const values = await fresh.float32(name, begin, end);
        edit(name, values);
        return values;
      },
    };
  }

  test('stop training before they reach the weights, and are named', async () => {
    const model = await small(
      edited((name, values) => {
        if (name.endsWith('h.1.mlp.c_fc.weight')) values[0] = Number.NaN;
      }),
    );
    const before = await read(model.weights.tensor('wpe.weight'));
    let saved: SavedTraining | undefined;
    const failed = train(model, noise(), {
      ...PLAN,
      onCheckpoint: async (state) => {
        saved = await keep(state);
      },
    });
    await expect(failed).rejects.toThrow(TrainingError);
    await expect(failed).rejects.toThrow(/After 0 steps: the held-out loss is not a finite number/);
    expect(saved).toBeUndefined();
    expect(await read(model.weights.tensor('wpe.weight'))).toEqual(before);
  });

  test('in gradients alone, name the one that the backward pass reaches first', async () => {
    // A hidden unit that shouts, and is not listened to: the loss is as ever, but the gradient of who might listen is not.
    const model = await small(
      edited((name, values) => {
        if (name.endsWith('mlp.c_fc.bias')) values[0] = 1e25;
        if (name.endsWith('mlp.c_proj.weight')) values.fill(0, 0, config.width);
      }),
    );
    const full = new Error('The disk is full.');
    const onCheckpoint = vi.fn(() => Promise.reject(full));
    const failed = train(model, noise(), { ...PLAN, onCheckpoint });
    await expect(failed).rejects.toThrow(TrainingError);
    await expect(failed).rejects.toThrow(/Step 1: the gradient of h.1.mlp.c_proj.weight is not finite \(or too large/);
    // The loss was finite, so the state was worth keeping; that it could not be is told besides.
    expect(onCheckpoint).toHaveBeenCalledTimes(1);
    await expect(failed).rejects.toMatchObject({ cause: full });
  });

  test('in held-out text stop training, and replace no state', async () => {
    const model = await small();
    const states: number[] = [];
    const failed = train(model, noise(), {
      ...PLAN,
      evaluateEvery: 3,
      onStep: ({ step }) => step === 3 && spoil(model),
      onCheckpoint: async ({ losses }) => void states.push(losses.length),
    });
    await expect(failed).rejects.toThrow(TrainingError);
    await expect(failed).rejects.toThrow(/After 3 steps: the held-out loss is not a finite number/);
    expect(states).toEqual([]);
  });

  test('that come later tell what was before', async () => {
    const model = await small();
    const states: number[] = [];
    const failed = train(model, noise(), {
      ...PLAN,
      evaluateEvery: 100,
      onStep: ({ step }) => step === 3 && spoil(model),
      onCheckpoint: async ({ losses }) => void states.push(losses.length),
    });
    await expect(failed).rejects.toThrow(
      /Step 4: the loss .* at the step before, the loss was \d.* and the norm of the gradient \d/,
    );
    expect(states).toEqual([]); // the weights are spoilt: what was kept before is better
  });
});
