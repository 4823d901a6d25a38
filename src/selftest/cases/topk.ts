import type { Context } from '../../gpu/context.ts';
import { topk } from '../../ops/topk.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { type Case, EXACT, normal } from '../case.ts';

/** The k smallest and largest of values with many ties, and their indices. */
function bothOrders(rows: number, width: number, k: number): Case[] {
  // Few distinct values, so that ties are common.
  const x = normal(19, rows * width).map((v) => Math.round(v * 8) / 8);
  return (['smallest', 'largest'] as const).flatMap((order): Case[] => {
    const input = (c: Context) => topk(upload(c, x, [rows, width]), k, order);
    const want = () => reference.topk(x, width, k, order);
    const name = `${k} ${order} of ${rows}x${width}`;
    return [
      { op: 'topk', name, bounds: EXACT, run: (c) => input(c).values, want: () => want().values },
      { op: 'topk', name: `${name}, indices`, bounds: EXACT, run: (c) => input(c).indices, want: () => want().indices },
    ];
  });
}

/** Short and long rows, one round and several. */
export const topkCases = (): Case[] => [
  ...bothOrders(3, 65, 5),
  ...bothOrders(1, 4097, 16),
  ...bothOrders(2, 20011, 50),
  ...bothOrders(65, 1, 1),
];
