import code from '../../shaders/activation.wgsl?raw';
import type { Kernel } from '../gpu/shader.ts';
import type { ActivationName } from '../reference/activation.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { elementGrid } from './kernels.ts';
import { apply, type Op } from './op.ts';
import { countSets, shapeOfSets } from './sets.ts';

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
const kernel = (entry: 'main' | 'slope', name: ActivationName): Kernel => ({
  shader,
  entry,
  constants: { ACTIVATION: activationIndex(name) },
});

/** f'(x) d. */
function alongSlope(d: Tensor, x: Tensor, name: ActivationName): Tensor {
  const result = empty(x.context, shapeOfSets(x, countSets([d], [x])), 'f32', 'activation slope');
  x.context.run({
    kernel: kernel('slope', name),
    buffers: [x.buffer, d.buffer, result.buffer],
    uniforms: [result.size, x.size],
    workgroups: elementGrid(result.size),
    cost: 24 * result.size,
  });
  return result;
}

const activationOp: Op<[x: Tensor], ActivationName> = {
  name: 'activation',
  forward([x], name) {
    const y = empty(x.context, x.shape, 'f32', 'activation');
    x.context.run({
      kernel: kernel('main', name),
      buffers: [x.buffer, undefined, y.buffer],
      uniforms: [x.size, x.size],
      workgroups: elementGrid(x.size),
      cost: 16 * x.size,
    });
    return { value: y };
  },
  vjp: (dy, { inputs: [x] }, _, name) => [alongSlope(dy, x, name)],
  jvp: ([dx], { inputs: [x] }, name) => alongSlope(dx!, x, name),
};

/** Applies an activation to every element; formulas and slopes as in `reference/activation.ts`. */
export const activation = (x: Tensor, name: ActivationName): Tensor => apply(activationOp, [x], name);
