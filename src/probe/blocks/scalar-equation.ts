import { EVD, type Matrix } from 'ml-matrix';
import { InputError } from '../../errors.ts';

/**
 * Blocks whose preimages are the roots of one scalar equation f(s) = 0, where f is rational, runs from below zero to
 * above, and has poles of even order. With the numerator written as the determinant of a matrix pencil, the roots are
 * among its eigenvalues: as many as its size, so none is overlooked but by rounding.
 */
export interface ScalarEquation {
  /** Complex numbers of which the roots are those that are real, up to rounding. */
  readonly candidates: readonly Complex[];
  /** f is negative here, and roots below do not count; default minus infinity. */
  readonly from?: number;
  /** f(s) and f'(s). */
  at(s: number): Slope;
}

export interface Complex {
  readonly re: number;
  readonly im: number;
}

/** A function of one variable at a point. */
export interface Slope {
  readonly value: number;
  readonly slope: number;
}

/**
 * The eigenvalues of a square matrix.
 * @throws InputError for one that is not finite: the iteration would never end.
 */
export function eigenvalues(matrix: Matrix): Complex[] {
  if (!Number.isFinite(matrix.sum())) {
    throw new InputError(
      'The preimages of an output are asked for, and it or the weights hold NaN or infinity.',
      'Give a finite output, and a map of finite weights.',
    );
  }
  const { realEigenvalues, imaginaryEigenvalues } = new EVD(matrix);
  return realEigenvalues.map((re, i) => ({ re, im: imaginaryEigenvalues[i] }));
}

/** Candidates are refined when their imaginary part is at most this share of them: rounding splits close real pairs. */
const NEAR = 1e-2;
/** Roots that differ by less than this share of them are one. */
const SAME = 1e-9;
/** Steps of Newton's method. */
const MOST_ROUNDS = 60;

/** A root and the sign of the slope there. */
interface Root {
  readonly s: number;
  readonly sign: number;
}

/**
 * All real roots, ascending.
 *
 *   1. Every candidate near the real axis is refined by Newton's method.
 *   2. Between simple roots f keeps its sign, at poles too. So the slopes at the roots must run +, -, +, ..., +; where
 *      they do not, f changes its sign in between, and bisection finds the root that is missing.
 *
 * The signs of the slopes add up to 1, so the number of roots is odd.
 */
export function realRoots(equation: ScalarEquation): number[] {
  const { candidates, from = Number.NEGATIVE_INFINITY } = equation;
  const found = candidates
    .filter(({ re, im }) => Math.abs(im) <= NEAR * Math.hypot(re, im) && re + im > from)
    // Of a pair that rounding has made complex, the roots lie about as far apart as its imaginary parts.
    .map(({ re, im }) => refine(equation, re + im))
    .filter((root) => root !== undefined)
    .filter(({ s }) => s > from)
    .sort((a, b) => a.s - b.s)
    .filter(({ s, sign }, i, all) => i === 0 || sign !== all[i - 1].sign || s - all[i - 1].s > SAME * Math.abs(s));
  // f is negative far to the left and positive far to the right: as between two roots of negative slope.
  const begin = { s: outside(equation, found[0]?.s ?? 0, -1), sign: -1 };
  const end = { s: outside(equation, found.at(-1)?.s ?? 0, 1), sign: -1 };
  const nodes = [begin, ...found, end];
  return nodes.slice(1).flatMap((right, i) => {
    const left = nodes[i];
    const missing = left.sign === right.sign ? [bisect(equation, left, right)] : [];
    return right === end ? missing : [...missing, right.s];
  });
}

/** Newton's method; undefined where it leads nowhere. */
function refine({ at }: ScalarEquation, start: number): Root | undefined {
  let s = start;
  let last = Number.POSITIVE_INFINITY;
  for (let round = 0; round < MOST_ROUNDS; round++) {
    const { value, slope } = at(s);
    const step = value / slope;
    s -= step;
    const size = Math.abs(step) / (Math.abs(s) || 1);
    if (!Number.isFinite(size)) return undefined;
    // Down to rounding: the steps get no smaller.
    if (size <= 2 * Number.EPSILON || (size < SAME && size > last / 2)) return { s, sign: Math.sign(slope) };
    last = size;
  }
  return undefined;
}

/** A point beyond which there is no root: f is negative on the left, positive on the right. */
function outside({ at, from = Number.NEGATIVE_INFINITY }: ScalarEquation, s: number, side: -1 | 1): number {
  if (side < 0 && from > Number.NEGATIVE_INFINITY) return from;
  let step = Math.max(1, Math.abs(s));
  while (!(side * at(s + side * step).value > 0) && step < 1e100) step *= 2;
  return s + side * step;
}

/** A root between two roots whose slopes have the same sign, which f has right of the first. */
function bisect(equation: ScalarEquation, { s: left, sign }: Root, { s: right }: Root): number {
  let [low, high] = [left, right];
  for (let middle = (low + high) / 2; middle > low && middle < high; middle = (low + high) / 2) {
    if (Math.sign(equation.at(middle).value) === sign) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}
