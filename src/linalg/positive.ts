import { Matrix } from 'ml-matrix';
import { InputError } from '../errors.ts';
import { seededRandom } from '../reference/random.ts';
import { addRows, dot, matrixFrom, product, type Rows, rowsOf } from './dense.ts';
import { norm } from './vector.ts';

/** Covariances in float64: symmetric, and positive definite where it is asked for. */

/** What is added to a diagonal that would otherwise be zero, as a share of its largest element. */
const NEGLIGIBLE = 1e-12;

/** `a` with its diagonal raised by a share of itself: what makes a sum of few squares invertible. */
export function ridged(a: Matrix, share: number): Matrix {
  const raised = a.clone();
  // A coordinate that never varies has nothing to take a share of.
  const least = NEGLIGIBLE * sizeOf(a);
  a.diagonal().forEach((value, i) => {
    raised.set(i, i, value + Math.max(share * value, least));
  });
  return raised;
}

/** The largest variance, or 1 where nothing varies. */
const sizeOf = (a: Matrix): number => Math.max(0, ...a.diagonal()) || 1;

/**
 * The solution X of A X = B.
 * @param a Symmetric, [n, n]; only its lower triangle is read.
 * @param b [n, columns]
 * @throws InputError when A is not positive definite.
 */
export function solvePositive(a: Matrix, b: Matrix): Matrix {
  const root = cholesky(a);
  const rows = solveLower(root, rowsOf(b));
  for (let i = root.length - 1; i >= 0; i--) {
    const below = Float64Array.from(root, (row) => -row[i]);
    divide(addRows(rows[i], below, rows, i + 1), root[i][i]);
  }
  return new Matrix(rows);
}

/**
 * L with L L^T = A^-1: rows x L of rows x with covariance A have covariance I.
 * @param a Symmetric, [n, n]; only its lower triangle is read.
 * @throws InputError when A is not positive definite.
 */
export function whitener(a: Matrix): Matrix {
  // A = R R^T, and L = R^-T
  return new Matrix(solveLower(cholesky(a), rowsOf(Matrix.eye(a.rows)))).transpose();
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
  // Keeps directions that do not vary at all, as there are where the vocabulary is small, from vanishing.
  const shifted = Matrix.eye(d)
    .mul(NEGLIGIBLE * sizeOf(covariance))
    .add(covariance);
  for (let round = 0; round < ROUNDS; round++) axes = orthonormal(product(shifted, axes));
  return axes;
}

/** Gram-Schmidt; a second time for columns that lose most of their length, as what is left is largely rounding. */
function orthonormal(a: Matrix): Matrix {
  const columns = rowsOf(a.transpose());
  columns.forEach((column, j) => {
    const along = new Float64Array(j);
    let length = norm(column);
    for (let pass = 0; pass < 2; pass++) {
      for (let k = 0; k < j; k++) along[k] = -dot(column, columns[k]);
      addRows(column, along, columns);
      const before = length;
      length = norm(column);
      if (length > before / 2) break;
    }
    divide(column, length || 1);
  });
  return new Matrix(columns).transpose();
}

/**
 * R with R R^T = A, lower triangular.
 * @throws InputError
 */
function cholesky(a: Matrix): Rows {
  const root = rowsOf(a);
  root.forEach((row, i) => {
    for (let j = 0; j < i; j++) row[j] = (row[j] - dot(row, root[j], j)) / root[j][j];
    const square = row[i] - dot(row, row, i);
    if (!(square > 0)) {
      throw new InputError(
        `A covariance of ${a.rows} coordinates is not positive definite.`,
        'Give more samples, or add a ridge to its diagonal.',
      );
    }
    row[i] = Math.sqrt(square);
    row.fill(0, i + 1);
  });
  return root;
}

/** X of R X = B for a lower triangular R. @param rows B, which X takes the place of. */
function solveLower(root: Rows, rows: Rows): Rows {
  rows.forEach((row, i) => {
    const before = root[i].map((value) => -value);
    divide(addRows(row, before, rows, 0, i), root[i][i]);
  });
  return rows;
}

function divide(row: Float64Array, divisor: number): void {
  for (let j = 0; j < row.length; j++) row[j] /= divisor;
}
