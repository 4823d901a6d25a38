import { linearize } from '../../autograd/tape.ts';
import type { Context } from '../../gpu/context.ts';
import { ACTIVATIONS } from '../../ops/activation.ts';
import { matmul } from '../../ops/matmul.ts';
import type { ActivationName } from '../../reference/activation.ts';
import * as reference from '../../reference/index.ts';
import { type Tensor, upload } from '../../tensor/tensor.ts';
import { type Case, normal } from '../case.ts';

const TRANSPOSES = ['NN', 'NT', 'TN', 'TT'] as const;
/** Which operands are transposed, A then B. */
type Transposes = (typeof TRANSPOSES)[number];

type Sizes = readonly [m: number, n: number, k: number];
interface Extras {
  readonly batch?: number;
  /** The batch shares one B. */
  readonly shared?: boolean;
  /** With a bias, this activation and a residual. */
  readonly epilogue?: ActivationName;
}

/** A product of seeded normal matrices, B scaled so that the result has size 1. */
function example([m, n, k]: Sizes, transposes: Transposes, { batch, shared, epilogue }: Extras) {
  const transposeA = transposes[0] === 'T';
  const transposeB = transposes[1] === 'T';
  const copies = batch ?? 1;
  const lead = batch === undefined ? [] : [batch];
  const shapes = {
    a: [...lead, ...(transposeA ? [k, m] : [m, k])],
    b: [...(shared ? [] : lead), ...(transposeB ? [n, k] : [k, n])],
    bias: [n],
    residual: [...lead, m, n],
  };
  /** Values for every operand, or tangents of them. */
  const draw = (seed: number) => ({
    a: normal(seed, copies * m * k),
    b: normal(seed + 1, (shared ? 1 : copies) * k * n, 1 / Math.sqrt(k)),
    bias: normal(seed + 2, n),
    residual: normal(seed + 3, copies * m * n),
  });
  const at = draw(1);
  const extras = epilogue && { bias: at.bias, residual: at.residual, activation: epilogue };
  return {
    at,
    draw,
    shapes,
    options: { m, n, k, batch: copies, transposeA, transposeB, ...extras },
    name: `${transposes} ${m}x${n}x${k}${batch ? ` batch ${batch}${shared ? ', one B' : ''}` : ''}${epilogue ? ` bias ${epilogue} residual` : ''}`,
    upload: (context: Context, values: ReturnType<typeof draw>): Tensor[] =>
      OPERANDS.slice(0, epilogue ? 4 : 2).map((name) => upload(context, values[name], shapes[name])),
    product: (a: Tensor, b: Tensor, bias?: Tensor, residual?: Tensor) =>
      matmul(a, b, { transposeA, transposeB, bias, activation: epilogue, residual }),
  };
}

const OPERANDS = ['a', 'b', 'bias', 'residual'] as const;

// A sum of k rounded products of size 1 / sqrt(k) errs by about 1e-7 sqrt(log k) where it cancels to nothing.
const bounds = { rel: 1e-5, abs: 4e-6 };

function matmulCase(sizes: Sizes, transposes: Transposes = 'NN', extras: Extras = {}): Case {
  const { at, name, options, upload, product } = example(sizes, transposes, extras);
  return {
    op: 'matmul',
    name,
    bounds,
    run(context) {
      const [a, b, bias, residual] = upload(context, at);
      return product(a, b, bias, residual);
    },
    want: () => reference.matmul(at.a, at.b, options),
  };
}

/** The gradient in each operand, and the tangent when all of them change. */
function derivativeCases(sizes: Sizes, transposes: Transposes, extras: Extras = {}): Case[] {
  const { at, draw, name, options, shapes, upload: uploadAll, product } = example(sizes, transposes, extras);
  const [m, n] = sizes;
  const dc = normal(9, options.batch * m * n, 1 / Math.sqrt(m));
  const tangents = draw(5);
  return [
    ...OPERANDS.slice(0, extras.epilogue ? 4 : 2).map((operand, i) => ({
      op: 'matmul',
      name: `vjp in ${operand}, ${name}`,
      bounds,
      run(context: Context) {
        const operands = uploadAll(context, at);
        const linearization = linearize((x) => product(...(operands.with(i, x) as [Tensor, Tensor])), [operands[i]]);
        return linearization.vjp(upload(context, dc, shapes.residual))[0];
      },
      want: () => reference.matmulVjp(dc, at.a, at.b, options)[operand],
    })),
    {
      op: 'matmul',
      name: `jvp, ${name}`,
      bounds,
      run: (context) => linearize(product, uploadAll(context, at)).jvp(uploadAll(context, tangents)),
      want: () => {
        const { a, b, ...rest } = tangents;
        return reference.matmulJvp({ a, b, ...(extras.epilogue && rest) }, at.a, at.b, options);
      },
    },
  ];
}

/** Cotangents of three sets of rows: A's gradient is three sets too. */
function setsCase([m, n, k]: Sizes): Case {
  const { at, upload: uploadAll, product } = example([m, n, k], 'NN', {});
  const dc = normal(9, 3 * m * n);
  return {
    op: 'matmul',
    name: `vjp in a of 3 sets, NN ${m}x${n}x${k}`,
    bounds,
    run(context) {
      const [a, b] = uploadAll(context, at);
      return linearize((x) => product(x, b), [a]).vjp(upload(context, dc, [3 * m, n]))[0];
    },
    want: () => reference.matmul(dc, at.b, { m: 3 * m, n: k, k: n, transposeB: true }),
  };
}

/** Every way to multiply. */
export const matmulCases = (): Case[] => [
  ...TRANSPOSES.flatMap((t) =>
    (
      [
        [1, 1, 1],
        [3, 5, 7],
        [64, 64, 64],
        [63, 65, 63],
        [20, 100, 48],
        [17, 257, 65],
        [1, 257, 64],
        [2, 128, 60],
      ] as const
    ).map((s) => matmulCase(s, t)),
  ),
  matmulCase([128, 192, 768]),
  matmulCase([5, 20, 3072]),
  matmulCase([65537, 4, 3]),
  ...TRANSPOSES.map((t) => matmulCase([12, 36, 20], t, { batch: 3 })),
  matmulCase([7, 9, 5], 'NT', { batch: 2, shared: true }),
  ...ACTIVATIONS.map((epilogue) => matmulCase([13, 36, 24], 'NN', { epilogue })),
  matmulCase([2, 36, 24], 'NT', { epilogue: 'gelu_new' }),
  matmulCase([5, 7, 3], 'NN', { epilogue: 'gelu', batch: 2 }),
  // Derivatives multiply by the transposes of what is stored: every pair of them runs, at odd sizes and even.
  ...TRANSPOSES.flatMap((t) => derivativeCases([7, 9, 5], t)),
  ...TRANSPOSES.flatMap((t) => derivativeCases([65, 20, 36], t)),
  ...TRANSPOSES.flatMap((t) => derivativeCases([3, 5, 7], t, { batch: 3 })),
  ...TRANSPOSES.flatMap((t) => derivativeCases([5, 8, 4], t, { batch: 2, shared: true })),
  ...derivativeCases([20, 36, 24], 'NN', { epilogue: 'none' }),
  ...derivativeCases([9, 7, 13], 'NN', { epilogue: 'gelu_new' }),
  ...derivativeCases([9, 7, 13], 'TT', { epilogue: 'silu', batch: 2 }),
  setsCase([7, 9, 5]),
  setsCase([1, 36, 20]),
];
