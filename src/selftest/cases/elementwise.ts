import type { Context } from '../../gpu/context.ts';
import { add, multiply, scale } from '../../ops/elementwise.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { type Case, normal } from '../case.ts';

/** Sums, multiples and products of a matrix whose sizes divide nothing. */
export function elementwiseCases(): Case[] {
  const [rows, width] = [65, 257];
  const a = normal(20, rows * width);
  const b = normal(21, rows * width);
  const row = normal(22, width);
  const repeated = Float32Array.from(a, (_, i) => row[i % width]);
  const matrix = (c: Context, values: Float32Array) => upload(c, values, [rows, width]);
  const bounds = { rel: 1e-6, abs: 1e-7 };
  return [
    {
      op: 'elementwise',
      name: 'add',
      bounds,
      run: (c) => add(matrix(c, a), matrix(c, b)),
      want: () => reference.add(a, b),
    },
    {
      op: 'elementwise',
      name: 'add a row',
      bounds,
      run: (c) => add(matrix(c, a), upload(c, row)),
      want: () => reference.add(a, repeated),
    },
    {
      op: 'elementwise',
      name: 'scale',
      bounds,
      run: (c) => scale(matrix(c, a), -2.5),
      want: () => reference.scale(a, -2.5),
    },
    {
      op: 'elementwise',
      name: 'multiply',
      bounds,
      run: (c) => multiply(matrix(c, a), matrix(c, b)),
      want: () => reference.multiply(a, b),
    },
    {
      op: 'elementwise',
      name: 'multiply by a row',
      bounds,
      run: (c) => multiply(matrix(c, a), upload(c, row)),
      want: () => reference.multiply(a, repeated),
    },
  ];
}
