import code from '../../shaders/activation.wgsl?raw';
import type { Kernel } from '../gpu/shader.ts';
import type { ActivationName } from '../reference/activation.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { elementGrid } from './kernels.ts';

/** Every activation; shaders know each by its place in this list. */
export const ACTIVATIONS: readonly ActivationName[] = [
  'none',
  'gelu_new',
  'gelu',
  'gelu_fast',
  'relu',
  'leaky_relu',
  'silu',
  'tanh',
];

/** The `override ACTIVATION` value of a name. */
export const activationIndex = (name: ActivationName): number => ACTIVATIONS.indexOf(name);

const shader = { file: 'shaders/activation.wgsl', code };
const kernel = (name: ActivationName): Kernel => ({
  shader,
  entry: 'main',
  constants: { ACTIVATION: activationIndex(name) },
});

/** Applies an activation to every element; formulas as in `reference/activation.ts`. */
export function activation(x: Tensor, name: ActivationName): Tensor {
  const y = empty(x.context, x.shape, 'f32', 'activation');
  x.context.run({
    kernel: kernel(name),
    buffers: [x.buffer, y.buffer],
    uniforms: [x.size],
    workgroups: elementGrid(x.size),
    cost: 16 * x.size,
  });
  return y;
}
