import { factored } from '../linalg/lu.ts';
import { norm } from '../linalg/vector.ts';
import type { Chain } from './chain.ts';
import { ask, type Search, type Vector } from './requests.ts';

/**
 * The sign of det Dg of each step of a chain at a solution, first step first: 1 + d rows each. Homotopy from x = y
 * finds preimages with +1, and over all preimages of a step the signs add up to +1 (papers.md, section 2).
 */
export function* determinantSigns(chain: Chain, x: Vector): Search<number[]> {
  const signs: number[] = [];
  let state = x;
  for (const step of chain.steps.keys()) {
    const { value, rows } = yield* ask({ kind: 'jacobian', step, x: state });
    signs.push(factored(rows).sign);
    state = value;
  }
  return signs;
}

/** How far a vector lies from the rows of a table. */
export interface Nearest {
  readonly token: number;
  /** |vector - row| over the root mean square of the rows' norms: 1 is about as far as rows are long. */
  readonly distance: number;
}

/**
 * The vocabulary rows nearest to a vector.
 * @param table [rows, d]
 * @param vector [d], without the position's row.
 */
export function nearestRows(table: ArrayLike<number>, vector: Vector, count: number): Nearest[] {
  const d = vector.length;
  const n = table.length / d;
  let squares = 0;
  const distances = Float64Array.from({ length: n }, (_, token) => {
    let sum = 0;
    for (let i = 0; i < d; i++) {
      const value = table[token * d + i];
      squares += value ** 2;
      sum += (value - vector[i]) ** 2;
    }
    return Math.sqrt(sum);
  });
  const unit = Math.sqrt(squares / n);
  return Array.from(distances, (distance, token) => ({ token, distance: distance / unit }))
    .sort((a, b) => a.distance - b.distance || a.token - b.token)
    .slice(0, count);
}

/** |x| in the same unit. */
export const rowLength = (table: ArrayLike<number>, vector: Vector): number => {
  let squares = 0;
  for (let i = 0; i < table.length; i++) squares += table[i] ** 2;
  return norm(vector) / Math.sqrt((squares * vector.length) / table.length);
};
