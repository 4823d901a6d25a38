import code from '../../shaders/slice.wgsl?raw';
import { ShapeError } from '../errors.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { elementGrid, expectSize, matrixShape } from './kernels.ts';
import { apply, expectOneSet, type Op } from './op.ts';
import { countSets } from './sets.ts';

const shader = { file: 'shaders/slice.wgsl', code };

/** A part of a matrix: `rows` rows from `firstRow` on, of them `count` columns from `first` on. */
interface Part {
  readonly firstRow: number;
  readonly rows: number;
  readonly first: number;
  readonly count: number;
}

/** `count` columns of all rows of a matrix: derivatives may have several sets of rows. */
const columnsOf = (matrix: Tensor, first: number, count: number): Part => {
  const { rows } = matrixShape(matrix);
  return { firstRow: 0, rows, first, count };
};

/** `b` [rows, width] with `a` in place of a part of it; zeros where either is absent. */
function put(a: Tensor | undefined, b: Tensor | undefined, rows: number, width: number, part: Part): Tensor {
  const { context } = (a ?? b)!;
  const y = empty(context, [rows, width], 'f32', 'put');
  context.run({
    kernel: { shader, entry: 'put', constants: { HAS_A: Number(a !== undefined), HAS_B: Number(b !== undefined) } },
    buffers: [a?.buffer, b?.buffer, y.buffer],
    uniforms: [y.size, width, part.first, part.count, part.firstRow, part.rows],
    workgroups: elementGrid(y.size),
    cost: 2 * y.size,
  });
  return y;
}

const columnSlice: Op<[a: Tensor], { first: number; count: number }> = {
  name: 'takeColumns',
  forward([a], { first, count }) {
    const { rows, width } = matrixShape(a);
    const y = empty(a.context, [rows, count], 'f32', 'takeColumns');
    a.context.run({
      kernel: { shader, entry: 'take' },
      buffers: [a.buffer, undefined, y.buffer],
      uniforms: [y.size, width, first, count, 0, rows],
      workgroups: elementGrid(y.size),
      cost: 2 * y.size,
    });
    return { value: y };
  },
  vjp: (dy, { inputs: [a] }, _, { first }) => [placeColumns(dy, first, matrixShape(a).width)],
  jvp: ([da], _, { first, count }) => takeColumns(da!, first, count),
};

/**
 * Columns first .. first + count of a matrix [..., width], as [rows, count].
 * @throws ShapeError
 */
export function takeColumns(a: Tensor, first: number, count: number): Tensor {
  expectColumns(a, matrixShape(a).width, first, count);
  return apply(columnSlice, [a], { first, count });
}

const columnPlacement: Op<[a: Tensor], { first: number; width: number }> = {
  name: 'placeColumns',
  forward([a], { first, width }) {
    const part = columnsOf(a, first, matrixShape(a).width);
    return { value: put(a, undefined, part.rows, width, part) };
  },
  vjp: (dy, { inputs: [a] }, _, { first }) => [takeColumns(dy, first, matrixShape(a).width)],
  jvp: ([da], _, { first, width }) => placeColumns(da!, first, width),
};

/**
 * A matrix of zeros [rows, width] with `a` [..., count] as its columns from `first` on: the transpose of `takeColumns`.
 * @throws ShapeError
 */
export function placeColumns(a: Tensor, first: number, width: number): Tensor {
  expectColumns(a, width, first, matrixShape(a).width);
  return apply(columnPlacement, [a], { first, width });
}

const columnReplacement: Op<[b: Tensor, a: Tensor], number> = {
  name: 'replaceColumns',
  forward: ([b, a], first) => ({ value: replaced(b, first, a, matrixShape(a).width) }),
  vjp(dy, { inputs: [, a] }, [wantsB, wantsA], first) {
    const { width: count } = matrixShape(a);
    return [
      wantsB ? replaced(dy, first, undefined, count) : undefined,
      wantsA ? takeColumns(dy, first, count) : undefined,
    ];
  },
  jvp([db, da], { inputs: [b, a] }, first) {
    countSets([db, da], [b, a]);
    if (db) return replaced(db, first, da, matrixShape(a).width);
    return placeColumns(da!, first, matrixShape(b).width);
  },
};

function replaced(b: Tensor, first: number, a: Tensor | undefined, count: number): Tensor {
  const { rows, width } = matrixShape(b);
  return put(a, b, rows, width, columnsOf(b, first, count));
}

/**
 * `b` [..., width] with `a` [rows, count] in place of its columns from `first` on.
 * @returns [rows, width]
 * @throws ShapeError
 */
export function replaceColumns(b: Tensor, first: number, a: Tensor): Tensor {
  const { rows, width } = matrixShape(b);
  const { width: count } = matrixShape(a);
  expectColumns(a, width, first, count);
  expectSize('The columns put into a matrix', a, [rows, count]);
  return apply(columnReplacement, [b, a], first);
}

function expectColumns(a: Tensor, width: number, first: number, count: number): void {
  if (first >= 0 && count >= 0 && first + count <= width) return;
  throw new ShapeError(
    `Columns ${first}..${first + count} of [${a.shape}] are not in a matrix of width ${width}.`,
    'Stay inside the matrix.',
  );
}

const rowSlice: Op<[a: Tensor], { first: number; count: number }> = {
  name: 'sliceRows',
  forward([a], { first, count }) {
    const { width } = matrixShape(a);
    const y = empty(a.context, [count, width], a.type, 'slice');
    if (y.size > 0) a.context.copy(a.buffer, 4 * first * width, y.buffer, 0, 4 * y.size);
    return { value: y };
  },
  vjp(dy, { inputs: [a], value }, _, { first, count }) {
    const { rows, width } = matrixShape(a);
    const part = { firstRow: first, rows: count, first: 0, count: width };
    return [put(expectOneSet(dy, value), undefined, rows, width, part)];
  },
  jvp: ([da], { inputs: [a] }, { first, count }) => sliceRows(expectOneSet(da!, a), first, count),
};

/**
 * Copies `count` rows from row `first` of a matrix [rows, width] into a tensor of their own [count, width].
 * @throws ShapeError
 */
export function sliceRows(a: Tensor, first: number, count: number): Tensor {
  const [rows = 0] = a.shape;
  if (a.shape.length !== 2 || first < 0 || count < 0 || first + count > rows) {
    throw new ShapeError(`Rows ${first}..${first + count} are not in [${a.shape}].`, 'Slice inside the matrix.');
  }
  return apply(rowSlice, [a], { first, count });
}
