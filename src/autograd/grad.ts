import { ShapeError } from '../errors.ts';
import type { Inputs } from '../ops/op.ts';
import { reshape, type Tensor, upload } from '../tensor/tensor.ts';
import { contextOf, linearize } from './tape.ts';

/** A differentiable function: preimage's operations and a user's own, recorded synchronously. */
export type Differentiable = (...inputs: Tensor[]) => Tensor;

/** A value and the gradient of a function in each input. */
export interface ValueAndGradients {
  readonly value: Tensor;
  readonly gradients: Tensor[];
}

/**
 * J^T dy: the value of `f`, and the gradient of <dy, f> in each input.
 * @param cotangent Of the shape of the value.
 * @throws ShapeError, InputError as `linearize`.
 */
export function vjp(f: Differentiable, inputs: readonly Tensor[], cotangent: Tensor): ValueAndGradients {
  return contextOf(inputs).scope(() => {
    const at = linearize(f, inputs);
    return { gradients: at.vjp(cotangent), value: reshape(at.value, at.value.shape) };
  });
}

/**
 * J dx: the value of `f`, and its derivative along a direction.
 * @param tangents One for each input, of its shape; undefined for zero.
 * @throws ShapeError, InputError as `linearize`.
 */
export function jvp(
  f: Differentiable,
  inputs: readonly Tensor[],
  tangents: Inputs,
): { readonly value: Tensor; readonly tangent: Tensor } {
  return contextOf(inputs).scope(() => {
    const at = linearize(f, inputs);
    return { tangent: at.jvp(tangents), value: reshape(at.value, at.value.shape) };
  });
}

/**
 * The value of a scalar function and its gradient in each input.
 * @param f Returns one number; it may close over the inputs.
 * @throws ShapeError when the value is not one number; InputError as `linearize`.
 */
export function valueAndGrad(f: Differentiable, inputs: readonly Tensor[]): ValueAndGradients {
  const context = contextOf(inputs);
  return context.scope(() => {
    const at = linearize(f, inputs);
    if (at.value.size !== 1) {
      throw new ShapeError(
        `The gradient of [${at.value.shape}] is asked for: a gradient belongs to one number.`,
        'Reduce it to a scalar (sum, crossEntropy), or give vjp a cotangent of that shape.',
      );
    }
    const one = upload(context, Float32Array.of(1), at.value.shape);
    return { gradients: at.vjp(one), value: reshape(at.value, at.value.shape) };
  });
}

/** The gradient of a scalar function in each input; as `valueAndGrad`. */
export function grad(f: Differentiable, inputs: readonly Tensor[]): Tensor[] {
  return contextOf(inputs).scope(() => valueAndGrad(f, inputs).gradients);
}
