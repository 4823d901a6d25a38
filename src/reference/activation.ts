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

/** The slope of every activation; at a kink that of the left, as PyTorch has it. */
const slopes: Readonly<Record<ActivationName, (x: number) => number>> = {
  none: () => 1,
  gelu_new: (x) => tanhGeluSlope(x, Math.sqrt(2 / Math.PI)),
  // Phi(x) + x phi(x)
  gelu: (x) => 0.5 * erfc(-x * Math.SQRT1_2) + (x * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI),
  gelu_fast: (x) => tanhGeluSlope(x, 0.7978845608),
  relu: (x) => (x > 0 ? 1 : 0),
  leaky_relu: (x) => (x > 0 ? 1 : LEAKY_SLOPE),
  silu: (x) => sigmoid(x) * (1 + x * sigmoid(-x)),
  tanh: (x) => 4 * sigmoid(2 * x) * sigmoid(-2 * x),
};

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** The slope of `x sigmoid(2 u)`, `u = c (x + 0.044715 x^3)`, which is `x (1 + tanh u) / 2`. */
function tanhGeluSlope(x: number, c: number): number {
  const u = c * (x + 0.044715 * x ** 3);
  return sigmoid(2 * u) * (1 + 2 * x * sigmoid(-2 * u) * c * (1 + 3 * 0.044715 * x * x));
}

/**
 * The derivative of an activation at every value; 0 at the kink of relu and 0.01 at that of leaky_relu.
 * @param x Values of any shape.
 * @returns `f'(x)`, as many values.
 */
export function activationSlope(name: ActivationName, x: ArrayLike<number>): Float64Array {
  return Float64Array.from(x, slopes[name]);
}
