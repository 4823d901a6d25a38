import { ACTIVATIONS } from '../../ops/activation.ts';
import { type MatmulOptions, matmul } from '../../ops/matmul.ts';
import type { ActivationName } from '../../reference/activation.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { type Case, normal } from '../case.ts';

const TRANSPOSES = ['NN', 'NT', 'TN', 'TT'] as const;
/** Which operands are transposed, A then B. */
type Transposes = (typeof TRANSPOSES)[number];

/** A product of seeded normal matrices, B scaled so that the result has size 1. */
function matmulCase(
  [m, n, k]: readonly [number, number, number],
  transposes: Transposes = 'NN',
  { batch, shared, epilogue }: { batch?: number; shared?: boolean; epilogue?: ActivationName } = {},
): Case {
  const transposeA = transposes[0] === 'T';
  const transposeB = transposes[1] === 'T';
  const copies = batch ?? 1;
  const a = normal(1, copies * m * k);
  const b = normal(2, (shared ? 1 : copies) * k * n, 1 / Math.sqrt(k));
  const bias = normal(3, n);
  const residual = normal(4, copies * m * n);
  const lead = batch === undefined ? [] : [batch];
  return {
    op: 'matmul',
    name: `${transposes} ${m}x${n}x${k}${batch ? ` batch ${batch}${shared ? ', one B' : ''}` : ''}${epilogue ? ` bias ${epilogue} residual` : ''}`,
    // A sum of k rounded products of size 1 / sqrt(k) errs by about 1e-7 sqrt(log k) where it cancels to nothing.
    bounds: { rel: 1e-5, abs: 4e-6 },
    run(context) {
      const options: MatmulOptions = {
        transposeA,
        transposeB,
        ...(epilogue && {
          bias: upload(context, bias),
          activation: epilogue,
          residual: upload(context, residual, [...lead, m, n]),
        }),
      };
      return matmul(
        upload(context, a, [...lead, ...(transposeA ? [k, m] : [m, k])]),
        upload(context, b, [...(shared ? [] : lead), ...(transposeB ? [n, k] : [k, n])]),
        options,
      );
    },
    want: () =>
      reference.matmul(a, b, {
        m,
        n,
        k,
        batch: copies,
        transposeA,
        transposeB,
        ...(epilogue && { bias, activation: epilogue, residual }),
      }),
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
];
