import type { Vector } from '../../src/probe/requests.ts';
import type { Float64Step } from './float64-search.ts';

/** A polynomial in one variable, k (t - m_1)(t - m_2) ..., by its factors. */
export interface Polynomial {
  at(t: number): number;
  slope(t: number): number;
}

/** k (t - a)(t - b)(t - c) */
export const cubic = (k: number, a: number, b: number, c: number): Polynomial => ({
  at: (t) => k * (t - a) * (t - b) * (t - c),
  slope: (t) => k * ((t - b) * (t - c) + (t - a) * (t - c) + (t - a) * (t - b)),
});

/** k (t - a)((t - m)^2 + e): one root. */
export const cubicOfOneRoot = (k: number, a: number, m: number, e: number): Polynomial => ({
  at: (t) => k * (t - a) * ((t - m) ** 2 + e),
  slope: (t) => k * ((t - m) ** 2 + e + 2 * (t - a) * (t - m)),
});

/** Of length 1, along no axis. */
export const AXIS: Vector = Float64Array.of(2, -3, 6).map((value) => value / 7);

export const along = (x: Vector): number => x.reduce((sum, value, i) => sum + value * AXIS[i], 0);

/**
 * x -> x + u (level + p(u . x) - u . x), u = AXIS, d = 3: a map of one variable in disguise. With y = level u + rest,
 * rest across u, its preimages are rest + t u at the roots t of p.
 */
export const disguised = (p: Polynomial, level: number): Float64Step => ({
  g: (x) => x.map((value, i) => value + AXIS[i] * (level + p.at(along(x)) - along(x))),
  jacobian: (x) => Array.from(AXIS, (u, i) => AXIS.map((v, j) => (i === j ? 1 : 0) + u * v * (p.slope(along(x)) - 1))),
});
