import code from '../../shaders/distance.wgsl?raw';
import jvpCode from '../../shaders/distance-jvp.wgsl?raw';
import vjpCode from '../../shaders/distance-vjp.wgsl?raw';
import { ShapeError } from '../errors.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { scale } from './elementwise.ts';
import { elementGrid, matrixShape, rowGrid, rowLayout } from './kernels.ts';
import { apply, expectOneSet, type Op } from './op.ts';
import { columnSums } from './reduce.ts';
import { countSets, shapeOfSets } from './sets.ts';

const shader = { file: 'shaders/distance.wgsl', code };
const vjpShader = { file: 'shaders/distance-vjp.wgsl', code: vjpCode };
const jvpShader = { file: 'shaders/distance-jvp.wgsl', code: jvpCode };

type Operands = [x: Tensor, targets: Tensor];

/** Rows, width, and how far one row's target lies from the next: 0 where all share one. */
function shapeOf([x, targets]: Operands): [rows: number, width: number, stride: number] {
  const { rows, width } = matrixShape(x);
  return [rows, width, targets.size === x.size ? width : 0];
}

const distances: Op<Operands> = {
  name: 'distance',
  forward(operands) {
    const [x, targets] = operands;
    const [rows, width, stride] = shapeOf(operands);
    const y = empty(x.context, [rows], 'f32', 'distance');
    x.context.run({
      kernel: { shader, entry: 'main', constants: rowLayout(x.context.adapter.kind) },
      buffers: [x.buffer, targets.buffer, y.buffer],
      uniforms: [rows, width, stride],
      workgroups: rowGrid(x.context, rows),
      cost: 3 * x.size,
    });
    return { value: y };
  },
  vjp(dy, { inputs, value }, [wantsX, wantsTargets]) {
    const dx = gradientInX(dy, inputs, value);
    const [, width, stride] = shapeOf(inputs);
    // Where all rows share one target, its gradient is a sum over the rows.
    const summed = wantsTargets && stride === 0 ? columnSums(expectOneSet(dx, inputs[0]), width) : dx;
    return [wantsX ? dx : undefined, wantsTargets ? scale(summed, -1) : undefined];
  },
  jvp(tangents, { inputs, value }) {
    const [x, targets] = inputs;
    const [dx, dtargets] = tangents;
    const { context } = x;
    const [rows, width, stride] = shapeOf(inputs);
    const sets = countSets(tangents, inputs);
    const dy = empty(context, shapeOfSets(value, sets), 'f32', 'distance jvp');
    const constants = { HAS_DX: Number(!!dx), HAS_DTARGETS: Number(!!dtargets) };
    context.run({
      kernel: { shader: jvpShader, entry: 'main', constants: { ...rowLayout(context.adapter.kind), ...constants } },
      buffers: [x.buffer, targets.buffer, value.buffer, dx?.buffer, dtargets?.buffer, dy.buffer],
      uniforms: [rows, width, stride, sets * rows],
      workgroups: rowGrid(context, sets * rows),
      cost: 4 * sets * x.size,
    });
    return dy;
  },
};

function gradientInX(dy: Tensor, operands: Operands, value: Tensor): Tensor {
  const [x, targets] = operands;
  const [rows, width, stride] = shapeOf(operands);
  const sets = countSets([dy], [value]);
  const dx = empty(x.context, shapeOfSets(x, sets), 'f32', 'distance vjp');
  x.context.run({
    kernel: { shader: vjpShader, entry: 'main' },
    buffers: [x.buffer, targets.buffer, value.buffer, dy.buffer, dx.buffer],
    uniforms: [rows, width, stride, sets * rows],
    workgroups: elementGrid(dx.size),
    cost: 3 * dx.size,
  });
  return dx;
}

/**
 * Euclidean distance of each row to its target, by exact difference. Where they meet, its derivative counts as zero.
 * @param x [rows, width]
 * @param targets [1, width] for all rows, or [rows, width].
 * @returns [rows]
 * @throws ShapeError
 */
export function distance(x: Tensor, targets: Tensor): Tensor {
  const { rows, width } = matrixShape(x);
  const target = matrixShape(targets);
  if (target.width !== width || (target.rows !== 1 && target.rows !== rows)) {
    throw new ShapeError(
      `No distance from [${x.shape}] to [${targets.shape}].`,
      'Give one target row, or one for each row.',
    );
  }
  return apply(distances, [x, targets], undefined);
}
