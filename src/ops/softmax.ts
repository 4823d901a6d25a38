import code from '../../shaders/softmax.wgsl?raw';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { matrixShape, rowGrid, rowLayout } from './kernels.ts';

const shader = { file: 'shaders/softmax.wgsl', code };

function overRows(x: Tensor, logarithm: boolean): Tensor {
  const { rows, width } = matrixShape(x);
  const y = empty(x.context, x.shape, 'f32', 'softmax');
  x.context.run({
    kernel: {
      shader,
      entry: 'main',
      constants: { ...rowLayout(x.context.adapter.kind), LOGARITHM: Number(logarithm) },
    },
    buffers: [x.buffer, y.buffer],
    uniforms: [rows, width],
    workgroups: rowGrid(x.context, rows),
    cost: 8 * x.size,
  });
  return y;
}

/** Softmax over the last dimension. @param x [..., width] */
export const softmax = (x: Tensor): Tensor => overRows(x, false);

/** Logarithm of the softmax over the last dimension. @param x [..., width] */
export const logSoftmax = (x: Tensor): Tensor => overRows(x, true);
