import { describe, expect, test } from 'vitest';
import { difference, norm } from '../../src/linalg/vector.ts';
import { broyden } from '../../src/probe/broyden.ts';
import type { Vector } from '../../src/probe/requests.ts';
import { seededRandom } from '../support/agree.ts';
import { type Float64Step, searched } from './float64-search.ts';

/** x + size tanh(A x): what a residual block is like. */
function bounded(seed: number, d: number, size: number): Pick<Float64Step, 'g'> {
  const { normal } = seededRandom(seed);
  const rows = Array.from({ length: d }, () => Float64Array.from(normal(d, 1 / Math.sqrt(d))));
  return {
    g: (x) => x.map((value, i) => value + size * Math.tanh(rows[i].reduce((sum, w, j) => sum + w * x[j], 0))),
  };
}

const run = (
  g: (x: Vector) => Vector,
  y: Vector,
  options: { start?: Vector; tolerance?: number; floor?: number } = {},
) => searched(broyden({ step: 0, y, tolerance: 1e-10, floor: 1e-10, ...options }), [{ g, jacobian: () => [] }]);

describe.each([1, 3, 24, 65])('d = %i', (d) => {
  const y = Float64Array.from(seededRandom(d).normal(d, 3));
  const { g } = bounded(d, d, 0.5);

  test('a block that changes little is solved in a few rows, and knows its inverse Jacobian from the way', () => {
    const { result, asked } = searched(broyden({ step: 0, y, tolerance: 1e-10, floor: 1e-10 }), [
      { g, jacobian: () => [] },
    ]);
    expect(result.solved).toBe(true);
    expect(norm(difference(g(result.x), y)) / norm(y)).toBeCloseTo(result.residual, 14);
    expect(asked.rows).toBeLessThan(25);
    expect(asked.jacobians).toBe(0);
    const moved = result.x.map((value, i) => value + 1e-6 * y[i]);
    const back = result.inverse(difference(g(moved), g(result.x)));
    expect(
      norm(
        difference(
          back,
          y.map((value) => 1e-6 * value),
        ),
      ),
    ).toBeLessThan(0.5e-6 * norm(y));
  });

  test('starts elsewhere when told', () => {
    const start = y.map((value) => value + 0.1);
    expect(run(g, y, { start }).result.solved).toBe(true);
  });
});

test('a start that is a preimage costs one row', () => {
  const y = Float64Array.of(1, 2, 3);
  const { result, asked } = run((x) => x, y);
  expect(result).toMatchObject({ x: y, residual: 0, solved: true });
  expect(asked.rows).toBe(1);
  expect([...result.inverse(y)]).toEqual([...y]);
});

test('where rounding stops it, the floor decides', () => {
  const coarse = (x: Vector) => x.map((value) => Math.round(1e4 * (value + Math.tanh(value))) / 1e4);
  const y = Float64Array.of(1.00003, 2.00004, 3.00001);
  expect(run(coarse, y, { floor: 1e-10 }).result.solved).toBe(false);
  const { result, asked } = run(coarse, y, { floor: 1e-3 });
  expect(result.solved).toBe(true);
  expect(result.residual).toBeGreaterThan(1e-10);
  expect(asked.rows).toBeLessThan(45);
});

test('a map that cannot give the target, or no number, is given up with the best point', () => {
  const y = Float64Array.of(-3, 4, 0.5);
  const { result, asked } = run((x) => x.map(Math.abs), y);
  expect(result.solved).toBe(false);
  expect(result.residual).toBeGreaterThanOrEqual((3 / norm(y)) * (1 - 1e-12));
  expect(result.residual).toBeCloseTo(norm(difference(result.x.map(Math.abs), y)) / norm(y), 14);
  expect(asked.rows).toBeLessThan(45);
  const nan = run((x) => x.map(() => Number.NaN), y);
  expect(nan.result.solved).toBe(false);
  expect(nan.asked.rows).toBe(1);
  const edge = run((x) => x.map((value) => (value < 0 ? Number.NaN : value + 5)), y.map(Math.abs));
  expect(edge.result.solved).toBe(false);
  expect(Number.isFinite(edge.result.residual)).toBe(true);
});
