import { dot, type Rows } from '../../linalg/dense.ts';
import { factored } from '../../linalg/lu.ts';
import { difference, norm } from '../../linalg/vector.ts';
import { realRoots, type ScalarEquation } from './scalar-equation.ts';

/** An input with a given output, from a root of a scalar equation. */
export interface Preimage {
  /** [d] */
  readonly x: Float64Array;
  /** The root. */
  readonly root: number;
  /** The sign of det Dg at x; 0 where Dg is singular. */
  readonly sign: -1 | 0 | 1;
  /** |g(x) - y| / |y|, in float64 by the definition of g. */
  readonly residual: number;
  /** What the rounding of x to float64 may do to the residual: eps |Dg| |x| / |y|. Next to a pole of the equation |x| is huge. */
  readonly rounding: number;
  /** Substitution confirms it: the residual is at most 1e-8. */
  readonly verified: boolean;
}

/** A map g whose preimages are known from the roots of a scalar equation. */
export interface SolvedMap {
  /** g(x), [d] to [d], by its definition. */
  value(x: Float64Array): Float64Array;
  /** Dg at x: row j holds the derivatives of output j. */
  jacobian(x: Float64Array): Rows;
  /** The preimage that belongs to a root, [d]. */
  preimage(root: number): Float64Array;
}

const VERIFIED = 1e-8;
/** Newton steps that take an x from the accuracy of its root to that of g itself. */
const CORRECTIONS = 3;

/** The preimages of y that an equation yields, in the order of its roots, corrected and checked by substitution. */
export const preimagesBy = (equation: ScalarEquation, y: Float64Array, map: SolvedMap): Preimage[] =>
  realRoots(equation).map((root) => ({ root, ...corrected(map, y, map.preimage(root)) }));

/** Newton steps for as long as each halves the residual. */
function corrected(map: SolvedMap, y: Float64Array, start: Float64Array): Omit<Preimage, 'root'> {
  const unit = norm(y) || 1;
  let x = start;
  let miss = difference(map.value(x), y);
  for (let i = 0; ; i++) {
    const jacobian = map.jacobian(x);
    const size = Math.sqrt(jacobian.reduce((sum, row) => sum + dot(row, row), 0));
    const { sign, solve } = factored(jacobian);
    const next = difference(x, solve(miss));
    const left = difference(map.value(next), y);
    if (i === CORRECTIONS || !(norm(left) < norm(miss) / 2)) {
      const residual = norm(miss) / unit;
      const rounding = (Number.EPSILON * size * norm(x)) / unit;
      return { x, sign, residual, rounding, verified: residual <= VERIFIED };
    }
    [x, miss] = [next, left];
  }
}
