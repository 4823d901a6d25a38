import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import type { Context } from '../../src/gpu/context.ts';
import { dot } from '../../src/linalg/dense.ts';
import { factored } from '../../src/linalg/lu.ts';
import { difference, norm, plus } from '../../src/linalg/vector.ts';
import { matmul } from '../../src/ops/matmul.ts';
import { determinantSigns } from '../../src/probe/inspect.ts';
import { followPath } from '../../src/probe/path.ts';
import type { Vector } from '../../src/probe/requests.ts';
import { runRounds } from '../../src/probe/rounds.ts';
import { rowMap } from '../../src/probe/row-map.ts';
import { type Stage, solveStep } from '../../src/probe/solve.ts';
import { type ChainOptions, solveChain } from '../../src/probe/solve-chain.ts';
import { upload } from '../../src/tensor/tensor.ts';
import { seededRandom } from '../support/agree.ts';
import { searched } from './float64-search.ts';
import { cubicMap, type OwnMap, sigmoidMap } from './own-maps.ts';
import { AXIS, along, cubicOfOneRoot, disguised } from './scalar-maps.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

/** Its one root lies behind two folds. */
const folded = disguised(cubicOfOneRoot(1, -1, 1, 0.3), 3);
const y = Float64Array.from(AXIS, (u, i) => 3 * u + [0.3, 0.2, 0][i]);
const problem = { step: 0, y, tolerance: 1e-10, floor: 1e-10 };

describe('a step', () => {
  test.each<[readonly Stage[] | undefined, readonly Stage[], number]>([
    [undefined, ['broyden', 'gmres', 'lu'], 1],
    [['lu'], ['lu'], 0],
    [['lu', 'broyden'], ['broyden', 'lu'], 0],
  ])('that folds, with stages %s: takes %s, and the report says how', (stages, taken, restarts) => {
    const begun: Stage[] = [];
    const watch = { onStage: (stage: Stage) => begun.push(stage) };
    const { result, asked } = searched(solveStep(problem, 'folded', stages, watch), [folded]);
    const { x, report, inverse } = result;
    expect(along(x)).toBeCloseTo(-1, 8);
    expect(begun).toEqual(taken);
    expect(report).toMatchObject({
      name: 'folded',
      stage: 'lu',
      restarts,
      distance: expect.closeTo(norm(difference(x, y)), 10),
    });
    expect(report.residual).toBeCloseTo(norm(difference(folded.g(x), y)) / norm(y), 14);
    expect(report.path[0]).toEqual({ s: 0, arclength: 0 });
    expect(report.path.at(-1)!.s).toBe(1);
    expect(asked.jacobians).toBeGreaterThan(0);
    expect(inverse).toBeUndefined();
  });

  test('that no stage can find ends with the best point of Broyden, in bounded time', () => {
    const stuck = { g: (x: Vector) => x.map(Math.abs), jacobian: (x: Vector) => diagonal(x.map(Math.sign)) };
    const { result, asked } = searched(solveStep({ ...problem, y: Float64Array.of(-3, 4, 0.5) }, 'stuck'), [stuck]);
    expect(result.report.stage).toBeUndefined();
    expect(result.report.residual).toBeCloseTo(
      norm(difference(stuck.g(result.x), Float64Array.of(-3, 4, 0.5))) / norm(Float64Array.of(-3, 4, 0.5)),
      12,
    );
    expect(asked.rows).toBeLessThan(35_000);
  });

  test('that gives NaN everywhere is given up, soon', () => {
    const nowhere = {
      g: (x: Vector) => x.map(() => Number.NaN),
      jacobian: (x: Vector) => diagonal(x.map(() => Number.NaN)),
    };
    const { result, asked } = searched(solveStep(problem, 'nowhere'), [nowhere]);
    expect(result.report.stage).toBeUndefined();
    expect(asked.rows).toBeLessThan(300);
  });

  test('without any stage is not found', () => {
    const { result, asked } = searched(solveStep(problem, 'folded', []), [folded]);
    expect(result).toMatchObject({
      x: y,
      report: { stage: undefined, residual: Number.POSITIVE_INFINITY, restarts: 0 },
    });
    expect(asked.rows).toBe(0);
  });
});

const diagonal = (values: Vector) =>
  Array.from(values, (value, i) => Float64Array.from(values, (_, j) => (i === j ? value : 0)));

async function solved(maps: readonly OwnMap[], target: Vector, options: ChainOptions & { isBlind?: boolean } = {}) {
  const { isBlind, ...rest } = options;
  const exact = (x: Vector) => maps.reduce((state, { twin }) => twin(state), x);
  const chain = { steps: maps.map(({ map }) => map), twin: isBlind ? undefined : exact };
  const runs = [{ slot: 0, search: solveChain(chain, target, rest) }];
  const { results, work } = await runRounds(runs, { context, chain });
  const missing = norm(difference(exact(results[0]!.x), target)) / norm(target);
  return { solution: results[0]!, missing, work: work[0] };
}

test('a path on the GPU, past s = 1: three crossings between two folds, in f32', async () => {
  const chain = { steps: [cubicMap(context, [1, 2, 3], 4)] };
  const target = Float64Array.from(AXIS, (u, i) => 4 * u + [0.3, 0.2, 0][i]);
  const search = followPath(
    { step: 0, y: target, tolerance: 4e-7, floor: 3e-6 },
    { corrector: 'lu', longestStep: 0.3, budget: 3000, beyond: 1.5 },
  );
  const { results } = await runRounds([{ slot: 0, search }], { context, chain });
  const { crossings, folds } = results[0]!;
  expect(crossings.map(({ x }) => along(x).toFixed(4))).toEqual(['3.0000', '2.0000', '1.0000']);
  expect(crossings.map(({ direction }) => direction)).toEqual([1, -1, 1]);
  expect(folds).toBe(2);
});

describe("a chain of a user's own operations", () => {
  const own = () => [1, 2, 3].map((seed) => sigmoidMap(context, seed, 7, 4));
  const target = Float64Array.from(seededRandom(9).normal(7));

  test('is solved from its last step to its first, and verified in float64', async () => {
    const { solution, missing } = await solved(own(), target);
    expect(solution.solved).toBe(true);
    expect(solution.steps.map(({ name }) => name)).toEqual(['sigmoid 3', 'sigmoid 2', 'sigmoid 1']);
    expect(missing).toBeLessThan(5e-7);
    expect(solution.exactResidual).toBeCloseTo(missing, 12);
  });

  test('is refined as far as asked, beyond what f32 can tell', async () => {
    const { solution, missing } = await solved(own(), target, { tolerance: 1e-10 });
    expect(missing).toBeLessThan(1e-8);
    expect(solution.exactResidual).toBeCloseTo(missing, 14);
    expect(solution.refinements).toBeGreaterThan(0);
    const paths = await solved(own(), target, { tolerance: 1e-10, stages: ['gmres'] });
    expect(paths.solution.steps.every(({ stage }) => stage === 'gmres')).toBe(true);
    expect(paths.missing).toBeLessThan(1e-6);
  });

  test('without a float64 twin tells the residual of f32 alone', async () => {
    const { solution, missing } = await solved(own(), target, { isBlind: true });
    expect(solution.exactResidual).toBeUndefined();
    expect(solution.residual).toBeLessThan(3e-6);
    expect(missing).toBeLessThan(3e-6);
  });

  test('reaches the origin too: of it the residual is |F(x)| itself', async () => {
    const { solution } = await solved(own(), new Float64Array(7));
    expect(solution.solved).toBe(true);
    expect(solution.exactResidual).toBeLessThan(5e-6);
  });

  test('ends at the step that cannot be solved', async () => {
    const { solution } = await solved(own(), target, { stages: [] });
    expect(solution).toMatchObject({ solved: false, exactResidual: undefined, refinements: 0, x: target });
    expect(solution.steps).toHaveLength(1);
  });
});

test('a chain nearly singular at its end is refined: a small share of a long correction is too much to leave', async () => {
  const d = 24;
  const { normal } = seededRandom(3);
  const random = () => Float64Array.from(normal(d, 1 / Math.sqrt(d)));
  const identity = diagonal(new Float64Array(d).fill(1));
  const u = random();
  const first = identity.map((row) => plus(row, random(), 0.5));
  const flat = identity.map((row, i) => plus(row, u, (-0.9 * u[i]) / dot(u, u))); // 0.1 along u
  const maps = [first, flat, flat].map((a) => linearMap(a));
  const { missing } = await solved(maps, random(), { tolerance: 1e-10 });
  expect(missing).toBeLessThan(1e-9);
});

/** x -> A x, of row i of A output i. */
function linearMap(a: readonly Vector[]): OwnMap {
  const rounded = a.map((row) => Float32Array.from(row));
  const weights = Float32Array.from(rounded.flatMap((row) => [...row]));
  return {
    map: rowMap('linear', a.length, (rows) =>
      matmul(rows, upload(context, weights, [a.length, a.length]), { transposeB: true }),
    ),
    twin: (x) => Float64Array.from(rounded, (row) => row.reduce((sum, value, i) => sum + value * x[i], 0)),
  };
}

/** The sign of det Dg by central differences. */
function signOf(g: (x: Vector) => Vector, x: Vector): number {
  const h = 1e-6;
  const columns = Array.from(x, (_, i) => {
    const moved = (by: number) => g(x.map((value, j) => value + (i === j ? by : 0)));
    const [right, left] = [moved(h), moved(-h)];
    return right.map((value, j) => (value - left[j]) / (2 * h));
  });
  return factored(Array.from(x, (_, j) => Float64Array.from(columns, (column) => column[j]))).sign;
}

test('signs of determinants are those of central differences, a step at a time, at 1 + d rows each', async () => {
  const d = 5;
  const own = [1, 2].map((seed) => sigmoidMap(context, seed, d, 12));
  const chain = { steps: own.map(({ map }) => map) };
  const points = Array.from({ length: 24 }, (_, i) => Float64Array.from(seededRandom(i).normal(d)));
  const runs = points.map((x) => ({ slot: 0, search: determinantSigns(chain, x) }));
  const { results, work } = await runRounds(runs, { context, chain });
  results.forEach((signs, i) => {
    expect(signs).toEqual([signOf(own[0].twin, points[i]), signOf(own[1].twin, own[0].twin(points[i]))]);
    expect(work[i]).toEqual({ rows: 2 * (1 + d), jacobians: 2 });
  });
  expect(new Set(results.flatMap((signs) => signs!)).size).toBe(2);
});
