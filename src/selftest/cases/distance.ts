import { distance } from '../../ops/distance.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { BOUNDS, type Case, normal } from '../case.ts';

/** Distances of size 1, and every third of size 1e-4. */
function distanceCase(rows: number, width: number, perRow: boolean): Case {
  const x = normal(17, rows * width);
  // Every third row lies within 1e-4 of its target, where the expanded square would be noise.
  const noise = normal(18, perRow ? rows * width : width, 1e-4);
  const targets = Float32Array.from(noise, (v, i) => (Math.floor(i / width) % 3 === 0 ? v : 1) + x[i]);
  const targetOf = perRow ? Uint32Array.from({ length: rows }, (_, r) => r) : undefined;
  return {
    op: 'distance',
    name: `${rows}x${width}${perRow ? ', a target for each row' : ''}`,
    bounds: BOUNDS,
    run: (c) => distance(upload(c, x, [rows, width]), upload(c, targets, [targets.length / width, width])),
    want: () => reference.distance(x, targets, width, targetOf),
  };
}

/** One target for all rows, and one for each. */
export const distanceCases = (): Case[] => [
  ...(
    [
      [1, 1],
      [65, 63],
      [257, 192],
      [65537, 3],
    ] as const
  ).map(([rows, width]) => distanceCase(rows, width, false)),
  distanceCase(65, 257, true),
];
