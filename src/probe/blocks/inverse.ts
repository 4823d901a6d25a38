import { Matrix } from 'ml-matrix';
import { type Rows, rowsOf } from '../../linalg/dense.ts';
import { factored } from '../../linalg/lu.ts';

/** A matrix inverted. */
export interface Inverse {
  /** The columns of W^-1. */
  readonly columns: Rows;
  /** |W| |W^-1| in the norm of the largest absolute row sum; infinite for a singular W. */
  readonly condition: number;
  /** Of the determinant. */
  readonly sign: -1 | 0 | 1;
}

/** Beyond this condition number not a digit of float64 is left: the matrix counts as singular. */
export const MOST_CONDITION = 1e15;

/** The inverse of a square matrix in float64, with what it costs in digits. @param rows Of W; left as they are. */
export function inverse(rows: Rows): Inverse {
  const { sign, solve } = factored(rows.map((row) => row.slice()));
  const columns = rowsOf(Matrix.eye(rows.length)).map(solve);
  if (sign === 0) return { columns, sign, condition: Number.POSITIVE_INFINITY };
  const sums = columns.reduce(
    (sum, column) => sum.map((v, i) => v + Math.abs(column[i])),
    new Float64Array(rows.length),
  );
  const size = Math.max(...rows.map((row) => row.reduce((sum, value) => sum + Math.abs(value), 0)));
  return { columns, sign, condition: size * Math.max(...sums) };
}
