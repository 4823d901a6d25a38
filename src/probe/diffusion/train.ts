import { valueAndGrad } from '../../autograd/grad.ts';
import { TrainingError } from '../../errors.ts';
import { add, multiply, scale } from '../../ops/elementwise.ts';
import { sum } from '../../ops/reduce.ts';
import { seededRandom } from '../../reference/random.ts';
import { type Tensor, takeBytes, upload } from '../../tensor/tensor.ts';
import { createOptimizer } from '../../train/optimizer.ts';
import { completePlan, learningRateAt, type TrainingPlan } from '../../train/plan.ts';
import { type Denoiser, POINT } from './denoiser.ts';
import type { Random } from './points.ts';
import { angleAt } from './schedule.ts';

/** Where the points of a batch come from, [count, 2]. */
export type Draw = (random: Random, count: number) => Float32Array;

/** What serves a denoiser of the usual size. */
const PLAN = { steps: 500, batch: 512, learningRate: 8e-3 } as const;
/** Steps between looks at the loss: a look waits for the GPU. */
const LOOK = 25;

/** Noisy points and the noise in them. */
interface Batch {
  readonly noisy: Float32Array;
  readonly noise: Float32Array;
  readonly at: Uint32Array;
}

/**
 * Trains a denoiser to predict the noise in noisy points, by the mean squared error at times drawn evenly.
 * Source: Ho, Jain and Abbeel 2020, arXiv 2006.11239, equation 14.
 * @param draw Fresh data for every batch.
 * @param given What to do otherwise than usual.
 * @param onStep Told how far it is, and the mean loss since it was told last.
 * @returns The mean loss of the last steps; 1 is that of predicting no noise at all.
 * @throws TrainingError when the loss is no finite number.
 */
export async function trainDenoiser(
  denoiser: Denoiser,
  draw: Draw,
  given: Partial<TrainingPlan> = {},
  onStep: (step: number, loss: number) => void = () => {},
): Promise<number> {
  const { context, config } = denoiser.model;
  const plan = completePlan({ ...PLAN, ...given }, config);
  const random = seededRandom(plan.seed);
  const tensors = denoiser.parameters.map(({ tensor }) => tensor);
  const optimizer = createOptimizer(denoiser.parameters, plan.optimizer);
  const unclipped = context.unscoped(() => upload(context, Float32Array.of(1)));

  function takeStep(step: number): Tensor {
    const batch = noisyBatch(random, draw(random, plan.batch), denoiser.times);
    return context.scope(() => {
      const { value, gradients } = valueAndGrad(() => meanSquaredError(denoiser, batch), tensors);
      optimizer.update(gradients, unclipped, learningRateAt(plan, step - 1), step);
      return value;
    });
  }

  try {
    let loss = Number.NaN;
    for (let step = 0; step < plan.steps; ) {
      const count = Math.min(LOOK, plan.steps - step);
      const losses = Array.from({ length: count }, () => takeStep(++step));
      const seen = (await takeBytes(losses)).map((bytes) => new Float32Array(bytes)[0]);
      loss = seen.reduce((total, value) => total + value, 0) / count;
      if (!Number.isFinite(loss)) {
        throw new TrainingError(`The loss is ${loss} by step ${step}.`, 'Use a smaller learning rate.');
      }
      onStep(step, loss);
    }
    return loss;
  } finally {
    optimizer.dispose();
    unclipped.dispose();
  }
}

function noisyBatch({ next, normal }: Random, points: Float32Array, times: number): Batch {
  const noise = normal(points.length);
  const at = Uint32Array.from({ length: points.length / POINT }, () => 1 + Math.floor(times * next()));
  const noisy = points.map((x, i) => {
    const angle = angleAt(at[Math.floor(i / POINT)], times);
    return Math.cos(angle) * x + Math.sin(angle) * noise[i];
  });
  return { noisy, noise, at };
}

function meanSquaredError({ model: { context }, predictNoise }: Denoiser, { noisy, noise, at }: Batch): Tensor {
  const shape = [at.length, POINT];
  const error = add(predictNoise(upload(context, noisy, shape), at), upload(context, noise, shape), -1); // (B, 2)
  return scale(sum(multiply(error, error)), 1 / error.size);
}
