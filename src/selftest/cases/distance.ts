import { linearize } from '../../autograd/tape.ts';
import type { Context } from '../../gpu/context.ts';
import { distance } from '../../ops/distance.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { BOUNDS, type Case, normal } from '../case.ts';
import { eachSet, nameOfSets, type OneSet } from '../sets.ts';

/** Rows whose targets are 1 away in every column, every third within 1e-4. */
function operands(rows: number, width: number, perRow: boolean) {
  const x = normal(17, rows * width);
  // Every third row lies within 1e-4 of its target, where the expanded square would be noise.
  const noise = normal(18, perRow ? rows * width : width, 1e-4);
  const targets = Float32Array.from(noise, (v, i) => (Math.floor(i / width) % 3 === 0 ? v : 1) + x[i]);
  return {
    x,
    targets,
    name: `${rows}x${width}${perRow ? ', a target for each row' : ''}`,
    uploads: (c: Context) => [upload(c, x, [rows, width]), upload(c, targets, [targets.length / width, width])],
  };
}

function distanceCase(rows: number, width: number, perRow: boolean): Case {
  const { x, targets, name, uploads } = operands(rows, width, perRow);
  const targetOf = perRow ? Uint32Array.from({ length: rows }, (_, r) => r) : undefined;
  return {
    op: 'distance',
    name,
    bounds: BOUNDS,
    run(c) {
      const [rowsOfX, rowsOfTargets] = uploads(c);
      return distance(rowsOfX, rowsOfTargets);
    },
    want: () => reference.distance(x, targets, width, targetOf),
  };
}

/** Gradient and tangents. */
function derivativeCases(rows: number, width: number, perRow: boolean, sets = 1): Case[] {
  const { x, targets, name, uploads } = operands(rows, width, perRow);
  const dy = normal(36, sets * rows);
  const dx = normal(37, sets * x.length);
  const dtargets = normal(38, sets * targets.length);
  const along = (c: Context, d: Float32Array) => upload(c, d, [d.length / width, width]);
  const at = (c: Context) => linearize(distance, uploads(c));
  const named = (what: string, run: Case['run'], want: (one: OneSet) => Float64Array, abs = 1e-6): Case => ({
    op: 'distance',
    name: `${what} ${name}${nameOfSets(sets)}`,
    bounds: { rel: 1e-5, abs },
    run,
    want: () => eachSet(sets, want),
  });
  const inTargets = named(
    'vjp in targets',
    (c) => at(c).vjp(upload(c, dy))[1],
    (one) => reference.distanceVjp(one(dy), x, targets, width).dtargets,
    1e-6 * Math.sqrt(perRow ? 1 : rows),
  );
  return [
    named(
      'vjp',
      (c) => {
        const [rowsOfX, rowsOfTargets] = uploads(c);
        return linearize((v) => distance(v, rowsOfTargets), [rowsOfX]).vjp(upload(c, dy))[0];
      },
      (one) => reference.distanceVjp(one(dy), x, targets, width).dx,
    ),
    // A sum of n terms that cancels errs by about 1e-7 sqrt(n) of their size.
    named(
      'jvp',
      (c) => at(c).jvp([along(c, dx), along(c, dtargets)]),
      (one) => reference.distanceJvp({ dx: one(dx), dtargets: one(dtargets) }, x, targets, width),
      2e-6,
    ),
    named(
      'jvp along x',
      (c) => at(c).jvp([along(c, dx), undefined]),
      (one) => reference.distanceJvp({ dx: one(dx) }, x, targets, width),
      2e-6,
    ),
    named(
      'jvp along targets',
      (c) => at(c).jvp([undefined, along(c, dtargets)]),
      (one) => reference.distanceJvp({ dtargets: one(dtargets) }, x, targets, width),
      2e-6,
    ),
    // The gradient in one target for all is a sum over the rows, which takes one set.
    ...(perRow || sets === 1 ? [inTargets] : []),
  ];
}

/** A row on its target has the derivative zero. */
function metCase(): Case {
  const x = normal(17, 21);
  const targets = x.slice(0, 7);
  const dy = normal(36, 3);
  return {
    op: 'distance',
    name: 'vjp 3x7, one on its target',
    bounds: BOUNDS,
    run: (c) => {
      const target = upload(c, targets, [1, 7]);
      return linearize((v) => distance(v, target), [upload(c, x, [3, 7])]).vjp(upload(c, dy))[0];
    },
    want: () => reference.distanceVjp(dy, x, targets, 7).dx,
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
  ...derivativeCases(1, 1, false),
  ...derivativeCases(65, 257, false),
  ...derivativeCases(65, 257, true),
  ...derivativeCases(7, 63, false, 3),
  ...derivativeCases(7, 63, true, 3),
  metCase(),
];
