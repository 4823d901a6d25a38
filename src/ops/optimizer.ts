import adamwCode from '../../shaders/adamw.wgsl?raw';
import clipCode from '../../shaders/clip.wgsl?raw';
import sgdCode from '../../shaders/sgd.wgsl?raw';
import { f32 } from '../gpu/uniforms.ts';
import type { AdamwConstants } from '../reference/optimizer.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { elementGrid, expectSize } from './kernels.ts';

/** Kernels that train. Unlike operations they change tensors in place, and no tape sees them. */

const clip = { file: 'shaders/clip.wgsl', code: clipCode };
const adamw = { file: 'shaders/adamw.wgsl', code: adamwCode };
const sgd = { file: 'shaders/sgd.wgsl', code: sgdCode };

/**
 * What to multiply gradients with so that their joint norm is at most `maxNorm`; 0, which the steps below take for
 * "change nothing", where the loss or a gradient is no finite number.
 * @param lossAndSquares [1 + P], the loss, then the sum of squares of each gradient.
 * @param maxNorm 0 for no clipping.
 * @returns [1]
 */
export function clipFactor(lossAndSquares: Tensor, maxNorm: number): Tensor {
  const { context, size } = lossAndSquares;
  const factor = empty(context, [1], 'f32', 'clip factor');
  context.run({
    kernel: { shader: clip, entry: 'clip_factor' },
    buffers: [lossAndSquares.buffer, factor.buffer],
    uniforms: [size, f32(maxNorm)],
    workgroups: [1],
    cost: size,
  });
  return factor;
}

/** A tensor under training with the moments of its gradient, all of one size. */
export interface AdamwTensors {
  readonly parameter: Tensor;
  readonly mean: Tensor;
  readonly square: Tensor;
}

/**
 * Takes one step of AdamW, in place.
 * @param factor [1], of `clipFactor`.
 * @param step From 1.
 * @throws ShapeError
 */
export function adamwStep(
  { parameter, mean, square }: AdamwTensors,
  gradient: Tensor,
  factor: Tensor,
  learningRate: number,
  step: number,
  { betas: [beta1, beta2], epsilon, weightDecay }: AdamwConstants,
): void {
  const { context, size, shape } = parameter;
  expectSize('The gradient of a parameter', gradient, shape);
  expectSize('The mean gradient of a parameter', mean, shape);
  expectSize('The mean square gradient of a parameter', square, shape);
  context.run({
    kernel: { shader: adamw, entry: 'adamw' },
    buffers: [gradient.buffer, factor.buffer, parameter.buffer, mean.buffer, square.buffer],
    uniforms: [
      size,
      f32(1 - learningRate * weightDecay),
      f32(learningRate / (1 - beta1 ** step)),
      f32(Math.sqrt(1 - beta2 ** step)),
      f32(beta1),
      f32(1 - beta1),
      f32(beta2),
      f32(1 - beta2),
      f32(epsilon),
    ],
    workgroups: elementGrid(size),
    cost: 16 * size,
  });
}

/**
 * Takes one step of gradient descent, in place.
 * @param factor [1], of `clipFactor`.
 * @throws ShapeError
 */
export function sgdStep(parameter: Tensor, gradient: Tensor, factor: Tensor, learningRate: number): void {
  const { context, size, shape } = parameter;
  expectSize('The gradient of a parameter', gradient, shape);
  context.run({
    kernel: { shader: sgd, entry: 'sgd' },
    buffers: [gradient.buffer, factor.buffer, parameter.buffer],
    uniforms: [size, f32(learningRate)],
    workgroups: elementGrid(size),
    cost: 3 * size,
  });
}
