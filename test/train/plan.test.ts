import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { parseConfig } from '../../src/model/config.ts';
import { completePlan, largestActivation, learningRateAt, type TrainingPlan } from '../../src/train/plan.ts';

const config = parseConfig(
  { model_type: 'gpt2', vocab_size: 97, n_positions: 40, n_embd: 24, n_layer: 3, n_head: 3 },
  'config.json',
);

describe('the learning rate', () => {
  const plan = completePlan({ steps: 1100, warmup: 100, learningRate: 1e-2 }, config);
  test('rises in a line, then falls along a cosine to a tenth', () => {
    expect(learningRateAt(plan, 0)).toBeCloseTo(1e-4, 12);
    expect(learningRateAt(plan, 49)).toBeCloseTo(5e-3, 12);
    expect(learningRateAt(plan, 99)).toBeCloseTo(1e-2, 12);
    expect(learningRateAt(plan, 100)).toBeCloseTo(1e-2, 12);
    expect(learningRateAt(plan, 600)).toBeCloseTo(5.5e-3, 12);
    expect(learningRateAt(plan, 1099)).toBeCloseTo(1e-3, 6);
    expect(learningRateAt(plan, 5000)).toBeCloseTo(1e-3, 12);
  });

  test('stays where it is with a constant schedule', () => {
    const constant = { ...plan, schedule: 'constant' } as const;
    expect([99, 100, 5000].map((step) => learningRateAt(constant, step))).toEqual([1e-2, 1e-2, 1e-2]);
  });
});

describe('a plan', () => {
  test('is that of a language model unless it says otherwise', () => {
    expect(completePlan({ steps: 10_000 }, config)).toMatchObject({
      optimizer: { name: 'adamw', betas: [0.9, 0.95], weightDecay: 0.1 },
      schedule: 'cosine',
      clipNorm: 1,
      warmup: 100,
      window: 40,
      evaluateEvery: 1000,
    });
  });

  test('of gradient descent is as plain as in a theorem', () => {
    expect(completePlan({ optimizer: { name: 'sgd' } }, config)).toMatchObject({
      schedule: 'constant',
      clipNorm: 0,
      warmup: 0,
      learningRate: 0.1,
    });
  });

  test('says how large the activations of a step are', () => {
    const rows = (4 / 2) * 10;
    const bytes = (vocabularySize: number) =>
      largestActivation(completePlan({ batch: 4, accumulate: 2, window: 10 }, config), { ...config, vocabularySize });
    expect(bytes(97)).toBe(4 * rows * 97);
    expect(bytes(50)).toBe(4 * rows * 4 * 24);
  });

  const adamw = { name: 'adamw', betas: [0.9, 0.95], epsilon: 1e-8, weightDecay: 0.1 } as const;
  test.each<[string, Partial<TrainingPlan>, RegExp]>([
    ['no steps', { steps: 0 }, /steps is 0/],
    ['half a window', { batch: 1.5 }, /batch is 1.5/],
    [
      'a window over the context',
      { window: 41 },
      /41 tokens do not fit .* 40 positions \(n_positions in config.json\)/,
    ],
    ['a batch that cannot be cut', { batch: 9, accumulate: 2 }, /9 windows cannot be cut into 2/],
    ['no learning rate', { learningRate: 0 }, /learning rate is 0/],
    ['a learning rate that is no number', { learningRate: Number.NaN }, /learning rate is NaN/],
    ['a negative norm', { clipNorm: -1 }, /clip at is -1/],
    ['a beta of 1', { optimizer: { ...adamw, betas: [0.9, 1] } }, /betas of AdamW are 0.9 and 1/],
    [
      'three betas',
      { optimizer: { ...adamw, betas: [0.9, 0.95, 0.99] as never } },
      /betas of AdamW are 0.9 and 0.95 and/,
    ],
    ['betas that are text', { optimizer: { ...adamw, betas: ['0.9', '0.95'] as never } }, /betas of AdamW are/],
    ['no betas', { optimizer: { ...adamw, betas: undefined as never } }, /betas of AdamW are/],
    ['an optimizer it does not know', { optimizer: { name: 'lion' } as never }, /optimizer is lion/],
    ['an optimizer that is none', { optimizer: null as never }, /optimizer is undefined/],
    ['a schedule it does not know', { schedule: 'linear' as never }, /schedule is linear/],
    ['decay that takes all', { learningRate: 0.5, optimizer: { ...adamw, weightDecay: 2 } }, /weight decay is 2/],
  ])('refuses %s', (_, plan, message) => {
    expect(() => completePlan(plan, config)).toThrow(InputError);
    expect(() => completePlan(plan, config)).toThrow(message);
  });
});
