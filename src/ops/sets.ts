import { ShapeError } from '../errors.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Inputs } from './op.ts';

/**
 * How many sets of rows (see `Op`) these derivatives hold.
 * @param derivatives At least one.
 * @param tensors What each is a derivative of.
 * @throws ShapeError when the numbers differ.
 */
export function countSets(derivatives: Inputs, tensors: Inputs): number {
  const counts = derivatives.flatMap((derivative, i) => {
    if (!derivative) return [];
    const { size } = tensors[i]!;
    return derivative.size === size ? [1] : [derivative.size / size];
  });
  const [count] = counts;
  if (Number.isInteger(count) && counts.every((other) => other === count)) return count;
  const shapes = derivatives.map((derivative) => (derivative ? `[${derivative.shape}]` : 'zero')).join(', ');
  throw new ShapeError(
    `Derivatives ${shapes} of tensors ${tensors.map((tensor) => `[${tensor?.shape}]`).join(', ')}.`,
    'Give derivatives of the shapes of their tensors, or as many sets of each.',
  );
}

/** The shape of as many sets of a tensor one after another. */
export function shapeOfSets({ shape }: Tensor, count: number): readonly number[] {
  const [rows = 1, ...rest] = shape;
  return count === 1 ? shape : [count * rows, ...rest];
}
