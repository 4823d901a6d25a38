import { expectShape } from './shape.ts';

/** Constants of AdamW. */
export interface AdamwConstants {
  /** How much of the running mean of the gradient, and of its square, a step keeps. */
  readonly betas: readonly [number, number];
  /** Added to the root of the mean square. */
  readonly epsilon: number;
  /** Decoupled weight decay: share of a parameter that a step of learning rate 1 takes away. */
  readonly weightDecay: number;
}

/** A tensor under training with its running moments. */
export interface AdamwState {
  readonly parameter: ArrayLike<number>;
  /** Running mean of the gradient. */
  readonly mean: ArrayLike<number>;
  /** Running mean of its square. */
  readonly square: ArrayLike<number>;
}

/**
 * One step of AdamW, with bias correction, as torch.optim.AdamW.
 * @param step From 1.
 * @throws ShapeError unless gradient and moments have the length of the parameter.
 * Source: Loshchilov and Hutter 2019, arXiv 1711.05101, algorithm 2.
 */
export function adamwStep(
  state: AdamwState,
  gradient: ArrayLike<number>,
  learningRate: number,
  step: number,
  { betas: [beta1, beta2], epsilon, weightDecay }: AdamwConstants,
): { parameter: Float64Array; mean: Float64Array; square: Float64Array } {
  const { length } = state.parameter;
  for (const [what, values] of Object.entries({ gradient, mean: state.mean, square: state.square })) {
    expectShape(`adamw: ${what}`, values, [length]);
  }
  const mean = Float64Array.from(state.mean, (m, i) => beta1 * m + (1 - beta1) * gradient[i]);
  const square = Float64Array.from(state.square, (v, i) => beta2 * v + (1 - beta2) * gradient[i] ** 2);
  const parameter = Float64Array.from(state.parameter, (p, i) => {
    const m = mean[i] / (1 - beta1 ** step);
    const v = square[i] / (1 - beta2 ** step);
    return p - learningRate * (weightDecay * p + m / (Math.sqrt(v) + epsilon));
  });
  return { parameter, mean, square };
}

/**
 * One step of gradient descent.
 * @throws ShapeError unless the gradient has the length of the parameter.
 */
export function sgdStep(parameter: ArrayLike<number>, gradient: ArrayLike<number>, learningRate: number): Float64Array {
  expectShape('sgd: gradient', gradient, [parameter.length]);
  return Float64Array.from(parameter, (p, i) => p - learningRate * gradient[i]);
}

/**
 * What to multiply gradients with so that their joint norm is at most `maxNorm`; 0 where one of the numbers given is no
 * number, or infinite, or the sum beyond f32.
 * @param lossAndSquares The loss, then the sum of squares of each gradient.
 * @param maxNorm 0 for no clipping.
 * Source: torch.nn.utils.clip_grad_norm_.
 */
export function clipFactor(lossAndSquares: ArrayLike<number>, maxNorm: number): number {
  const values = Array.from(lossAndSquares);
  const total = values.slice(1).reduce((sum, square) => sum + square, 0);
  if (!values.every(Number.isFinite) || !Number.isFinite(Math.fround(total))) return 0;
  const norm = Math.sqrt(total);
  return maxNorm > 0 ? Math.min(1, maxNorm / (norm + 1e-6)) : 1;
}
