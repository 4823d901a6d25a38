import { linearize } from '../../autograd/tape.ts';
import type { Context } from '../../gpu/context.ts';
import { layernorm } from '../../ops/layernorm.ts';
import type { Bounds } from '../../reference/agree.ts';
import * as reference from '../../reference/index.ts';
import { type Tensor, upload } from '../../tensor/tensor.ts';
import { type Case, normal, rowCase } from '../case.ts';
import { eachSet, nameOfSets } from '../sets.ts';

// Means over a row err by about 1e-7 of the normed row's largest values, and rstd and gain enlarge that.
const bounds: Bounds = { rel: 1e-5, abs: 3e-6 };

/** Rows around `offset`: a large one is where a careless variance cancels. */
function layernormCase(rows: number, width: number, offset = 0): Case {
  const x = normal(5, rows * width).map((v) => v + offset);
  const gain = normal(6, width);
  const bias = normal(7, width);
  const run = (c: Context) => layernorm(upload(c, x, [rows, width]), upload(c, gain), upload(c, bias), 1e-5);
  const want = () => reference.layernorm(x, gain, bias, 1e-5).y;
  return {
    ...rowCase('layernorm', rows, width, run, want, bounds),
    name: `${rows}x${width}${offset ? ` around ${offset}` : ''}`,
  };
}

const OPERANDS = ['x', 'gain', 'bias'] as const;
type Operand = (typeof OPERANDS)[number];

/** A derivative by some of the operands. */
interface DerivativeOptions {
  readonly by: readonly Operand[];
  readonly offset?: number;
  readonly sets?: number;
}

/** A point, rows around `offset`, and what linearizes there by some of the operands. */
function layernormAt(rows: number, width: number, { by, offset = 0 }: DerivativeOptions) {
  const values = {
    x: normal(5, rows * width).map((v) => v + offset),
    gain: normal(6, width),
    bias: normal(7, width),
  };
  const operand = (c: Context, name: Operand) => upload(c, values[name], name === 'x' ? [rows, width] : [width]);
  const at = (c: Context) =>
    linearize(
      (...given: Tensor[]) => {
        const [x, gain, bias] = OPERANDS.map((name) => given[by.indexOf(name)] ?? operand(c, name));
        return layernorm(x, gain, bias, 1e-5);
      },
      by.map((name) => operand(c, name)),
    );
  return { ...values, at };
}

/** The gradient in one operand. */
function vjpCase(rows: number, width: number, by: Operand, { offset = 0, sets = 1 } = {}): Case {
  const { x, gain, at } = layernormAt(rows, width, { by: [by], offset });
  const dy = normal(32, sets * rows * width);
  const gradient = { x: 'dx', gain: 'dweight', bias: 'dbias' } as const;
  return {
    op: 'layernorm',
    name: `vjp in ${by} ${rows}x${width}${offset ? ` around ${offset}` : ''}${nameOfSets(sets)}`,
    // Gradients in gain and bias are sums over the rows, of size sqrt(rows).
    bounds: by === 'x' ? bounds : { rel: 1e-5, abs: 1e-6 * Math.sqrt(rows) },
    run: (c) => at(c).vjp(upload(c, dy, [sets * rows, width]))[0],
    want: () => eachSet(sets, (one) => reference.layernormVjp(one(dy), x, gain, 1e-5)[gradient[by]]),
  };
}

/** The tangent along some of the operands. */
function jvpCase(rows: number, width: number, { by, offset = 0, sets = 1 }: DerivativeOptions): Case {
  const { x, gain, at } = layernormAt(rows, width, { by, offset });
  const tangents = by.map((name, i) => normal(33 + i, sets * (name === 'x' ? rows : 1) * width));
  const [dx, dweight, dbias] = OPERANDS.map((name): Float32Array | undefined => tangents[by.indexOf(name)]);
  return {
    op: 'layernorm',
    name: `jvp along ${by.join(', ')} ${rows}x${width}${offset ? ` around ${offset}` : ''}${nameOfSets(sets)}`,
    bounds,
    run: (c) => at(c).jvp(tangents.map((tangent) => upload(c, tangent, [tangent.length / width, width]))),
    want: () =>
      eachSet(sets, (one) =>
        reference.layernormJvp({ dx: one(dx), dweight: one(dweight), dbias: one(dbias) }, x, gain, 1e-5),
      ),
  };
}

/** Every derivative over odd sizes, and each kernel over many rows. */
const derivativeCases = (): Case[] => [
  ...(
    [
      [1, 1],
      [3, 7],
      [65, 257],
    ] as const
  ).flatMap(([rows, width]) => [
    ...OPERANDS.map((by) => vjpCase(rows, width, by)),
    jvpCase(rows, width, { by: OPERANDS }),
  ]),
  ...OPERANDS.map((by) => vjpCase(9, 65, by, { offset: 100 })),
  jvpCase(9, 65, { by: OPERANDS, offset: 100 }),
  jvpCase(7, 63, { by: ['gain'] }),
  jvpCase(7, 63, { by: ['bias'] }),
  vjpCase(7, 63, 'x', { sets: 3 }),
  jvpCase(7, 63, { by: ['x'], sets: 3 }),
  jvpCase(7, 63, { by: OPERANDS, sets: 3 }),
  vjpCase(65537, 7, 'x'),
  vjpCase(4097, 16, 'gain'),
  vjpCase(4097, 16, 'bias'),
];

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
  ...derivativeCases(),
];
