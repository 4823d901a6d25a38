import { expect, it } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { add, scale } from '../../src/reference/elementwise.ts';

it('adds and scales without rounding to f32', () => {
  expect([...add(Float32Array.of(1), [1e-12])]).toEqual([1 + 1e-12]);
  expect([...scale(Float32Array.of(1, -2), 0.1)]).toEqual([0.1, -0.2]);
});

it('refuses to add arrays of different lengths', () => {
  expect(() => add([1, 2], [1])).toThrow(ShapeError);
});
