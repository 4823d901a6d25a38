import { erfc } from './erf.ts';

/** The activations a kernel can apply, by the names transformers gives them. */
export type ActivationName = 'none' | 'gelu_new' | 'gelu' | 'gelu_fast' | 'relu' | 'leaky_relu' | 'silu' | 'tanh';

const LEAKY_SLOPE = 0.01;

/** Every activation as a function of one number; formulas as in `transformers.activations`. */
export const activations: Readonly<Record<ActivationName, (x: number) => number>> = {
  none: (x) => x,
  gelu_new: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  // x Phi(x), by erfc so that the left tail keeps its digits
  gelu: (x) => 0.5 * x * erfc(-x * Math.SQRT1_2),
  gelu_fast: (x) => 0.5 * x * (1 + Math.tanh(0.7978845608 * x * (1 + 0.044715 * x * x))),
  relu: (x) => Math.max(0, x),
  leaky_relu: (x) => (x < 0 ? LEAKY_SLOPE * x : x),
  silu: (x) => x / (1 + Math.exp(-x)),
  tanh: Math.tanh,
};

/**
 * Applies an activation to every value.
 * @param x Values of any shape.
 * @returns `f(x)`, as many values.
 */
export function activation(name: ActivationName, x: ArrayLike<number>): Float64Array {
  return Float64Array.from(x, activations[name]);
}
