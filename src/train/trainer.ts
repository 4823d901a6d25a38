import { valueAndGrad } from '../autograd/grad.ts';
import type { Context } from '../gpu/context.ts';
import type { LanguageModel } from '../model/model.ts';
import { add, scale } from '../ops/elementwise.ts';
import { clipFactor } from '../ops/optimizer.ts';
import { sumOfSquares } from '../ops/reduce.ts';
import { empty, type Tensor, take } from '../tensor/tensor.ts';
import { someWindows, type Windows } from './data.ts';
import { windowLoss } from './loss.ts';
import { createOptimizer, type TrainedTensor } from './optimizer.ts';
import type { TrainingPlan } from './plan.ts';

/** What a step saw before it changed the weights. */
export interface StepOutcome {
  /** Mean cross-entropy of the batch in nats. */
  readonly loss: number;
  /** Norm of the gradient before clipping. */
  readonly gradientNorm: number;
  /** What was not finite, as a clause that says so; the step has then changed nothing. */
  readonly culprit?: string;
}

/** A model under training. */
export interface Trainer extends Disposable {
  readonly parameters: readonly TrainedTensor[];
  /** The optimizer's memory; see `Optimizer`. */
  readonly memory: ReadonlyMap<string, readonly Tensor[]>;
  /**
   * Takes a step along the gradient of a batch, and waits for it.
   * @param step From 1.
   */
  step(windows: Windows, learningRate: number, step: number): Promise<StepOutcome>;
  /** All of a step but the change. */
  rehearse(windows: Windows): Promise<StepOutcome>;
  /** Mean cross-entropy, in nats, on windows; undefined when the signal fired first. */
  evaluate(windows: Windows, signal?: AbortSignal): Promise<number | undefined>;
  dispose(): void;
}

/** Makes a trainer, whose memory is all zero. */
export function createTrainer(model: LanguageModel, plan: TrainingPlan): Trainer {
  const { context } = model;
  const parameters = [...model.weights.entries()].flatMap(([name, { chunks }]) =>
    chunks.map((tensor): TrainedTensor => ({ name, tensor })),
  );
  const tensors = parameters.map(({ tensor }) => tensor);
  const optimizer = createOptimizer(parameters, plan.optimizer);
  const part = plan.batch / plan.accumulate;
  const loss = lossOrDispose();

  function lossOrDispose() {
    try {
      return windowLoss(model, { count: part, length: plan.window });
    } catch (error) {
      optimizer.dispose();
      throw error;
    }
  }

  function gradientsOf(windows: Windows): { value: Tensor; gradients: Tensor[] } {
    const share = part / windows.count;
    const partial = (begin: number) =>
      valueAndGrad(() => {
        const value = loss.of(someWindows(windows, begin, begin + part));
        return share === 1 ? value : scale(value, share);
      }, tensors);
    let { value, gradients } = partial(0);
    for (let begin = part; begin < windows.count; begin += part) {
      ({ value, gradients } = context.scope(() => {
        const next = partial(begin);
        const sums = gradients.map((gradient, i) => {
          const sum = add(gradient, next.gradients[i]);
          gradient.dispose();
          next.gradients[i].dispose();
          return sum;
        });
        return { value: add(value, next.value), gradients: sums };
      }));
    }
    return { value, gradients };
  }

  async function run(windows: Windows, update?: { learningRate: number; step: number }): Promise<StepOutcome> {
    const report = context.scope(() => {
      const { value, gradients } = gradientsOf(windows);
      const lossAndSquares = joined(context, [value, ...gradients.map(sumOfSquares)]);
      if (update) {
        const factor = clipFactor(lossAndSquares, plan.clipNorm);
        optimizer.update(gradients, factor, update.learningRate, update.step);
      }
      return lossAndSquares;
    });
    return outcome(await take(report), parameters);
  }

  async function evaluate(windows: Windows, signal?: AbortSignal): Promise<number | undefined> {
    let sum = 0;
    for (let begin = 0; begin < windows.count; begin += part) {
      if (signal?.aborted) return undefined;
      const some = someWindows(windows, begin, Math.min(begin + part, windows.count));
      const [mean] = await take(context.scope(() => loss.of(some)));
      sum += mean * some.count;
    }
    return sum / windows.count;
  }

  const dispose = () => {
    optimizer.dispose();
    loss.dispose();
  };
  return {
    parameters,
    memory: optimizer.memory,
    step: (windows, learningRate, step) => run(windows, { learningRate, step }),
    rehearse: (windows) => run(windows),
    evaluate,
    dispose,
    [Symbol.dispose]: dispose,
  };
}

/** Tensors [1] as one. */
function joined(context: Context, values: readonly Tensor[]): Tensor {
  const all = empty(context, [values.length], 'f32', 'loss and squares');
  values.forEach((value, i) => {
    context.copy(value.buffer, 0, all.buffer, 4 * i, 4);
  });
  return all;
}

function outcome(lossAndSquares: Float32Array, parameters: readonly TrainedTensor[]): StepOutcome {
  const [loss, ...squares] = lossAndSquares;
  const total = squares.reduce((sum, square) => sum + square, 0);
  // The sum is in f32 on the GPU.
  if (Number.isFinite(loss) && Number.isFinite(Math.fround(total))) return { loss, gradientNorm: Math.sqrt(total) };
  return { loss, gradientNorm: Math.sqrt(total), culprit: culpritOf(loss, squares, parameters) };
}

/** The loss, or the gradient that the backward pass reaches first: parameters come in the order of the forward pass. */
function culpritOf(loss: number, squares: readonly number[], parameters: readonly TrainedTensor[]): string {
  if (!Number.isFinite(loss)) return 'the loss is not a finite number';
  const last = squares.findLastIndex((square) => !Number.isFinite(square));
  const what = last === -1 ? 'the norm of the gradient' : `the gradient of ${parameters[last].name}`;
  return `${what} is not finite (or too large to square in f32)`;
}
