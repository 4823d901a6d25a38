import { dot } from '../linalg/dense.ts';
import { norm, plus, scaled } from '../linalg/vector.ts';
import type { Search, Vector } from './requests.ts';

/** How far, and by what, a linear system is solved. */
export interface GmresOptions {
  /** Stops when |b - A z| is at most this share of |b|. */
  readonly tolerance: number;
  readonly iterations: number;
  /** An approximate inverse of A; default the identity. */
  readonly precondition?: (v: Vector) => Vector;
}

/**
 * z with A z = b nearly, by products with A alone: GMRES, preconditioned from the right (Saad and Schultz 1986).
 * @param apply v -> A v
 */
export function* gmres(
  apply: (v: Vector) => Search<Vector>,
  b: Vector,
  { tolerance, iterations, precondition = (v) => v }: GmresOptions,
): Search<Vector> {
  const size = norm(b);
  if (size === 0) return b;
  const basis = [scaled(b, 1 / size)]; // orthonormal, of the Krylov space
  const directions: Vector[] = []; // the basis, preconditioned
  const columns: Vector[] = []; // upper triangular R of the Hessenberg matrix
  const rotations: (readonly [cos: number, sin: number])[] = [];
  const rest = [size]; // Q^T |b| e_1
  for (let j = 0; j < iterations; j++) {
    directions.push(precondition(basis[j]));
    let w = yield* apply(directions[j]);
    const whole = norm(w);
    const column = new Float64Array(j + 2);
    for (let pass = 0; pass < 2; pass++) {
      for (let i = 0; i <= j; i++) {
        const along = dot(basis[i], w);
        column[i] += along;
        w = plus(w, basis[i], -along);
      }
    }
    const length = norm(w);
    column[j + 1] = length;
    rotations.forEach(([cos, sin], i) => {
      [column[i], column[i + 1]] = [cos * column[i] + sin * column[i + 1], cos * column[i + 1] - sin * column[i]];
    });
    const radius = Math.hypot(column[j], column[j + 1]);
    if (radius === 0) break; // the product adds nothing to those before it
    const [cos, sin] = [column[j] / radius, column[j + 1] / radius];
    rotations.push([cos, sin]);
    column[j] = radius;
    columns.push(column);
    rest.push(-sin * rest[j]);
    rest[j] *= cos;
    if (Math.abs(rest[j + 1]) <= tolerance * size || length <= 1e-14 * whole) break;
    basis.push(scaled(w, 1 / length));
  }
  let z: Vector = new Float64Array(b.length);
  const n = columns.length;
  const factors = new Float64Array(n);
  for (let i = n - 1; i >= 0; i--) {
    let sum = rest[i];
    for (let j = i + 1; j < n; j++) sum -= columns[j][i] * factors[j];
    factors[i] = sum / columns[i][i];
  }
  factors.forEach((factor, i) => {
    z = plus(z, directions[i], factor);
  });
  return z;
}
