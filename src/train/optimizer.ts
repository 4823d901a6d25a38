import { type AdamwTensors, adamwStep, sgdStep } from '../ops/optimizer.ts';
import type { AdamwConstants } from '../reference/optimizer.ts';
import { type Tensor, upload } from '../tensor/tensor.ts';

/** A parameter under training; one larger than a binding is several of these, of one name and in order. */
export interface TrainedTensor {
  readonly name: string;
  readonly tensor: Tensor;
}

/** What to train with. */
export type OptimizerOptions = ({ readonly name: 'adamw' } & AdamwConstants) | { readonly name: 'sgd' };

/** Changes parameters in place, along their gradients. */
export interface Optimizer extends Disposable {
  /** What it remembers, by name: a tensor for each of the parameters, in their order. All zero before the first step. */
  readonly memory: ReadonlyMap<string, readonly Tensor[]>;
  /**
   * Takes a step.
   * @param gradients One for each parameter, in order.
   * @param factor [1], of `clipFactor`.
   * @param step From 1.
   */
  update(gradients: readonly Tensor[], factor: Tensor, learningRate: number, step: number): void;
  dispose(): void;
}

/** The optimizer that the options name, over these parameters. */
export function createOptimizer(parameters: readonly TrainedTensor[], options: OptimizerOptions): Optimizer {
  return options.name === 'adamw' ? adamw(parameters, options) : sgd(parameters);
}

/**
 * AdamW as in PyTorch, with decoupled weight decay of matrices and embeddings: what has two dimensions.
 * Source: Loshchilov and Hutter 2019, arXiv 1711.05101.
 */
export function adamw(parameters: readonly TrainedTensor[], constants: AdamwConstants): Optimizer {
  const memory = allZero(parameters);
  const tensors = parameters.map(({ tensor }, i): AdamwTensors => ({ parameter: tensor, ...memory[i] }));
  const dispose = () => {
    for (const { mean, square } of tensors) for (const tensor of [mean, square]) tensor.dispose();
  };
  return {
    memory: new Map([
      ['mean', tensors.map(({ mean }) => mean)],
      ['square', tensors.map(({ square }) => square)],
    ]),
    update(gradients, factor, learningRate, step) {
      tensors.forEach((tensor, i) => {
        const weightDecay = tensor.parameter.shape.length > 1 ? constants.weightDecay : 0;
        adamwStep(tensor, gradients[i], factor, learningRate, step, { ...constants, weightDecay });
      });
    },
    dispose,
    [Symbol.dispose]: dispose,
  };
}

function allZero(parameters: readonly TrainedTensor[]): { mean: Tensor; square: Tensor }[] {
  if (parameters.length === 0) return [];
  const [{ context }] = parameters.map(({ tensor }) => tensor);
  const zeros = ({ shape, size }: Tensor) => upload(context, new Float32Array(size), shape, 'optimizer');
  // The memory outlives any scope it is made in; the inner one gives back what was taken when memory ends midway.
  return context.unscoped(() =>
    context.scope(() => parameters.map(({ tensor }) => ({ mean: zeros(tensor), square: zeros(tensor) }))),
  );
}

/** Plain gradient descent: no momentum, no decay. */
export function sgd(parameters: readonly TrainedTensor[]): Optimizer {
  const dispose = () => {};
  return {
    memory: new Map(),
    update(gradients, factor, learningRate) {
      parameters.forEach(({ tensor }, i) => {
        sgdStep(tensor, gradients[i], factor, learningRate);
      });
    },
    dispose,
    [Symbol.dispose]: dispose,
  };
}
