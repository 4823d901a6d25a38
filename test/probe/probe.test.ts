import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { InputError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { difference, norm } from '../../src/linalg/vector.ts';
import type { ReferenceModel } from '../../src/model/reference.ts';
import { type ProbeResult, type ProbeTask, probe } from '../../src/probe/probe.ts';
import type { Vector } from '../../src/probe/requests.ts';
import { seededRandom } from '../support/agree.ts';
import { type TinyModel, tinyModel } from './tiny-model.ts';

let context: Context;
let tiny: TinyModel;
beforeAll(async () => {
  context = await testContext();
  tiny = await tinyModel(context, 6);
});
afterAll(() => {
  tiny.model.dispose();
  context.destroy();
});

const D = 16;
const PREFIX = Uint32Array.of(3, 1, 4, 1, 5);
const state = (seed: number, size = 3): Vector => Float64Array.from(seededRandom(seed).normal(D, size));
const some = (first: number, count: number, size?: number) =>
  Array.from({ length: count }, (_, i) => state(first + i, size));

/** |F(x) - y| / |y| of each free vector in float64, by the twin and nothing of the probe. */
function residuals(
  twin: ReferenceModel,
  { prefix, solutions }: ProbeResult,
  { targets }: ProbeTask,
  layer = 2,
  from = 0,
): number[] {
  const held = twin.prefix();
  twin.extend(twin.embed(prefix), held);
  return solutions.map(({ x }, i) => {
    const missing = norm(difference(twin.states(x, held, layer, from), targets[i])) / norm(targets[i]);
    if (from === 0) twin.extend(Float32Array.from(x), held);
    return missing;
  });
}

describe.each([
  ['without a prefix', undefined],
  ['behind a prefix', PREFIX],
])('%s', (_, prefix) => {
  test.each([
    ['the whole model', 2, 0, 3],
    ['up to the attention of the last block', 1.5, 0, 3],
    ['one block', 2, 1, 1],
    ['one MLP', 1, 0.5, 1],
    ['one attention', 1.5, 1, 1],
  ])('%s: targets are reached, and the residual told is the true one', async (_, layer, from, n) => {
    const tasks: ProbeTask[] = [
      { prefix, targets: some(1, n) },
      { prefix, targets: some(7, n, 30) },
    ];
    const results = await probe(tiny.model, tasks, { layer, from, twin: tiny.twin });
    results.forEach((result, i) => {
      expect(result.solved).toBe(true);
      expect(result.solutions.map(({ position }) => position)).toEqual(
        Array.from({ length: n }, (_, t) => (prefix?.length ?? 0) + t),
      );
      residuals(tiny.twin, result, tasks[i], layer, from).forEach((residual, t) => {
        const { exactResidual, residual: inF32, target, steps, work } = result.solutions[t];
        expect(residual).toBeLessThan(1e-5);
        expect(exactResidual).toBeCloseTo(residual, 12);
        expect(inF32).toBeLessThan(1e-5);
        expect(target).toBe(tasks[i].targets[t]);
        expect(steps).toHaveLength(2 * (layer - from));
        expect(work.rows).toBeGreaterThan(0);
      });
    });
  });
});

test('tasks of other prefixes and lengths run side by side, and each is as it is alone', async () => {
  const tasks: ProbeTask[] = [
    { targets: some(1, 2) },
    { prefix: PREFIX, targets: some(5, 1) },
    { prefix: PREFIX, targets: some(6, 1) },
    { prefix: PREFIX.subarray(1), targets: some(7, 3) },
  ];
  const { twin, model } = tiny;
  const together = await probe(model, tasks, { twin });
  for (const [i, task] of tasks.entries()) {
    const [alone] = await probe(model, [task], { twin });
    expect(together[i].prefix).toEqual(task.prefix ?? new Uint32Array());
    expect(Math.max(...residuals(twin, together[i], task))).toBeLessThan(1e-5);
    together[i].solutions.forEach(({ x }, t) => {
      expect(norm(difference(x, alone.solutions[t].x)) / norm(x)).toBeLessThan(1e-4);
    });
  }
});

test('it tells of its steps as they come, last first, and of each vector when it is found', async () => {
  const told: string[] = [];
  await probe(tiny.model, [{ targets: some(1, 2) }], {
    onStep: (task, n, name, report) =>
      told.push(`${task} ${n} ${name} ${report ? report.stage !== undefined : 'begins'}`),
    onSolution: (task, { position, solved }) => told.push(`${task} ${position} ${solved ? 'found' : 'not found'}`),
  });
  const names = ['h.1.mlp', 'h.1.attn', 'h.0.mlp', 'h.0.attn'];
  const of = (n: number) => [
    ...names.flatMap((name) => [`0 ${n} ${name} begins`, `0 ${n} ${name} true`]),
    `0 ${n} found`,
  ];
  expect(told).toEqual([...of(0), ...of(1)]);
});

test('without a twin the residual is that of f32, and float64 is not spoken of', async () => {
  const task = { prefix: PREFIX, targets: some(1, 1) };
  const [result] = await probe(tiny.model, [task]);
  const [{ residual, exactResidual }] = result.solutions;
  expect(exactResidual).toBeUndefined();
  expect(residual).toBeLessThan(1e-5);
  expect(residuals(tiny.twin, result, task)[0]).toBeLessThan(2e-5);
});

test('a target far smaller than what the block adds costs no more, and is reached as far as f32 can tell', async () => {
  const target = state(1, 0.003);
  const [{ solutions }] = await probe(tiny.model, [{ targets: [target] }], { layer: 1, from: 0.5, twin: tiny.twin });
  const [{ solved, x, exactResidual, residual, work }] = solutions;
  expect(solved).toBe(true);
  expect(work).toEqual({ rows: expect.any(Number), jacobians: 0 });
  const missing = norm(difference(tiny.twin.states(x, tiny.twin.prefix(), 1, 0.5), target)) / norm(target);
  expect(missing).toBeLessThan(1e-5);
  expect(exactResidual).toBeCloseTo(missing, 12);
  expect(residual).toBeGreaterThan(3e-6); // of so small a state, f32 does not tell more
});

test('stopped, it keeps the vectors it found and, of the one under way, the steps it had solved', async () => {
  const { liveBytes } = context.pool.statistics;
  const whole = await probe(tiny.model, [{ targets: some(1, 3) }]);
  for (const [vectors, steps] of [
    [0, 0],
    [0, 2],
    [1, 1],
  ]) {
    // biome-ignore format: a table
    const controller = new AbortController();
    let seen = 0;
    if (vectors + steps === 0) controller.abort();
    const [{ solutions, solved }] = await probe(tiny.model, [{ targets: some(1, 3) }], {
      signal: controller.signal,
      onStep: (_task, _n, _name, report) => {
        if (report && ++seen === 4 * vectors + steps) controller.abort();
      },
    });
    expect(solved).toBe(false);
    const last = solutions.at(-1);
    expect(solutions.map(({ solved }) => solved)).toEqual(
      vectors + steps === 0 ? [] : [...Array(vectors).fill(true), false],
    );
    expect(last?.steps.length ?? 0).toBe(steps);
    for (const [t, { x }] of solutions.slice(0, vectors).entries()) expect(x).toEqual(whole[0].solutions[t].x);
  }
  expect(context.pool.statistics.liveBytes).toBe(liveBytes);
});

test('a vector that cannot be found ends its task, not the others', async () => {
  const easy = state(1);
  const [hard, other] = await probe(tiny.model, [{ targets: [state(1, 0.3), easy] }, { targets: [easy, easy] }], {
    stages: ['broyden'],
  });
  expect(hard.solved).toBe(false);
  expect(hard.solutions).toHaveLength(1);
  expect(hard.solutions[0]).toMatchObject({ solved: false, exactResidual: undefined });
  expect(hard.solutions[0].residual).toBeGreaterThan(1e-6);
  expect(other.solved).toBe(true);
});

test('no tasks are no results', async () => {
  expect(await probe(tiny.model, [])).toEqual([]);
});

describe('refuses, before it begins,', () => {
  const nan = state(1);
  nan[7] = Number.NaN;
  test.each<[string, ProbeTask, { layer?: number; from?: number }, RegExp]>([
    ['no target', { targets: [] }, {}, /There is no target/],
    ['a target of another width', { targets: [state(1), state(1).subarray(1)] }, {}, /15 elements.* have 16/],
    ['NaN', { targets: [state(1), nan] }, {}, /NaN/],
    ['infinity', { targets: [state(1).fill(Number.POSITIVE_INFINITY)] }, {}, /infinity/],
    ['zero, of which a residual is no share', { targets: [state(1), new Float64Array(D)] }, {}, /target is zero/],
    [
      'more than the context',
      { prefix: PREFIX, targets: some(1, 8) },
      {},
      /5 tokens and 8 free .* 12 .* Leave out 1\./,
    ],
    ['a token that is none', { prefix: Uint32Array.of(31), targets: some(1, 1) }, {}, /31/],
    ['two vectors behind the input', { targets: some(1, 2) }, { from: 0.5 }, /2 free vectors .* place 0.5/],
    ['a layer that is none', { targets: some(1, 1) }, { layer: 2.5 }, /no residual state at 2.5/],
    ['a quarter of a block', { targets: some(1, 1) }, { from: 0.25 }, /no residual state at 0.25/],
    ['no step at all', { targets: some(1, 1) }, { layer: 0 }, /no step from place 0 to 0/],
    ['targets before the vectors', { targets: some(1, 1) }, { layer: 0.5, from: 1 }, /no step from place 1 to 0.5/],
  ])('%s', async (_, task, options, message) => {
    const { liveBytes } = context.pool.statistics;
    const result = probe(tiny.model, [{ targets: some(1, 1) }, task], options);
    await expect(result).rejects.toThrow(InputError);
    await expect(result).rejects.toThrow(message);
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
  });
});
