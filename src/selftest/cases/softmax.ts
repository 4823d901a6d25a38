import type { Context } from '../../gpu/context.ts';
import { logSoftmax, softmax } from '../../ops/softmax.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { type Case, normal, rowCase } from '../case.ts';

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

/** Narrow, wide and many rows, flat and peaked. */
export const softmaxCases = (): Case[] => [
  ...bothCases(65, 257, 4),
  ...bothCases(3, 1, 1),
  ...bothCases(2, 4099, 20),
  ...bothCases(65537, 3, 1),
];
