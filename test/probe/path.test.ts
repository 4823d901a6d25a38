import { describe, expect, test } from 'vitest';
import { factored } from '../../src/linalg/lu.ts';
import { difference, norm } from '../../src/linalg/vector.ts';
import { followPath, type PathOptions } from '../../src/probe/path.ts';
import type { Vector } from '../../src/probe/requests.ts';
import { type Float64Step, searched } from './float64-search.ts';
import { AXIS, along, cubic, cubicOfOneRoot, disguised } from './scalar-maps.ts';

/** A target at this place along the axis, and somewhere across it. */
const targetAt = (level: number): Vector => Float64Array.from(AXIS, (u, i) => level * u + [0.3, 0.2, 0][i]);

function followed(step: Float64Step, y: Vector, options: Partial<PathOptions> & { start?: Vector } = {}) {
  const { start, ...rest } = options;
  const problem = { step: 0, y, start, tolerance: 1e-10, floor: 1e-10 };
  const search = followPath(problem, { corrector: 'lu', longestStep: 0.3, budget: 3000, ...rest });
  const { result, asked } = searched(search, [step]);
  return { ...result, asked };
}

const STEPS = (['lu', 'gmres'] as const).flatMap((corrector) =>
  [1, 0.3, 0.1].map((longestStep) => ({ corrector, longestStep })),
);

describe.each(STEPS)('by $corrector, steps up to $longestStep', (how) => {
  test('the one preimage behind two folds is found, where the path has turned in s as often back as forth', () => {
    const step = disguised(cubicOfOneRoot(1, -1, 1, 0.3), 3);
    const y = targetAt(3);
    const told: number[] = [];
    const { crossings, points, folds, asked } = followed(step, y, { ...how, onPoint: ({ s }) => told.push(s) });
    expect(crossings).toHaveLength(1);
    const [{ x, residual, direction }] = crossings;
    expect(along(x)).toBeCloseTo(-1, 8);
    expect(norm(difference(step.g(x), y)) / norm(y)).toBeLessThan(1e-10);
    expect(residual).toBeCloseTo(norm(difference(step.g(x), y)) / norm(y), 14);
    expect(direction).toBe(1);
    expect(points[0]).toEqual({ s: 0, arclength: 0 });
    expect(points.at(-1)!.s).toBe(1);
    expect(points.slice(1).every(({ arclength }, i) => arclength > points[i].arclength)).toBe(true);
    expect(told).toEqual(points.slice(1).map(({ s }) => s));
    expect(folds % 2).toBe(0);
    if (how.corrector === 'lu') expect(folds).toBe(2);
    expect(asked.jacobians > 0).toBe(how.corrector === 'lu');
  });

  test('three preimages on one path: followed past s = 1 it meets them all, forwards where det Dg > 0', () => {
    const step = disguised(cubic(1, 1, 2, 3), 4);
    const y = targetAt(4);
    const { crossings, folds } = followed(step, y, { ...how, beyond: 1.5 });
    expect(crossings.map(({ x }) => Math.round(1e7 * along(x)) / 1e7)).toEqual([3, 2, 1]);
    expect(crossings.map(({ direction }) => direction)).toEqual([1, -1, 1]);
    for (const { x, direction } of crossings) {
      expect(norm(difference(step.g(x), y)) / norm(y)).toBeLessThan(1e-10);
      expect(factored(step.jacobian(x)).sign).toBe(direction);
    }
    expect(folds).toBe(2);
    expect(followed(step, y, how).crossings.map(({ x }) => Math.round(1e7 * along(x)) / 1e7)).toEqual([3]);
  });

  test('a map that is NaN somewhere is walked up to there, and one that is NaN everywhere is given up at once', () => {
    const wall: Float64Step = { ...identity, g: (x) => x.map((value) => value - Math.sqrt(1 - value)) };
    const { crossings, points } = followed(wall, Float64Array.of(0.9, 0.9, 0.9), how);
    expect(crossings).toHaveLength(0);
    expect(points.every(({ s }) => s < 1)).toBe(true);
    const none = followed({ ...identity, g: (x) => x.map(() => Number.NaN) }, targetAt(3), how);
    expect(none.crossings).toHaveLength(0);
    expect(none.asked.rows).toBeLessThan(100);
  });

  test('a budget of rows ends it, with what it has', () => {
    const step = disguised(cubicOfOneRoot(1, -1, 1, 0.3), 3);
    const { crossings, points, last, asked } = followed(step, targetAt(3), { ...how, budget: 30 });
    expect(crossings).toHaveLength(0);
    expect(asked.rows).toBeGreaterThanOrEqual(30);
    expect(asked.rows).toBeLessThan(90); // the step that was under way
    expect(last.w[3]).toBe(points.at(-1)!.s);
  });
});

const identity: Float64Step = {
  g: (x) => x,
  jacobian: (x) => Array.from(x, (_, i) => Float64Array.from(x, (_, j) => (i === j ? 1 : 0))),
};

test('what already maps to itself is found where it stands', () => {
  for (const corrector of ['lu', 'gmres'] as const) {
    const y = targetAt(3);
    const [{ x, residual }] = followed(identity, y, { corrector }).crossings;
    expect([...x]).toEqual([...y].map((value) => expect.closeTo(value, 10)));
    expect(residual).toBeLessThan(1e-10);
  }
});

test('from another start than y it leads to a preimage too, one with det Dg > 0', () => {
  const step = disguised(cubic(1, 1, 2, 3), 4);
  const y = targetAt(4);
  for (const start of [targetAt(-1), targetAt(2.5), Float64Array.of(5, 5, 5)]) {
    const [{ x }] = followed(step, y, { start }).crossings;
    expect(norm(difference(step.g(x), y)) / norm(y)).toBeLessThan(1e-10);
    expect(factored(step.jacobian(x)).sign).toBe(1);
  }
});

test('a path that was left half way is gone on with by Jacobians', () => {
  const step = disguised(cubicOfOneRoot(1, -1, 1, 0.3), 3);
  const y = targetAt(3);
  const half = followed(step, y, { corrector: 'gmres', longestStep: 0.1, budget: 150 });
  expect(half.crossings).toHaveLength(0);
  const rest = followed(step, y, { resume: half });
  expect(rest.points.slice(0, half.points.length)).toEqual(half.points);
  expect(rest.points.length).toBeGreaterThan(half.points.length);
  expect(along(rest.crossings[0].x)).toBeCloseTo(-1, 8);
});

test('a place with the wrong orientation is not gone on from', () => {
  const step = disguised(cubic(1, 1, 2, 3), 4);
  const y = targetAt(4);
  const { last, points } = followed(step, y, { beyond: 1.5, budget: 100 });
  const back = { w: last.w, tangent: last.tangent.map((value) => -value) };
  expect(followed(step, y, { resume: { last: back, points } })).toMatchObject({ crossings: [], jumps: 1, points });
});
