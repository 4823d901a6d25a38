import type { Context } from '../../gpu/context.ts';
import { type Tensor, upload } from '../../tensor/tensor.ts';
import { type RowMap, rowMap } from '../row-map.ts';

/** A map with weights of its own on the GPU, and its float64 twin. */
export interface Block extends RowMap, Disposable {
  /** The map in float64. @param rows [B, d] @returns [B, d] */
  twin(rows: ArrayLike<number>): Float64Array;
  /** Gives the weights back. */
  dispose(): void;
}

/** A matrix or row of weights, with its shape on the GPU. */
export interface Weight {
  readonly values: ArrayLike<number>;
  readonly shape: readonly number[];
}

/**
 * Uploads the weights of a map.
 * @param twin The map in float64.
 * @param weights By name; rounded to f32.
 * @param f From rows [B, d] to rows [B, d] by the weights on the GPU, of operations that keep rows independent.
 * @throws ShapeError when a weight does not fill its shape.
 */
export function block<Name extends string>(
  context: Context,
  name: string,
  width: number,
  twin: Block['twin'],
  weights: Readonly<Record<Name, Weight>>,
  f: (rows: Tensor, weights: Readonly<Record<Name, Tensor>>) => Tensor,
): Block {
  const entries = Object.entries<Weight>(weights);
  const tensors = context.unscoped(() =>
    entries.map(([key, { values, shape }]) => [key, upload(context, Float32Array.from(values), shape, key)] as const),
  );
  const uploaded = Object.fromEntries(tensors) as Record<Name, Tensor>;
  const dispose = () => {
    for (const [, tensor] of tensors) tensor.dispose();
  };
  return { ...rowMap(name, width, (rows) => f(rows, uploaded)), twin, dispose, [Symbol.dispose]: dispose };
}
