import code from '../../shaders/distance.wgsl?raw';
import { ShapeError } from '../errors.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { matrixShape, rowGrid, rowLayout } from './kernels.ts';

const shader = { file: 'shaders/distance.wgsl', code };

/**
 * Euclidean distance of each row to its target, by exact difference.
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
  const distances = empty(x.context, [rows], 'f32', 'distance');
  x.context.run({
    kernel: { shader, entry: 'main', constants: rowLayout(x.context.adapter.kind) },
    buffers: [x.buffer, targets.buffer, distances.buffer],
    uniforms: [rows, width, target.rows === 1 ? 0 : width],
    workgroups: rowGrid(x.context, rows),
    cost: 3 * x.size,
  });
  return distances;
}
