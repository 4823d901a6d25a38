import { dot, type Rows } from './dense.ts';

/** A square matrix as P^-1 L U. */
export interface Factored {
  /** The sign of its determinant: 0 for a matrix that is singular to working precision, or holds NaN. */
  readonly sign: -1 | 0 | 1;
  /** x with A x = b; not finite where A is singular. */
  solve(b: Float64Array): Float64Array;
}

/**
 * Gaussian elimination with partial pivoting, rows in typed arrays.
 * @param matrix Its rows, which the factors take the place of.
 */
export function factored(matrix: Rows): Factored {
  const n = matrix.length;
  const rows = [...matrix];
  const order = Uint32Array.from({ length: n }, (_, i) => i);
  /** Of each row as it was given: pivots no larger than this are what rounding left of zero. */
  const rounding = rows.map(
    (row) => n * Number.EPSILON * row.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
  );
  let sign = 1;
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(rows[i][k]) > Math.abs(rows[pivot][k])) pivot = i;
    if (pivot !== k) {
      [rows[k], rows[pivot]] = [rows[pivot], rows[k]];
      [order[k], order[pivot]] = [order[pivot], order[k]];
      sign = -sign;
    }
    const top = rows[k];
    if (!(Math.abs(top[k]) > rounding[order[k]])) {
      top[k] = 0;
      sign = 0;
      continue;
    }
    sign *= Math.sign(top[k]);
    for (let i = k + 1; i < n; i++) {
      const row = rows[i];
      const factor = row[k] / top[k];
      row[k] = factor;
      if (factor !== 0) for (let j = k + 1; j < n; j++) row[j] -= factor * top[j];
    }
  }
  return {
    sign: sign as Factored['sign'],
    solve(b) {
      const x = Float64Array.from(order, (i) => b[i]);
      for (let i = 0; i < n; i++) x[i] -= dot(rows[i], x, i);
      for (let i = n - 1; i >= 0; i--) {
        let rest = x[i];
        for (let j = i + 1; j < n; j++) rest -= rows[i][j] * x[j];
        x[i] = rest / rows[i][i];
      }
      return x;
    },
  };
}
