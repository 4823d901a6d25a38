import code from '../../shaders/softmax.wgsl?raw';
import derivativeCode from '../../shaders/softmax-derivative.wgsl?raw';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { matrixShape, rowGrid, rowLayout } from './kernels.ts';
import { apply, type Op } from './op.ts';
import { countSets, shapeOfSets } from './sets.ts';

const shader = { file: 'shaders/softmax.wgsl', code };
const derivativeShader = { file: 'shaders/softmax-derivative.wgsl', code: derivativeCode };

/** The derivatives of `softmax-derivative.wgsl`, each by its place. */
const DERIVATIVES = ['softmax', 'log-softmax vjp', 'log-softmax jvp'] as const;

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

/** J d or J^T d, from the value. */
function derivative(d: Tensor, y: Tensor, which: (typeof DERIVATIVES)[number]): Tensor {
  const { context } = y;
  const { rows, width } = matrixShape(y);
  const sets = countSets([d], [y]);
  const result = empty(context, shapeOfSets(y, sets), 'f32', which);
  context.run({
    kernel: {
      shader: derivativeShader,
      entry: 'main',
      constants: { ...rowLayout(context.adapter.kind), MODE: DERIVATIVES.indexOf(which) },
    },
    buffers: [y.buffer, d.buffer, result.buffer],
    uniforms: [rows, width, sets * rows],
    workgroups: rowGrid(context, sets * rows),
    cost: 6 * result.size,
  });
  return result;
}

const softmaxOp: Op<[x: Tensor]> = {
  name: 'softmax',
  forward: ([x]) => ({ value: overRows(x, false) }),
  vjp: (dy, { value }) => [derivative(dy, value, 'softmax')],
  jvp: ([dx], { value }) => derivative(dx!, value, 'softmax'),
};

const logSoftmaxOp: Op<[x: Tensor]> = {
  name: 'logSoftmax',
  forward: ([x]) => ({ value: overRows(x, true) }),
  vjp: (dy, { value }) => [derivative(dy, value, 'log-softmax vjp')],
  jvp: ([dx], { value }) => derivative(dx!, value, 'log-softmax jvp'),
};

/** Softmax over the last dimension. @param x [..., width] */
export const softmax = (x: Tensor): Tensor => apply(softmaxOp, [x], undefined);

/** Logarithm of the softmax over the last dimension. @param x [..., width] */
export const logSoftmax = (x: Tensor): Tensor => apply(logSoftmaxOp, [x], undefined);
