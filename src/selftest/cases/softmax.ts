import { linearize } from '../../autograd/tape.ts';
import type { Context } from '../../gpu/context.ts';
import { logSoftmax, softmax } from '../../ops/softmax.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { BOUNDS, type Case, normal, rowCase } from '../case.ts';
import { eachSet, nameOfSets } from '../sets.ts';

/** Softmax and log-softmax of normal logits of this spread. */
function bothCases(rows: number, width: number, std: number): Case[] {
  const x = normal(8, rows * width, std);
  const input = (c: Context) => upload(c, x, [rows, width]);
  return [
    rowCase(
      'softmax',
      rows,
      width,
      (c) => softmax(input(c)),
      () => reference.softmax(x, width),
    ),
    {
      ...rowCase(
        'softmax',
        rows,
        width,
        (c) => logSoftmax(input(c)),
        () => reference.logSoftmax(x, width),
      ),
      name: `log ${rows}x${width}`,
      // The logarithm of a sum near 1 keeps an absolute error of one rounding of the largest exponent.
      bounds: { rel: 1e-5, abs: 4e-6 },
    },
  ];
}

/** Derivatives of both at normal logits of this spread, along one set of normal rows or several. */
function derivativeCases(rows: number, width: number, std: number, sets = 1): Case[] {
  const x = normal(8, rows * width, std);
  const d = normal(30, sets * rows * width);
  const at = (c: Context, f: typeof softmax) => linearize(f, [upload(c, x, [rows, width])]);
  const along = (c: Context) => upload(c, d, [sets * rows, width]);
  const named = (what: string, run: Case['run'], want: (one: Float32Array) => Float64Array): Case => ({
    op: 'softmax',
    name: `${what} ${rows}x${width}${nameOfSets(sets)}`,
    // The sum over a row of n normal numbers errs in proportion to its size, sqrt(n).
    bounds: { ...BOUNDS, abs: BOUNDS.abs * Math.max(1, Math.sqrt(width) / 8) },
    run,
    want: () => eachSet(sets, (one) => want(one(d))),
  });
  return [
    named(
      'vjp',
      (c) => at(c, softmax).vjp(along(c))[0],
      (one) => reference.softmaxDerivative(one, x, width),
    ),
    named(
      'jvp',
      (c) => at(c, softmax).jvp([along(c)]),
      (one) => reference.softmaxDerivative(one, x, width),
    ),
    named(
      'log vjp',
      (c) => at(c, logSoftmax).vjp(along(c))[0],
      (one) => reference.logSoftmaxVjp(one, x, width),
    ),
    named(
      'log jvp',
      (c) => at(c, logSoftmax).jvp([along(c)]),
      (one) => reference.logSoftmaxJvp(one, x, width),
    ),
  ];
}

/** Narrow, wide and many rows, flat and peaked. */
export const softmaxCases = (): Case[] => [
  ...bothCases(65, 257, 4),
  ...bothCases(3, 1, 1),
  ...bothCases(2, 4099, 20),
  ...bothCases(65537, 3, 1),
  ...derivativeCases(65, 257, 4),
  ...derivativeCases(3, 1, 1),
  ...derivativeCases(2, 4099, 4),
  derivativeCases(65537, 3, 1)[0], // one kernel serves all four
  ...derivativeCases(7, 63, 2, 3),
];
