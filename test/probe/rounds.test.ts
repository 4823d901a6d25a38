import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { testContext } from '#context';
import { linearizeRows } from '../../src/autograd/rows.ts';
import type { Context } from '../../src/gpu/context.ts';
import { add } from '../../src/ops/elementwise.ts';
import { ask, type Search, type Vector } from '../../src/probe/requests.ts';
import { type RoundsOptions, type Run, runRounds } from '../../src/probe/rounds.ts';
import type { RowMap } from '../../src/probe/row-map.ts';
import { type ChainSolution, solveChain } from '../../src/probe/solve-chain.ts';
import { upload } from '../../src/tensor/tensor.ts';
import { seededRandom } from '../support/agree.ts';
import { cubicMap, failing, sigmoidMap } from './own-maps.ts';
import { AXIS } from './scalar-maps.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const vector = (seed: number, d: number): Vector => Float64Array.from(seededRandom(seed).normal(d, 3));
const runs = <T>(searches: readonly Search<T>[]): Run<T>[] => searches.map((search) => ({ slot: 0, search }));
const solutions = (results: readonly (ChainSolution | undefined)[]) =>
  results.map(
    (one) => one && { x: [...one.x], residual: one.residual, refinements: one.refinements, steps: one.steps },
  );

/** Targets that take each of the stages; roots 1, 2, 3 along the axis. */
const targets = [4, 0.2, 20, 2.6].map((level) => Float64Array.from(AXIS, (u, i) => level * u + [3, 2, 0][i]));
const hard = () => [cubicMap(context, [1, 2, 3], 4), sigmoidMap(context, 1, 3, 2).map];

test('solves side by side give, bit for bit, what each gives alone, at the same price', async () => {
  const steps = hard();
  const search = (y: Vector) => solveChain({ steps }, y);
  const together = await runRounds(runs(targets.map(search)), { context, chain: { steps } });
  const stages = new Set(together.results.flatMap((one) => one!.steps.map(({ stage }) => stage)));
  expect(stages.size).toBeGreaterThan(1);
  for (const [i, y] of targets.entries()) {
    const alone = await runRounds(runs([search(y)]), { context, chain: { steps } });
    expect(solutions(alone.results)).toEqual(solutions([together.results[i]]));
    expect(alone.work).toEqual([together.work[i]]);
  }
});

test('a round is one round trip, whatever is asked of however many steps', async () => {
  const steps = [sigmoidMap(context, 1, 3, 1).map, sigmoidMap(context, 2, 3, 1).map];
  function* asking(first: number): Search<number[]> {
    const lengths: number[] = [];
    for (const kind of ['value', 'linearize', 'jacobian'] as const) {
      const reply = yield* ask({ kind, step: (first + lengths.length) % 2, x: vector(first, 3) });
      lengths.push('rows' in reply ? reply.rows.length : reply.length);
    }
    return lengths;
  }
  const read = vi.spyOn(context, 'read');
  const onRound = vi.fn();
  const { results, work } = await runRounds(runs([0, 1, 2, 3].map(asking)), { context, chain: { steps }, onRound });
  expect(results).toEqual([0, 1, 2, 3].map(() => [3, 3, 3]));
  expect(work).toEqual([0, 1, 2, 3].map(() => ({ rows: 1 + 1 + 4, jacobians: 1 })));
  expect(read).toHaveBeenCalledTimes(3);
  expect(onRound).toHaveBeenCalledTimes(4); // the last is told that all have ended
  read.mockRestore();
});

test('more rows than one batch takes, each with the prefix of its own', async () => {
  /** x + slot */
  const add1 = (rows: Parameters<RowMap['states']>[0], slots: Uint32Array) =>
    add(rows, upload(rows.context, Float32Array.from(slots), [slots.length, 1]));
  const map: RowMap = {
    name: 'slots',
    width: 1,
    states: add1,
    linearize: (rows, slots) => linearizeRows((x) => add1(x, slots), rows),
  };
  const count = 4096 + 5;
  for (const kind of ['value', 'linearize'] as const) {
    const searches = Array.from({ length: count }, (_, slot) => ({
      slot,
      search: ask({ kind, step: 0, x: Float64Array.of(0.5) }),
    }));
    const { results } = await runRounds(searches, { context, chain: { steps: [map] } });
    expect(results.every((x, slot) => x![0] === slot + 0.5)).toBe(true);
  }
  const jacobians = Array.from({ length: 40 }, (_, slot) => ({
    slot,
    search: ask({ kind: 'jacobian', step: 0, x: Float64Array.of(0.5) }),
  }));
  const { results } = await runRounds(jacobians, { context, chain: { steps: [map] } });
  results.forEach((one, slot) => {
    expect([...one!.value, ...one!.rows[0]]).toEqual([slot + 0.5, 1]);
  });
});

test('no runs are no work', async () => {
  expect(await runRounds([], { context, chain: { steps: [] } })).toEqual({ results: [], work: [] });
});

describe('leaves no buffer behind', () => {
  /** Bytes on loan after a run, above those before. */
  async function left(chain: RoundsOptions['chain'], options: Partial<RoundsOptions> = {}): Promise<number> {
    const { liveBytes } = context.pool.statistics;
    const searches = targets
      .slice(0, 3)
      .map((y, i) => solveChain(chain, y, i === 1 ? {} : { stages: ['gmres', 'lu'] }));
    await runRounds(runs(searches), { context, chain, ...options }).catch(() => {});
    return context.pool.statistics.liveBytes - liveBytes;
  }

  test('when all is done', async () => {
    expect(await left({ steps: hard() })).toBe(0);
  });

  test.each([0, 1, 2, 5, 12, 30])('when it is stopped after round %i', async (rounds) => {
    const controller = new AbortController();
    let count = 0;
    if (rounds === 0) controller.abort();
    const onRound = () => {
      if (++count === rounds) controller.abort();
    };
    expect(await left({ steps: hard() }, { signal: controller.signal, onRound })).toBe(0);
    expect(count).toBe(rounds);
  });

  test.each([
    ['states', 3],
    ['linearize', 1],
    ['linearize', 4],
    ['jvp', 1],
    ['jvp', 7],
    ['jacobians', 1],
    ['jacobians', 2],
  ] as const)('when %s fails at call %i', async (method, call) => {
    const [first, last] = hard();
    expect(await left({ steps: [first, failing(last, method, call)] })).toBe(0);
  });

  test('when a derivative fails while others are on their way', async () => {
    const [first, last] = hard();
    const steps = [first, failing(last, 'jvp', 1)];
    function* asking(step: number): Search<Vector> {
      yield* ask({ kind: 'linearize', step, x: targets[0] });
      return yield* ask({ kind: 'jvp', tangent: targets[0] });
    }
    const { liveBytes } = context.pool.statistics;
    await expect(runRounds(runs([asking(0), asking(1)]), { context, chain: { steps } })).rejects.toThrow('jvp fails');
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
  });

  test('when a search itself fails', async () => {
    const steps = hard();
    function* broken(): Search<ChainSolution> {
      yield* ask({ kind: 'linearize', step: 0, x: targets[0] });
      throw new Error('of the search');
    }
    const { liveBytes } = context.pool.statistics;
    const searches = [solveChain({ steps }, targets[2], { stages: ['gmres'] }), broken()];
    await expect(runRounds(runs(searches), { context, chain: { steps } })).rejects.toThrow('of the search');
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
  });
});

test('what was done by the time it is stopped is kept, the rest is undefined', async () => {
  const steps = hard();
  const controller = new AbortController();
  const quick = sigmoidMap(context, 3, 3, 0.01).map;
  const chain = { steps: [quick, ...steps] };
  const easy = ask({ kind: 'value', step: 0, x: targets[0] });
  const long = solveChain(chain, targets[2]);
  let rounds = 0;
  const { results, work } = await runRounds<unknown>(runs<unknown>([easy, long]), {
    context,
    chain,
    signal: controller.signal,
    onRound: () => {
      if (++rounds === 3) controller.abort();
    },
  });
  expect(results[0]).toBeInstanceOf(Float64Array);
  expect(results[1]).toBeUndefined();
  expect(work.map(({ rows }) => rows)).toEqual([1, 3]);
});
