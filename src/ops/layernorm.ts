import code from '../../shaders/layernorm.wgsl?raw';
import { f32 } from '../gpu/uniforms.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { expectSize, matrixShape, rowGrid, rowLayout } from './kernels.ts';

const shader = { file: 'shaders/layernorm.wgsl', code };

/**
 * LayerNorm over the last dimension: (x - mean) / sqrt(variance + epsilon) * gain + bias.
 * @param x [..., width]
 * @param gain [width]
 * @param bias [width]
 */
export function layernorm(x: Tensor, gain: Tensor, bias: Tensor, epsilon: number): Tensor {
  const { rows, width } = matrixShape(x);
  expectSize('The gain of a LayerNorm', gain, [width]);
  expectSize('The bias of a LayerNorm', bias, [width]);
  const y = empty(x.context, x.shape, 'f32', 'layernorm');
  x.context.run({
    kernel: { shader, entry: 'main', constants: rowLayout(x.context.adapter.kind) },
    buffers: [x.buffer, gain.buffer, bias.buffer, y.buffer],
    uniforms: [rows, width, f32(epsilon)],
    workgroups: rowGrid(x.context, rows),
    cost: 8 * x.size,
  });
  return y;
}
