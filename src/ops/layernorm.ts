import code from '../../shaders/layernorm.wgsl?raw';
import jvpCode from '../../shaders/layernorm-jvp.wgsl?raw';
import vjpCode from '../../shaders/layernorm-vjp.wgsl?raw';
import { f32 } from '../gpu/uniforms.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { elementGrid, expectSize, matrixShape, rowGrid, rowLayout } from './kernels.ts';
import { apply, expectOneSet, type Op } from './op.ts';
import { columnSums } from './reduce.ts';
import { countSets, shapeOfSets } from './sets.ts';

const shader = { file: 'shaders/layernorm.wgsl', code };
const vjpShader = { file: 'shaders/layernorm-vjp.wgsl', code: vjpCode };
const jvpShader = { file: 'shaders/layernorm-jvp.wgsl', code: jvpCode };

/** Rows that one thread sums for the gradient in the gain. */
const CHUNK = 64;

/** Rows of x with what the forward pass kept of them: mean, its remainder and rstd, [rows, 3]. */
interface Rows {
  readonly x: Tensor;
  readonly statistics: Tensor;
}

const norm: Op<[x: Tensor, gain: Tensor, bias: Tensor], number> = {
  name: 'layernorm',
  forward([x, gain, bias], epsilon) {
    const { rows, width } = matrixShape(x);
    const y = empty(x.context, x.shape, 'f32', 'layernorm');
    const statistics = empty(x.context, [rows, 3], 'f32', 'layernorm');
    x.context.run({
      kernel: { shader, entry: 'main', constants: rowLayout(x.context.adapter.kind) },
      buffers: [x.buffer, gain.buffer, bias.buffer, y.buffer, statistics.buffer],
      uniforms: [rows, width, f32(epsilon)],
      workgroups: rowGrid(x.context, rows),
      cost: 8 * x.size,
    });
    return { value: y, saved: [statistics] };
  },
  vjp(dy, { inputs: [x, gain], value, saved: [statistics] }, [wantsX, wantsGain, wantsBias]) {
    return [
      wantsX ? gradientInX(dy, { x, statistics }, gain) : undefined,
      wantsGain ? gradientInGain(expectOneSet(dy, value), { x, statistics }) : undefined,
      wantsBias ? columnSums(expectOneSet(dy, value), gain.size) : undefined,
    ];
  },
  jvp(tangents, { inputs, value, saved: [statistics] }) {
    const [dx, dgain, dbias] = tangents;
    const [x, gain] = inputs;
    const { context } = x;
    const { rows, width } = matrixShape(x);
    const sets = countSets(tangents, inputs);
    const dy = empty(context, shapeOfSets(value, sets), 'f32', 'layernorm jvp');
    const constants = { HAS_DX: Number(!!dx), HAS_DGAIN: Number(!!dgain), HAS_DBIAS: Number(!!dbias) };
    context.run({
      kernel: { shader: jvpShader, entry: 'main', constants: { ...rowLayout(context.adapter.kind), ...constants } },
      buffers: [x.buffer, gain.buffer, statistics.buffer, dx?.buffer, dgain?.buffer, dbias?.buffer, dy.buffer],
      uniforms: [rows, width, sets * rows],
      workgroups: rowGrid(context, sets * rows),
      cost: 12 * dy.size,
    });
    return dy;
  },
};

function gradientInX(dy: Tensor, { x, statistics }: Rows, gain: Tensor): Tensor {
  const { context } = x;
  const { rows, width } = matrixShape(x);
  const sets = countSets([dy], [x]);
  const dx = empty(context, shapeOfSets(x, sets), 'f32', 'layernorm vjp');
  context.run({
    kernel: { shader: vjpShader, entry: 'gradient_in_x', constants: rowLayout(context.adapter.kind) },
    buffers: [x.buffer, gain.buffer, statistics.buffer, dy.buffer, dx.buffer],
    uniforms: [rows, width, sets * rows, 0],
    workgroups: rowGrid(context, sets * rows),
    cost: 12 * dx.size,
  });
  return dx;
}

function gradientInGain(dy: Tensor, { x, statistics }: Rows): Tensor {
  const { context } = x;
  const { rows, width } = matrixShape(x);
  const chunks = Math.ceil(rows / CHUNK);
  const dgain = empty(context, [chunks, width], 'f32', 'layernorm vjp');
  context.run({
    kernel: { shader: vjpShader, entry: 'gradient_in_gain' },
    buffers: [x.buffer, undefined, statistics.buffer, dy.buffer, dgain.buffer],
    uniforms: [rows, width, rows, chunks],
    workgroups: elementGrid(dgain.size),
    cost: 4 * x.size,
  });
  return columnSums(dgain);
}

/**
 * LayerNorm over the last dimension: (x - mean) / sqrt(variance + epsilon) * gain + bias.
 * @param x [..., width]
 * @param gain [width]
 * @param bias [width]
 * @throws ShapeError
 */
export function layernorm(x: Tensor, gain: Tensor, bias: Tensor, epsilon: number): Tensor {
  const { width } = matrixShape(x);
  expectSize('The gain of a LayerNorm', gain, [width]);
  expectSize('The bias of a LayerNorm', bias, [width]);
  return apply(norm, [x, gain, bias], epsilon);
}
