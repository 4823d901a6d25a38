import { Matrix, solve as solveMatrix } from 'ml-matrix';
import { InputError } from '../../errors.ts';
import { addRows, dot, matrixFrom, type Rows, rowsOf } from '../../linalg/dense.ts';
import { factored } from '../../linalg/lu.ts';
import { norm } from '../../linalg/vector.ts';
import { matmul } from '../../reference/matmul.ts';
import { expectShape } from '../../reference/shape.ts';
import { inverse, MOST_CONDITION } from './inverse.ts';
import { type LinearAttention, linearAttentionTwin, prefixMatrix } from './linear-attention.ts';
import { type Preimage, preimagesBy } from './preimages.ts';
import { type Complex, eigenvalues, type ScalarEquation } from './scalar-equation.ts';

/**
 * All preimages under linear attention of one head behind a fixed prefix, y = x L + (x A x^T) x V (papers.md, section 2).
 *
 * With s = x A x^T, x(s) = y (L + s V)^-1, and one equation is left:
 *
 *     f(s) = s - x(s) A x(s)^T = 0.
 *
 * Where V is regular x(s) vanishes far out, so f runs from minus to plus infinity; its poles, the eigenvalues of
 * -L V^-1, are of even order: there is a root for generic y. det(L + s V)^2 f(s) is the determinant of
 *
 *     ( (L + s V)^T       0        -y^T )
 *     (  -(A + A^T) / 2   L + s V   0   )
 *     (   0              -y         s   )
 *
 * so that the roots are the eigenvalues of a pencil of 2 d + 1 rows. At a root det Dg = det(L + s V) f'(s).
 *
 * @param prefix The rows before, [t, d]; none by default.
 * @returns The preimages of a row y [d], by s. It throws a ShapeError for a y of another width, and an InputError for one
 *   that is not finite.
 * @throws InputError for more than one head, as each has an equation and they are coupled, and where L + s V is singular.
 */
export function linearAttentionInverse(
  attention: LinearAttention,
  prefix?: ArrayLike<number>,
): (y: Float64Array) => Preimage[] {
  const { width: d, heads } = attention;
  if (heads !== 1) {
    throw new InputError(
      `The preimages under linear attention of ${heads} heads are roots of ${heads} coupled equations, which cannot be listed.`,
      'List them for one head, or search for one by continuation.',
    );
  }
  const linear = prefixMatrix(attention, prefix);
  const { a, v } = headMatrices(attention);
  const l = rowsOf(matrixFrom(linear, d).transpose()); // L^T
  const values = rowsOf(matrixFrom(v, d).transpose()); // V^T
  const symmetric = rowsOf(matrixFrom(a, d)).map((row, i) => row.map((value, j) => value + a[j * d + i])); // A + A^T
  const at = (s: number): Rows => l.map((row, i) => row.map((value, j) => value + s * values[i][j])); // (L + s V)^T
  // No value is special: one that no eigenvalue is likely to come near.
  const shift = (0.7390851 * sizeOf(l)) / sizeOf(values);
  const { condition } = inverse(at(shift));
  if (!(condition < MOST_CONDITION)) {
    throw new InputError(
      `L + s V is singular whatever s is (condition number ${condition.toExponential(1)}): the outputs of this linear attention fill no more than a subspace.`,
      'Give it a residual, a longer prefix or a head as wide as d.',
    );
  }

  return (y) => {
    expectShape('linearAttentionInverse: y', y, [d]);
    const equation: ScalarEquation = {
      candidates: pencilEigenvalues(at(shift), values, symmetric, y, shift),
      at(s) {
        const { solve } = factored(at(s));
        const x = solve(y);
        const force = apply(symmetric, x); // x (A + A^T)
        return { value: s - dot(x, force) / 2, slope: 1 + dot(solve(apply(values, x)), force) };
      },
    };
    return preimagesBy(equation, y, {
      value: (x) => linearAttentionTwin(attention, linear, x),
      preimage: (s) => factored(at(s)).solve(y),
      // L + s V + (A + A^T) x^T x V
      jacobian(x) {
        const force = apply(symmetric, x);
        const value = apply(values, x); // x V
        return at(dot(x, force) / 2).map((row, j) => addRows(row, value.subarray(j, j + 1), [force]));
      },
    });
  };
}

/** A = W_q W_k^T / sqrt(headDim) and V = W_v W_o of the one head, [d, d] each. */
function headMatrices(attention: LinearAttention): { a: Float64Array; v: Float64Array } {
  const { width: d, headDim, queryWeight, keyWeight, valueWeight, outWeight } = attention;
  const square = { m: d, n: d, k: headDim };
  const products = matmul(queryWeight, keyWeight, { ...square, transposeB: true }); // (d, d)
  return { a: products.map((p) => p / Math.sqrt(headDim)), v: matmul(valueWeight, outWeight, square) };
}

/** A row times a matrix, given the columns of that. */
const apply = (columns: Rows, x: Float64Array): Float64Array => Float64Array.from(columns, (column) => dot(column, x));

/** The norm of a typical row, or 1 for a matrix of zeros. */
const sizeOf = (rows: Rows): number => Math.sqrt(rows.reduce((sum, row) => sum + dot(row, row), 0) / rows.length) || 1;

/**
 * The finite eigenvalues s of P_0 + s P_1. V may be singular, and infinity with it an eigenvalue; so those of
 * P(s_0)^-1 P_1 are taken, which are 1 / (s_0 - s).
 * @param shifted (L + s_0 V)^T
 * @param shift s_0
 */
function pencilEigenvalues(shifted: Rows, values: Rows, symmetric: Rows, y: Float64Array, shift: number): Complex[] {
  const d = y.length;
  const [ofA, ofY] = [sizeOf(symmetric), norm(y) || 1]; // units of the second part and of the third
  const [p, slope] = [Matrix.zeros(2 * d + 1, 2 * d + 1), Matrix.zeros(2 * d + 1, 2 * d + 1)];
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      p.set(i, j, shifted[i][j]);
      p.set(d + j, d + i, shifted[i][j]);
      p.set(d + i, j, -symmetric[i][j] / (2 * ofA));
      slope.set(i, j, values[i][j]);
      slope.set(d + j, d + i, values[i][j]);
    }
    p.set(i, 2 * d, -y[i] / ofY);
    p.set(2 * d, d + i, -y[i] * ofA * ofY);
  }
  p.set(2 * d, 2 * d, shift);
  slope.set(2 * d, 2 * d, 1);
  return eigenvalues(solveMatrix(p, slope))
    .map(({ re, im }) => ({ re, im, square: re * re + im * im }))
    .filter(({ square }) => square > 0)
    .map(({ re, im, square }) => ({ re: shift - re / square, im: im / square }));
}
