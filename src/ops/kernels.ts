import { ShapeError } from '../errors.ts';
import type { AdapterKind } from '../gpu/adapter.ts';
import type { Context } from '../gpu/context.ts';
import { sizeOf } from '../reference/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** Threads of a workgroup of an elementwise kernel. */
export const WORKGROUP = 64;

/** WebGPU's limit of workgroups along a dimension. */
const MAX_WORKGROUPS = 65535;

/** `count` workgroups as a grid within the limits; shaders flatten it with x + y * num_workgroups.x and stop at the size. */
export function grid(count: number): [x: number, y: number] {
  const rows = Math.ceil(count / MAX_WORKGROUPS);
  return [rows > 0 ? Math.ceil(count / rows) : 0, rows];
}

/** Workgroups of an elementwise kernel over `size` elements. */
export const elementGrid = (size: number): [x: number, y: number] => grid(Math.ceil(size / WORKGROUP));

/**
 * Threads that share a row in a row reduction, and rows of a workgroup. CPU adapters simulate a barrier by suspending
 * every thread, which makes one thread per row 10 to 50 times faster there.
 */
export function rowLayout(kind: AdapterKind): { LANES: number; ROWS: number } {
  return kind === 'cpu' ? { LANES: 1, ROWS: 4 } : { LANES: 64, ROWS: 1 };
}

/** Rows and width of a tensor read as a matrix: all leading dimensions are rows. */
export function matrixShape(tensor: Tensor): { rows: number; width: number } {
  const width = tensor.shape.at(-1) ?? 1;
  return { rows: width > 0 ? tensor.size / width : 0, width };
}

/** Workgroups of a row reduction. */
export const rowGrid = (context: Context, rows: number): [x: number, y: number] =>
  grid(Math.ceil(rows / rowLayout(context.adapter.kind).ROWS));

/** @throws ShapeError unless `tensor` has as many elements as `shape`. */
export function expectSize(what: string, tensor: Tensor, shape: readonly number[]): void {
  if (tensor.size !== sizeOf(shape)) {
    throw new ShapeError(
      `${what} is [${tensor.shape}]; [${shape}] is needed.`,
      'Check the operands of this operation.',
    );
  }
}
