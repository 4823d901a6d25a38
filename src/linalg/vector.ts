import { dot } from './dense.ts';

/** Vectors in float64. */

/** |a| */
export const norm = (a: Float64Array): number => Math.sqrt(dot(a, a));

/** a - b */
export const difference = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value - b[i]);

/** a + factor b */
export const plus = (a: Float64Array, b: Float64Array, factor = 1): Float64Array =>
  a.map((value, i) => value + factor * b[i]);

/** factor a */
export const scaled = (a: Float64Array, factor: number): Float64Array => a.map((value) => factor * value);
