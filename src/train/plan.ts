import { InputError } from '../errors.ts';
import type { ModelConfig } from '../model/config.ts';
import type { OptimizerOptions } from './optimizer.ts';

/** All that decides what training does to a model, besides the data. Plain data: checkpoints keep it. */
export interface TrainingPlan {
  readonly steps: number;
  /** Windows of text in a step. */
  readonly batch: number;
  /** Tokens that a window predicts. */
  readonly window: number;
  /** Parts that the batch of a step is cut into, to save memory. */
  readonly accumulate: number;
  readonly optimizer: OptimizerOptions;
  /** The highest. */
  readonly learningRate: number;
  /** Steps over which the learning rate rises from 0. */
  readonly warmup: number;
  /** What follows: a cosine down to a tenth, or nothing. */
  readonly schedule: 'cosine' | 'constant';
  /** Largest norm of all gradients together; 0 for no clipping. */
  readonly clipNorm: number;
  /** Decides which windows are drawn. */
  readonly seed: number;
  /** Steps between evaluations on held-out text. */
  readonly evaluateEvery: number;
  /** Windows of an evaluation at most. */
  readonly evaluationWindows: number;
}

/** Constants of AdamW that serve language models of most sizes. */
const ADAMW = { name: 'adamw', betas: [0.9, 0.95], epsilon: 1e-8, weightDecay: 0.1 } as const;

/**
 * Fills in what a plan leaves open: AdamW with warm-up, cosine and clipping, or with `sgd` the plain gradient descent of
 * theorems, a constant step along the gradient.
 * @throws InputError for unknown names, values outside their range, or windows longer than the context of the model.
 */
export function completePlan(given: Partial<TrainingPlan>, config: ModelConfig): TrainingPlan {
  const { steps = 1000, optimizer = ADAMW } = given;
  const isPlain = optimizer?.name === 'sgd';
  const plan: TrainingPlan = {
    steps,
    batch: given.batch ?? 8,
    window: given.window ?? config.contextLength,
    accumulate: given.accumulate ?? 1,
    optimizer,
    learningRate: given.learningRate ?? (isPlain ? 0.1 : 1e-3),
    warmup: given.warmup ?? (isPlain ? 0 : Math.min(100, Math.floor(steps / 20))),
    schedule: given.schedule ?? (isPlain ? 'constant' : 'cosine'),
    clipNorm: given.clipNorm ?? (isPlain ? 0 : 1),
    seed: given.seed ?? 0,
    evaluateEvery: given.evaluateEvery ?? Math.max(1, Math.ceil(steps / 10)),
    evaluationWindows: given.evaluationWindows ?? 64,
  };
  check(plan, config);
  return plan;
}

function check(plan: TrainingPlan, { contextLength, keys, name }: ModelConfig): void {
  const expect = (ok: boolean, what: string, cure: string) => {
    if (!ok) throw new InputError(what, cure);
  };
  for (const key of ['steps', 'batch', 'window', 'accumulate', 'evaluateEvery', 'evaluationWindows'] as const) {
    expect(Number.isSafeInteger(plan[key]) && plan[key] >= 1, `${key} is ${plan[key]}.`, 'Use a whole number from 1.');
  }
  for (const key of ['warmup', 'seed'] as const) {
    expect(Number.isSafeInteger(plan[key]) && plan[key] >= 0, `${key} is ${plan[key]}.`, 'Use a whole number from 0.');
  }
  const { learningRate, clipNorm, optimizer, schedule, window, batch, accumulate } = plan;
  // Plans come from files, too, where types are not checked.
  expect(['adamw', 'sgd'].includes(optimizer?.name), `The optimizer is ${optimizer?.name}.`, 'Use adamw or sgd.');
  expect(['cosine', 'constant'].includes(schedule), `The schedule is ${schedule}.`, 'Use cosine or constant.');
  expect(learningRate > 0 && learningRate <= 1e3, `The learning rate is ${learningRate}.`, 'Use more than 0.');
  expect(clipNorm >= 0 && Number.isFinite(clipNorm), `The norm to clip at is ${clipNorm}.`, 'Use 0 (never) or more.');
  expect(
    window <= contextLength,
    `Windows of ${window} tokens do not fit the model: it has ${contextLength} positions (${keys.contextLength} in ${name}).`,
    'Use shorter windows.',
  );
  expect(
    batch % accumulate === 0,
    `A batch of ${batch} windows cannot be cut into ${accumulate} equal parts.`,
    'Accumulate over a number that divides the batch.',
  );
  if (optimizer.name !== 'adamw') return;
  const { betas, epsilon, weightDecay } = optimizer;
  expect(
    Array.isArray(betas) &&
      betas.length === 2 &&
      betas.every((beta) => typeof beta === 'number' && beta >= 0 && beta < 1),
    `The betas of AdamW are ${[betas].flat().join(' and ')}.`,
    'Use two numbers from 0 to below 1.',
  );
  expect(epsilon > 0, `The epsilon of AdamW is ${epsilon}.`, 'Use more than 0.');
  const decay = learningRate * weightDecay;
  expect(
    weightDecay >= 0 && decay < 1,
    `The weight decay is ${weightDecay}: a step would take away ${decay} of each weight.`,
    'Use 0 or more, and less than 1 / learning rate.',
  );
}

/** The largest tensor that a step of this plan binds besides weights, in bytes: logits, or activations of all rows. */
export function largestActivation(
  { batch, window, accumulate }: TrainingPlan,
  { vocabularySize, innerWidth, width }: ModelConfig,
): number {
  return 4 * (batch / accumulate) * window * Math.max(vocabularySize, innerWidth, 3 * width);
}

/**
 * The learning rate of a step, from 0: a linear warm-up, then half a cosine down to a tenth at the end.
 * Source: Radford et al. 2018 (GPT), section 4.1; Brown et al. 2020 (GPT-3), appendix B.
 */
export function learningRateAt({ learningRate, warmup, schedule, steps }: TrainingPlan, step: number): number {
  if (step < warmup) return (learningRate * (step + 1)) / warmup;
  if (schedule === 'constant') return learningRate;
  const least = learningRate / 10;
  const done = Math.min((step - warmup) / Math.max(steps - warmup, 1), 1);
  return least + (learningRate - least) * 0.5 * (1 + Math.cos(Math.PI * done));
}
