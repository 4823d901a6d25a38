import { columnSums, repeat, sum, sumOfSquares } from '../../ops/reduce.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { type Case, EXACT, normal } from '../case.ts';

function columnSumsCase(rows: number, width: number): Case {
  const x = normal(23, rows * width);
  return {
    op: 'reduce',
    name: `columns of ${rows}x${width}`,
    // n rounded terms of size 1 cancel to sqrt(n): each level of the tree of sums rounds once.
    bounds: { rel: 1e-5, abs: 1e-6 * Math.sqrt(rows) },
    run: (c) => columnSums(upload(c, x, [rows, width])),
    want: () => reference.columnSums(x, width),
  };
}

/** Sums over few rows and many, of one column and many. */
export function reduceCases(): Case[] {
  const x = normal(24, 4097);
  const bounds = { rel: 1e-5, abs: 1e-4 };
  return [
    columnSumsCase(1, 1),
    columnSumsCase(1, 257),
    columnSumsCase(63, 65),
    columnSumsCase(257, 7),
    columnSumsCase(65537, 3),
    {
      op: 'reduce',
      name: 'sum of 4097',
      bounds,
      run: (c) => sum(upload(c, x)),
      want: () => reference.columnSums(x, 1),
    },
    {
      op: 'reduce',
      name: 'sum of 4097 squares',
      bounds,
      run: (c) => sumOfSquares(upload(c, x)),
      want: () => reference.columnSums(reference.multiply(x, x), 1),
    },
    {
      op: 'reduce',
      name: 'a row repeated',
      bounds: EXACT,
      run: (c) => repeat(upload(c, x), [3, 4097]),
      want: () => [...x, ...x, ...x],
    },
  ];
}
