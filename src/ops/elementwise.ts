import code from '../../shaders/elementwise.wgsl?raw';
import { ShapeError } from '../errors.ts';
import { f32 } from '../gpu/uniforms.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { elementGrid, expectSize, matrixShape } from './kernels.ts';

const shader = { file: 'shaders/elementwise.wgsl', code };

interface Sizes {
  readonly bSize?: number;
  readonly factor?: number;
  readonly width?: number;
  readonly first?: number;
  readonly count?: number;
}

function run(entry: string, a: Tensor, b: Tensor | undefined, y: Tensor, size: number, sizes: Sizes): void {
  const { bSize = 1, factor = 1, width = 0, first = 0, count = 0 } = sizes;
  a.context.run({
    kernel: { shader, entry },
    buffers: [a.buffer, b?.buffer, y.buffer],
    uniforms: [size, bSize, f32(factor), width, first, count],
    workgroups: elementGrid(size),
    cost: 2 * size,
  });
}

/**
 * a + factor * b.
 * @param a [...]
 * @param b The same shape, or one whose elements repeat (a row added to every row of a).
 * @throws ShapeError when b does not divide a.
 */
export function add(a: Tensor, b: Tensor, factor = 1): Tensor {
  if (b.size === 0 ? a.size > 0 : a.size % b.size !== 0) {
    throw new ShapeError(`Cannot add [${b.shape}] to [${a.shape}].`, 'Add tensors of one shape, or a row to a matrix.');
  }
  const y = empty(a.context, a.shape, 'f32', 'add');
  run('add', a, b, y, a.size, { bSize: b.size, factor });
  return y;
}

/** factor * a. */
export function scale(a: Tensor, factor: number): Tensor {
  const y = empty(a.context, a.shape, 'f32', 'scale');
  run('scale', a, undefined, y, a.size, { factor });
  return y;
}

/** Columns first .. first + count of a matrix [..., width], as [rows, count]. */
export function takeColumns(a: Tensor, first: number, count: number): Tensor {
  const { rows, width } = matrixShape(a);
  expectColumns(a, width, first, count);
  const y = empty(a.context, [rows, count], 'f32', 'take_columns');
  run('take_columns', a, undefined, y, y.size, { width, first, count });
  return y;
}

/** Overwrites columns of `target` [rows, width], from `first` on, by `a` [rows, count]. In place. */
export function putColumns(target: Tensor, first: number, a: Tensor): void {
  const { rows, width } = matrixShape(target);
  const count = matrixShape(a).width;
  expectColumns(target, width, first, count);
  expectSize('The columns put into a matrix', a, [rows, count]);
  run('put_columns', a, undefined, target, a.size, { width, first, count });
}

function expectColumns(a: Tensor, width: number, first: number, count: number): void {
  if (first < 0 || first + count > width) {
    throw new ShapeError(`Columns ${first}..${first + count} are not in [${a.shape}].`, 'Stay inside the matrix.');
  }
}
