import code from '../../shaders/reduce.wgsl?raw';
import { ShapeError } from '../errors.ts';
import { sizeOf } from '../reference/shape.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { elementGrid } from './kernels.ts';
import { apply, expectOneSet, expectUntracked, type Op } from './op.ts';

const shader = { file: 'shaders/reduce.wgsl', code };

/** Rows that one thread sums. */
const CHUNK = 64;

function sums(x: Tensor, width: number, squared: boolean): Tensor {
  const { context } = x;
  let from = x;
  let rows = x.size / width;
  do {
    const chunks = Math.max(1, Math.ceil(rows / CHUNK));
    const to = empty(context, chunks > 1 ? [chunks, width] : [width], 'f32', 'sums');
    context.run({
      kernel: { shader, entry: 'column_sums', constants: { SQUARED: Number(squared && from === x) } },
      buffers: [from.buffer, to.buffer],
      uniforms: [rows, width, chunks],
      workgroups: elementGrid(to.size),
      cost: from.size,
    });
    if (from !== x) from.dispose();
    from = to;
    rows = chunks;
  } while (rows > 1);
  return from;
}

const columnSum: Op<[x: Tensor], number> = {
  name: 'columnSums',
  forward: ([x], width) => ({ value: sums(x, width, false) }),
  vjp: (dy, { inputs: [x], value }) => [repeat(expectOneSet(dy, value), x.shape)],
  jvp: ([dx], { inputs: [x] }, width) => columnSums(expectOneSet(dx!, x), width),
};

/**
 * Sums over the rows of a matrix.
 * @param x [..., width]
 * @param width Default: the last dimension of x.
 * @returns [width]
 * @throws ShapeError when x is not whole rows of `width`.
 */
export function columnSums(x: Tensor, width: number = x.shape.at(-1) ?? 1): Tensor {
  if (!(width > 0 && x.size % width === 0)) {
    throw new ShapeError(`[${x.shape}] is not rows of ${width}.`, 'Give whole rows.');
  }
  return apply(columnSum, [x], width);
}

/** The sum of all elements, [1]. */
export const sum = (x: Tensor): Tensor => columnSums(x, 1);

/** The sum of the squares of all elements, [1]; for use outside derivatives. @throws InputError inside one. */
export function sumOfSquares(x: Tensor): Tensor {
  expectUntracked('sumOfSquares', x);
  return sums(x, 1, true);
}

const repetition: Op<[row: Tensor], readonly number[]> = {
  name: 'repeat',
  forward([row], shape) {
    const y = empty(row.context, shape, 'f32', 'repeat');
    row.context.run({
      kernel: { shader, entry: 'repeat_row' },
      buffers: [row.buffer, y.buffer],
      uniforms: [y.size / row.size, row.size, 0],
      workgroups: elementGrid(y.size),
      cost: y.size,
    });
    return { value: y };
  },
  vjp: (dy, { inputs: [row], value }) => [columnSums(expectOneSet(dy, value), row.size)],
  jvp: ([drow], { inputs: [row] }, shape) => repeat(expectOneSet(drow!, row), shape),
};

/**
 * A row over and over: the transpose of `columnSums`.
 * @param row [width]
 * @param shape Of a multiple of its size.
 * @throws ShapeError
 */
export function repeat(row: Tensor, shape: readonly number[]): Tensor {
  if (row.size === 0 || sizeOf(shape) % row.size !== 0) {
    throw new ShapeError(`[${row.shape}] cannot be repeated to [${shape}].`, 'Repeat it a whole number of times.');
  }
  return apply(repetition, [row], shape);
}
