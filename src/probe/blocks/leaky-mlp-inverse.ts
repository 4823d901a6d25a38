import { InputError } from '../../errors.ts';
import { matrixFrom, rowsOf } from '../../linalg/dense.ts';
import { activations } from '../../reference/activation.ts';
import { matmul } from '../../reference/matmul.ts';
import { countRows } from '../../reference/shape.ts';
import { inverse, MOST_CONDITION } from './inverse.ts';
import type { LeakyMlp } from './leaky-mlp.ts';

/** The inverse of a LeakyReLU MLP with d_ff = d. */
export interface LeakyMlpInverse {
  /** |W| |W^-1| of both matrices, in the norm of the largest absolute row sum: digits lost on the way back. */
  readonly condition: { readonly inWeight: number; readonly outWeight: number };
  /** The sign of det Dg, the same everywhere. */
  readonly sign: number;
  /** The one preimage of each row. @param rows [B, d] @returns [B, d] */
  preimages(rows: ArrayLike<number>): Float64Array;
}

/** The slope of a LeakyReLU below zero. */
const slope = -activations.leaky_relu(-1);

/**
 * Inverts y = lrelu(x W1 + b1) W2 + b2: x = (lrelu^-1((y - b2) W2^-1) - b1) W1^-1, in float64.
 * @throws InputError when d_ff is not d, or for a matrix that is singular to working precision, with its condition.
 */
export function leakyMlpInverse(mlp: LeakyMlp): LeakyMlpInverse {
  const { width: d, innerWidth, inBias, outBias } = mlp;
  if (innerWidth !== d) {
    throw new InputError(
      `A LeakyReLU MLP with d = ${d} and d_ff = ${innerWidth} has no inverse by its matrices.`,
      'Make d_ff equal to d, or search its preimages by continuation.',
    );
  }
  const [first, second] = [regularInverse('W1', mlp.inWeight, d), regularInverse('W2', mlp.outWeight, d)];
  return {
    condition: { inWeight: first.condition, outWeight: second.condition },
    sign: first.sign * second.sign,
    preimages(rows) {
      const shape = { m: countRows('leakyMlpInverse: rows', rows, d), n: d, k: d, transposeB: true };
      const hidden = matmul(
        Float64Array.from(rows, (v, i) => v - outBias[i % d]),
        second.columns,
        shape,
      ); // (B, d)
      const before = hidden.map((v, i) => (v < 0 ? v / slope : v) - inBias[i % d]); // (B, d)
      return matmul(before, first.columns, shape); // (B, d)
    },
  };
}

/** W^-1, [d, d] column after column, and the condition number of W. @throws InputError where it is singular. */
function regularInverse(name: string, weight: ArrayLike<number>, d: number) {
  const { columns, condition, sign } = inverse(rowsOf(matrixFrom(weight, d)));
  if (!(condition < MOST_CONDITION)) {
    throw new InputError(
      `${name} of a LeakyReLU MLP is singular to working precision (condition number ${condition.toExponential(1)}): outputs of many inputs agree.`,
      'Give a regular matrix, or search preimages by continuation.',
    );
  }
  return { columns: columns.flatMap((column) => [...column]), condition, sign };
}
