import { dot } from '../../linalg/dense.ts';

/** A generator of a convex set: a point of it, or a ray that may be added to any. */
export interface Atom {
  readonly vector: Float64Array;
  readonly isRay: boolean;
}

/** A point of a convex set and what it is made of. */
export interface NearestPoint {
  readonly point: Float64Array;
  readonly atoms: readonly Atom[];
  /** Of each atom, above 0; those of points add up to 1. */
  readonly weights: readonly number[];
}

const MOST_STEPS = 2000;
/** Weights up to this are none. */
const NEGLIGIBLE = 1e-13;

/**
 * The point nearest to the origin of `hull(points) + cone(rays)`, by Wolfe's method (Mathematical Programming 11, 1976):
 * add the atom that leads inwards most, go to the nearest point of the affine hull of the atoms held, and drop those whose
 * weights would turn negative on the way. With one point and rays it is non-negative least squares (Lawson and Hanson).
 * In the affine hull of atoms A, min |A w|^2 with e . w = 1, e being 1 for points and 0 for rays, has `(A^T A + c e e^T) w`
 * parallel to e for any c: a Cholesky factor, which grows by a row with each atom, solves it.
 * @param first A point.
 * @param inward The atom to add, given the point reached: undefined ends the search.
 */
export function nearestPoint(
  first: Atom,
  inward: (point: Float64Array, held: NearestPoint) => Atom | undefined,
): NearestPoint {
  const scale = dot(first.vector, first.vector) || 1;
  let atoms: Atom[] = [first];
  let weights = [1];
  let root: Float64Array[] = [];
  grow();
  let point: Float64Array = first.vector.slice();

  for (let step = 0; step < MOST_STEPS; step++) {
    const atom = inward(point, { point, atoms, weights });
    if (!atom || atoms.some(({ vector }) => vector === atom.vector)) break;
    atoms.push(atom);
    weights.push(0);
    if (!grow()) {
      // The atom lies in the affine hull of the others: rounding has the last word.
      atoms.pop();
      weights.pop();
      break;
    }
    while (!settle()) {
      while (root.length < atoms.length) if (!grow()) return { point, atoms, weights };
    }
    if (!atoms.includes(atom)) break; // it leads nowhere but by rounding
    point = combine(atoms, weights);
  }
  return { point, atoms, weights };

  /** Adds the next atom to the factor. @returns Whether it is independent of the others. */
  function grow(): boolean {
    const { vector, isRay } = atoms[root.length];
    const row = new Float64Array(root.length + 1);
    for (let i = 0; i <= root.length; i++) {
      const other = atoms[i];
      const product = dot(vector, other.vector) + (isRay || other.isRay ? 0 : scale);
      if (i < root.length) row[i] = (product - dot(row, root[i], i)) / root[i][i];
      else {
        const square = product - dot(row, row, i);
        if (!(square > 1e-15 * product)) return false;
        row[i] = Math.sqrt(square);
      }
    }
    root.push(row);
    return true;
  }

  /** Goes to the nearest point of the affine hull, or as far as weights stay positive. @returns Whether it got there. */
  function settle(): boolean {
    const goal = affineWeights();
    let [share, last] = [1, -1];
    goal.forEach((to, i) => {
      const limit = to > NEGLIGIBLE ? 1 : weights[i] / (weights[i] - to || 1);
      if (to <= NEGLIGIBLE && limit <= share) [share, last] = [limit, i];
    });
    weights = weights.map((from, i) => from + share * (goal[i] - from));
    if (last < 0) return true;
    const kept = weights.map((weight, i) => i !== last && weight > NEGLIGIBLE);
    atoms = atoms.filter((_, i) => kept[i]);
    weights = weights.filter((_, i) => kept[i]);
    root = root.slice(0, kept.indexOf(false));
    return false;
  }

  function affineWeights(): number[] {
    const n = root.length;
    const w = new Float64Array(n);
    for (let i = 0; i < n; i++) w[i] = ((atoms[i].isRay ? 0 : 1) - dot(root[i], w, i)) / root[i][i];
    for (let i = n - 1; i >= 0; i--) {
      w[i] /= root[i][i];
      for (let j = 0; j < i; j++) w[j] -= root[i][j] * w[i];
    }
    const total = w.reduce((sum, value, i) => sum + (atoms[i].isRay ? 0 : value), 0);
    return Array.from(w, (value) => value / total);
  }
}

/** The sum of weighted atoms. */
function combine(atoms: readonly Atom[], weights: readonly number[]): Float64Array {
  const sum = new Float64Array(atoms[0].vector.length);
  atoms.forEach(({ vector }, k) => {
    for (let i = 0; i < sum.length; i++) sum[i] += weights[k] * vector[i];
  });
  return sum;
}
