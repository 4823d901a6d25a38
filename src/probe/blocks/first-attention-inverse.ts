import { Matrix } from 'ml-matrix';
import { addRows, dot, matrixFrom, product, type Rows, rowsOf } from '../../linalg/dense.ts';
import { factored } from '../../linalg/lu.ts';
import { difference, scaled } from '../../linalg/vector.ts';
import { expectShape } from '../../reference/shape.ts';
import { type FirstAttention, firstAttentionTwin } from './first-attention.ts';
import { type Preimage, preimagesBy } from './preimages.ts';
import { eigenvalues, type ScalarEquation } from './scalar-equation.ts';

/**
 * All preimages under the attention step at the first position.
 *
 * With z = (x - mean x) / sigma, sigma^2 = |x - mean x|^2 / d + epsilon, the step is g(x) = x + z B + c with
 * B = diag(gamma) W_v W_o. Let P take the mean off, C = P B P and r = (y - c) P. Then z = r (sigma + C)^-1,
 * x = y - c - z B, and one equation is left:
 *
 *     f(sigma) = sigma^2 (1 - |z|^2 / d) - epsilon = 0.
 *
 * f(0) = -epsilon, f rises to infinity, and its poles, eigenvalues of -C, are of even order: there is a root for generic
 * y. Over all of them the signs of det Dg add up to 1 (Brouwer degree; papers.md, section 2).
 * With t = sigma z = r - z C, |t|^2 = r t - r (sigma + C)^-1 C t is linear in resolvents, so that the roots are
 * eigenvalues of one matrix of 2 d + 2 rows.
 *
 * @returns The preimages of a row y [d], by sigma; about 200 d^3 operations each time. It throws a ShapeError for a y of
 *   another width, and an InputError for one that is not finite.
 */
export function firstAttentionInverse(step: FirstAttention): (y: Float64Array) => Preimage[] {
  const { width: d, gain, epsilon } = step;
  const weights = product(matrixFrom(step.valueWeight, d), matrixFrom(step.outWeight, d)); // (d, d)
  const b = rowsOf(weights.mulColumnVector(Array.from(gain)));
  const offset = firstAttentionTwin(step, new Float64Array(d)); // LN(0) = beta: this is c
  const transposed = transpose(b.map(withoutMean)).map(withoutMean); // C^T
  const c = transpose(transposed);

  return (y) => {
    expectShape('firstAttentionInverse: y', y, [d]);
    const free = difference(y, offset); // y - c
    const r = withoutMean(free);
    const resolvent = (sigma: number) => factored(transposed.map((row, i) => row.with(i, row[i] + sigma)));
    const equation: ScalarEquation = {
      candidates: eigenvalues(pencil(c, transposed, r, epsilon)),
      from: Math.sqrt(epsilon),
      at(sigma) {
        const { solve } = resolvent(sigma);
        const z = solve(r);
        const rest = 1 - dot(z, z) / d;
        const slope = 2 * sigma * (rest + (sigma * dot(z, solve(z))) / d);
        return { value: sigma * sigma * rest - epsilon, slope };
      },
    };
    return preimagesBy(equation, y, {
      value: (x) => firstAttentionTwin(step, x),
      preimage: (sigma) => addRows(free.slice(), scaled(resolvent(sigma).solve(r), -1), b),
      // I + (P - z^T z / d) B / sigma
      jacobian(x) {
        const centred = withoutMean(x);
        const sigma = Math.sqrt(dot(centred, centred) / d + epsilon);
        const z = scaled(centred, 1 / sigma);
        const image = addRows(new Float64Array(d), z, b); // z B
        const mean = addRows(new Float64Array(d), new Float64Array(d).fill(1 / d), b);
        const rows = b.map((row, i) =>
          row.map((v, j) => (v - mean[j] - (z[i] * image[j]) / d) / sigma + (i === j ? 1 : 0)),
        );
        return transpose(rows);
      },
    });
  };
}

function withoutMean(row: Float64Array): Float64Array {
  const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
  return row.map((value) => value - mean);
}

const transpose = (rows: Rows): Rows => Array.from(rows[0], (_, j) => Float64Array.from(rows, (row) => row[j]));

/**
 * The matrix whose positive eigenvalues are the roots, of vectors (z, e, w, u): sigma z = r w - C^T z; with
 * t = r w - C^T z, sigma e = C t - C e; sigma w = u; sigma u = epsilon w + (r t - r e) / d. Each part has a scale of its
 * own, so that the entries are of one size.
 */
function pencil(c: Rows, transposed: Rows, r: Float64Array, epsilon: number): Matrix {
  const d = r.length;
  const gram = product(new Matrix(c), new Matrix(transposed)); // C C^T
  const unit = 1 / Math.sqrt(d); // of w
  const size = Math.sqrt(Math.max(gram.trace(), dot(r, r)) / d) || 1; // of e, and of u in units of w
  const image = Float64Array.from(c, (row) => dot(row, r)); // C r
  const k = Matrix.zeros(2 * d + 2, 2 * d + 2);
  for (let i = 0; i < d; i++) {
    for (let j = 0; j < d; j++) {
      k.set(i, j, -transposed[i][j]);
      k.set(d + i, j, -gram.get(i, j) / size);
      k.set(d + i, d + j, -c[i][j]);
    }
    k.set(i, 2 * d, r[i] * unit);
    k.set(d + i, 2 * d, (image[i] * unit) / size);
    k.set(2 * d + 1, i, -image[i] / (d * unit * size));
    k.set(2 * d + 1, d + i, -r[i] / (d * unit));
  }
  k.set(2 * d, 2 * d + 1, size);
  k.set(2 * d + 1, 2 * d, (epsilon + dot(r, r) / d) / size);
  return k;
}
