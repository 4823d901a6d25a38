import { expectShape } from './shape.ts';

/**
 * The sum of two arrays.
 * @param a Values of any shape.
 * @param b As many values.
 * @throws ShapeError when the lengths differ.
 */
export function add(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  expectShape('add: b', b, [a.length]);
  return Float64Array.from(a, (value, i) => value + b[i]);
}

/**
 * An array times a number.
 * @param x Values of any shape.
 */
export function scale(x: ArrayLike<number>, factor: number): Float64Array {
  return Float64Array.from(x, (value) => factor * value);
}

/**
 * The product of two arrays, element by element.
 * @param a Values of any shape.
 * @param b As many values.
 * @throws ShapeError when the lengths differ.
 */
export function multiply(a: ArrayLike<number>, b: ArrayLike<number>): Float64Array {
  expectShape('multiply: b', b, [a.length]);
  return Float64Array.from(a, (value, i) => value * b[i]);
}
