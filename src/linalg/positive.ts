import { CholeskyDecomposition, Matrix } from 'ml-matrix';
import { InputError } from '../errors.ts';
import { seededRandom } from '../reference/random.ts';

/** Symmetric positive definite matrices in float64, on ml-matrix. */

/** A [rows, columns] matrix from row-major numbers. */
export function matrixFrom(values: ArrayLike<number>, columns: number): Matrix {
  const rows = values.length / columns;
  return Matrix.from1DArray(rows, columns, Array.prototype.slice.call(values));
}

/** `a` with its diagonal raised by a share of itself: what makes a sum of few squares invertible. */
export function ridged(a: Matrix, share: number): Matrix {
  const raised = a.clone();
  const diagonal = a.diagonal();
  // A coordinate that never varies has nothing to take a share of.
  const least = 1e-12 * Math.max(...diagonal, Number.MIN_VALUE);
  diagonal.forEach((value, i) => {
    raised.set(i, i, value + Math.max(share * value, least));
  });
  return raised;
}

/**
 * The solution X of A X = B.
 * @throws InputError when A is not positive definite.
 */
export function solvePositive(a: Matrix, b: Matrix): Matrix {
  return decompose(a).solve(b);
}

/**
 * L with L L^T = A^-1: rows x L of rows x with covariance A have covariance I.
 * @throws InputError when A is not positive definite.
 */
export function whitener(a: Matrix): Matrix {
  const root = decompose(a).lowerTriangularMatrix; // A = R R^T, and L = R^-T
  const n = root.rows;
  const inverse = Matrix.zeros(n, n);
  for (let column = 0; column < n; column++) {
    for (let i = column; i < n; i++) {
      let sum = i === column ? 1 : 0;
      for (let k = column; k < i; k++) sum -= root.get(i, k) * inverse.get(k, column);
      inverse.set(i, column, sum / root.get(i, i));
    }
  }
  return inverse.transpose();
}

/** Rounds of the power method: enough to find a good subspace, which is all that is asked. */
const ROUNDS = 16;

/**
 * The axes along which a covariance is largest, by the power method on a subspace (orthogonal iteration).
 * @param covariance [d, d]
 * @returns [d, count], orthonormal columns, largest first.
 */
export function principalAxes(covariance: Matrix, count: number): Matrix {
  const d = covariance.rows;
  const random = seededRandom(1);
  let axes = orthonormal(matrixFrom(random.normal(d * count), count));
  for (let round = 0; round < ROUNDS; round++) axes = orthonormal(covariance.mmul(axes));
  return axes;
}

/** Gram-Schmidt, twice, so that nearly parallel columns come out orthogonal all the same. */
function orthonormal(a: Matrix): Matrix {
  const columns = a.transpose().to2DArray();
  columns.forEach((column, j) => {
    for (let pass = 0; pass < 2; pass++) {
      for (const earlier of columns.slice(0, j)) {
        const along = dot(column, earlier);
        column.forEach((_, i) => {
          column[i] -= along * earlier[i];
        });
      }
    }
    const length = Math.sqrt(dot(column, column)) || 1;
    column.forEach((_, i) => {
      column[i] /= length;
    });
  });
  return new Matrix(columns).transpose();
}

const dot = (a: readonly number[], b: readonly number[]): number => a.reduce((sum, value, i) => sum + value * b[i], 0);

function decompose(a: Matrix): CholeskyDecomposition {
  const decomposition = new CholeskyDecomposition(a);
  if (decomposition.isPositiveDefinite()) return decomposition;
  throw new InputError(
    `A covariance of ${a.rows} coordinates is not positive definite.`,
    'Give more samples, or add a ridge to its diagonal.',
  );
}
