import { ShapeError } from '../errors.ts';

/** Number of elements of a shape. */
export const sizeOf = (shape: readonly number[]): number => shape.reduce((product, length) => product * length, 1);

/**
 * Checks that an operand fills its shape.
 * @param operand What to call it in the message: `matmul: bias`.
 * @throws ShapeError when `values.length` is not the product of `shape`.
 */
export function expectShape(operand: string, values: ArrayLike<number>, shape: readonly number[]): void {
  const size = sizeOf(shape);
  if (values.length !== size)
    throw new ShapeError(
      `${operand} holds ${values.length} values, but the shape [${shape.join(', ')}] holds ${size}.`,
      'Pass sizes that match the data.',
    );
}

/**
 * How many rows of `width` values an operand holds.
 * @param operand What to call it in the message: `softmax: x`.
 * @throws ShapeError when the length is no multiple of `width`.
 */
export function countRows(operand: string, values: ArrayLike<number>, width: number): number {
  if (!Number.isInteger(width) || width < 1 || values.length % width !== 0)
    throw new ShapeError(
      `${operand} holds ${values.length} values, which are not whole rows of ${width}.`,
      'Pass the width of one row and whole rows.',
    );
  return values.length / width;
}
