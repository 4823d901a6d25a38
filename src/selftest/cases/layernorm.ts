import type { Context } from '../../gpu/context.ts';
import { layernorm } from '../../ops/layernorm.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { type Case, normal, rowCase } from '../case.ts';

/** Rows around `offset`: a large one is where a careless variance cancels. */
function layernormCase(rows: number, width: number, offset = 0): Case {
  const x = normal(5, rows * width).map((v) => v + offset);
  const gain = normal(6, width);
  const bias = normal(7, width);
  const run = (c: Context) => layernorm(upload(c, x, [rows, width]), upload(c, gain), upload(c, bias), 1e-5);
  const want = () => reference.layernorm(x, gain, bias, 1e-5).y;
  const bounds = { rel: 1e-5, abs: 3e-6 };
  return {
    ...rowCase('layernorm', rows, width, run, want, bounds),
    name: `${rows}x${width}${offset ? ` around ${offset}` : ''}`,
  };
}

/** Narrow, wide and many rows. */
export const layernormCases = (): Case[] => [
  ...(
    [
      [1, 1],
      [3, 7],
      [65, 63],
      [64, 64],
      [5, 257],
      [65537, 16],
      [2, 3072],
    ] as const
  ).map(([rows, width]) => layernormCase(rows, width)),
  layernormCase(9, 65, 100),
];
