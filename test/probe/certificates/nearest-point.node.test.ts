import { describe, expect, test } from 'vitest';
import { type Atom, nearestPoint } from '../../../src/probe/certificates/nearest-point.ts';
import { dot, seededRandom } from './made-blocks.ts';

const atom = (vector: readonly number[], isRay = false): Atom => ({ vector: Float64Array.from(vector), isRay });

/** The search over a list of points and rays. */
function nearestOf(atoms: readonly Atom[]) {
  return nearestPoint(atoms[0], (x) => {
    const gain = ({ vector, isRay }: Atom) => dot(x, vector) - (isRay ? 0 : dot(x, x));
    const best = atoms.reduce((a, b) => (gain(b) < gain(a) ? b : a));
    return gain(best) < -1e-12 ? best : undefined;
  });
}

describe('the point nearest to the origin', () => {
  test('of a triangle: a corner, an edge, the inside', () => {
    const triangle = (x: number, y: number) => [atom([x, y]), atom([x + 2, y]), atom([x, y + 2])];
    expect([...nearestOf(triangle(1, 1)).point]).toEqual([1, 1]);
    expect(nearestOf(triangle(-1, 1)).point[0]).toBeCloseTo(0, 12);
    expect(nearestOf(triangle(-1, 1)).point[1]).toBeCloseTo(1, 12);
    expect(Math.hypot(...nearestOf(triangle(-0.5, -0.5)).point)).toBeLessThan(1e-12);
  });

  test('of a point and rays is what non-negative least squares leaves', () => {
    // 2 e1 + 3 e2 - e3 from the rays e1, e2, e3: -e3 is left.
    const rays = [atom([1, 0, 0], true), atom([0, 1, 0], true), atom([0, 0, 1], true)];
    const { point, atoms, weights } = nearestOf([atom([-2, -3, 1]), ...rays]);
    expect(Math.hypot(point[0], point[1], point[2] - 1)).toBeLessThan(1e-14);
    expect(weights[atoms.findIndex(({ vector }) => vector[0] === 1)]).toBeCloseTo(2, 12);
  });

  test('does not mind atoms that depend on each other, nor one that is given twice', () => {
    const square = [atom([1, 1]), atom([1, -1]), atom([1, 1]), atom([1, 0.3]), atom([2, 0]), atom([3, 0])];
    const { point } = nearestOf(square);
    expect(point[0]).toBeCloseTo(1, 12);
    expect(point[1]).toBeCloseTo(0, 12);
  });

  test.each([1, 3, 7, 63, 64, 65])(
    'has all atoms on its far side, and is made of those held, in %i dimensions',
    (d) => {
      const random = seededRandom(d);
      for (const shift of [0, 0.5, 3]) {
        const points = Array.from({ length: 2 * d }, () =>
          atom([...random.normal(d)].map((v, i) => v + (i ? 0 : shift))),
        );
        const rays = Array.from({ length: d >> 1 }, () => atom([...random.normal(d)], true));
        const { point, atoms, weights } = nearestOf([...points, ...rays]);
        const size = dot(point, point);
        for (const { vector } of points) expect(dot(point, vector)).toBeGreaterThan(size - 1e-9);
        for (const { vector } of rays) expect(dot(point, vector)).toBeGreaterThan(-1e-9);
        const total = weights.reduce((sum, weight, i) => sum + (atoms[i].isRay ? 0 : weight), 0);
        expect(total).toBeCloseTo(1, 12);
        expect(Math.min(...weights)).toBeGreaterThan(0);
        const sum = point.map((_, i) => atoms.reduce((all, { vector }, k) => all + weights[k] * vector[i], 0));
        expect(Math.hypot(...sum.map((value, i) => value - point[i]))).toBeLessThan(1e-10);
      }
    },
  );
});
