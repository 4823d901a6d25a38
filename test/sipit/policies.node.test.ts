import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { InputError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { forward } from '../../src/model/forward.ts';
import { type LoadedModel, loadModel, openModel } from '../../src/model/load.ts';
import { countFrom } from '../../src/model/model.ts';
import { newPositionMap } from '../../src/model/position-map.ts';
import { add } from '../../src/ops/elementwise.ts';
import { embedding } from '../../src/ops/embedding.ts';
import { rmsError } from '../../src/reference/agree.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { searchByPolicy } from '../../src/sipit/by-policy.ts';
import { costMeter } from '../../src/sipit/cost.ts';
import { norm } from '../../src/sipit/decision.ts';
import { gradientPolicy, type Policy, policies, randomPolicy, type Step } from '../../src/sipit/policy.ts';
import type { InvertOptions, PositionResult, StateRecord } from '../../src/sipit/types.ts';
import { read, take, upload } from '../../src/tensor/tensor.ts';

let context: Context;
let books: LoadedModel; // the default model
let tiny: LoadedModel; // vocabulary 97, d 24, 3 layers
const load = async (folder: string) => loadModel(context, await openModel(checkoutSource(folder)));
beforeAll(async () => {
  context = await testContext();
  [books, tiny] = [await load('weights'), await load('test/data/gpt2-tanh')];
});
afterAll(() => {
  books.dispose();
  tiny.dispose();
  context.destroy();
});

const IDS = Uint32Array.of(3, 96, 41, 0, 41);

async function statesOf(model: LoadedModel, ids: Uint32Array, layer: number): Promise<StateRecord> {
  const states = forward(model, ids, { layer });
  const values = await read(states);
  states.dispose();
  return { values, width: model.config.width, layer, dtype: 'F32' };
}

/** A search with a radius that has room for the rounding of f32. */
function search(model: LoadedModel, record: StateRecord, policy: Policy, options: InvertOptions = {}) {
  const row = (t: number) => record.values.subarray(t * record.width, (t + 1) * record.width);
  return searchByPolicy(model, record, policy, options, (t) => 1e-4 * norm(row(t)));
}

function expectTrueTokens(positions: readonly PositionResult[], ids: Uint32Array): void {
  expect(positions.map(({ token }) => token)).toEqual([...ids]);
  for (const { verdict, reason, distance, radius, runnerUp, margin, candidates, rivals } of positions) {
    expect([verdict, reason]).toEqual(['accepted', undefined]);
    expect(distance).toBeLessThanOrEqual(radius);
    expect(margin).toBeCloseTo(runnerUp!.distance - distance);
    expect(rivals).toBeLessThan(candidates);
  }
}

/** A policy that proposes the same at every position. */
const proposing = (...batches: Iterable<number>[]): Policy => ({
  name: 'mine',
  async *candidates() {
    yield* batches;
  },
});

/** A policy that shows a test what it is shown, before it proposes the true token. */
const watching = (ids: Uint32Array, watch: (step: Step) => Promise<void>): Policy => ({
  name: 'watching',
  async *candidates(step) {
    await watch(step);
    yield [ids[step.position]];
  },
});

describe('every policy recovers every token', () => {
  const names = Object.keys(policies) as (keyof typeof policies)[];
  test.each(['gpt2-tanh', 'gpt2-massive', 'gptneo'])('%s', async (folder) => {
    const model = await load(`test/data/${folder}`);
    onTestFinished(() => model.dispose());
    for (const layer of [0, 1, model.config.layers]) {
      const record = await statesOf(model, IDS, layer);
      for (const name of names) expectTrueTokens((await search(model, record, policies[name])).positions, IDS);
    }
  });

  test.each([1, 3])('the default model by gradient, layer %i', async (layer) => {
    const ids = books.tokenizer!.encode('We sailed at dawn.');
    const { positions } = await search(books, await statesOf(books, ids, layer), policies.gradient);
    expectTrueTokens(positions, ids);
    // As published: some 0.2 % of the vocabulary.
    for (const { candidates, rivals } of positions) expect(candidates - rivals).toBeLessThan(40);
  });

  test('states whose first row stands at a later position', async () => {
    const firstPosition = 7;
    const map = newPositionMap(tiny, 2, { capacity: IDS.length });
    const states = context.scope(() =>
      map.extend(tiny.embed(IDS, countFrom(firstPosition, IDS.length)), [{ slot: 0, count: IDS.length }]),
    );
    const record: StateRecord = { values: await read(states), width: 24, layer: 2, dtype: 'F32', firstPosition };
    states.dispose();
    map.cache.dispose();
    for (const name of names) expectTrueTokens((await search(tiny, record, policies[name])).positions, IDS);
    const { positions } = await search(tiny, { ...record, firstPosition: 0 }, policies['likely-first']);
    expect(positions[0].verdict).toBe('not found');
  });
});

/** The embedding rows 0, 1, 2, ... on a line, and an objective with the same slope everywhere. */
function lineOfTokens(vocabularySize: number, slope: number) {
  const tried = new Map<number, number>();
  const proxies: number[] = [];
  const step: Step = {
    vocabularySize,
    batch: 1024,
    position: 4,
    tried,
    nearest: undefined,
    logits: async () => undefined,
    embeddingDistances: async () => new Float32Array(vocabularySize),
    tokenRow: async (token) => Float32Array.of(token),
    async gradient([e]) {
      proxies.push(e);
      return Float32Array.of(slope);
    },
    async nearestUntried([e]) {
      const untried = Array.from({ length: vocabularySize }, (_, token) => token).filter((token) => !tried.has(token));
      return untried.sort((a, b) => Math.abs(a - e) - Math.abs(b - e) || a - b)[0];
    },
  };
  return { step, tried, proxies };
}

describe('the gradient policy, as published', () => {
  test('every proposal is alone, and none is made twice', async () => {
    const { step, tried } = lineOfTokens(130, 0.25);
    for await (const tokens of policies.gradient.candidates(step)) {
      const [token, ...others] = tokens;
      expect(others).toEqual([]);
      expect(tried.has(token)).toBe(false);
      tried.set(token, 1);
    }
    expect(tried.size).toBe(130);
  });

  test.each([
    [0.25, 0.25],
    [1, 1],
    [30, 1],
    [-1e20, -1],
    [0, 0],
  ])('a gradient of %d makes a step of %d', async (slope, size) => {
    const { step, tried, proxies } = lineOfTokens(1000, slope);
    for await (const [token] of policies.gradient.candidates(step)) {
      tried.set(token, 1);
      if (tried.size === 40) break;
    }
    proxies.forEach((proxy, i) => {
      expect(proxy).toBeCloseTo(proxies[0] - i * size, 3);
    });
  });

  test('after every 50 proposals the proxy is put on the nearest untried row', async () => {
    // No slope: a proxy stays where it was put, while the tokens around it are tried, of two equally near the lower.
    const { step, tried, proxies } = lineOfTokens(1000, 0);
    for await (const [token] of gradientPolicy(2).candidates(step)) {
      tried.set(token, 1);
      if (tried.size === 101) break;
    }
    const start = proxies[0];
    expect(start).toBeGreaterThan(100);
    expect(start).toBeLessThan(900);
    // First start - 25 .. start + 24 are tried, then start + 25 .. start + 74.
    const times = (count: number, proxy: number) => new Array(count).fill(proxy);
    expect(proxies).toEqual([...times(50, start), ...times(50, start + 25), start + 75]);
  });

  test('proxies start at random tokens, one for each position and seed', async () => {
    const starts = new Set<number>();
    for (const [seed, position] of [
      [0, 0],
      [0, 1],
      [5, 0],
    ]) {
      const { step, proxies } = lineOfTokens(1e6, 0);
      for await (const _ of gradientPolicy(seed).candidates({ ...step, position, nearestUntried: async () => 0 }))
        break;
      expect(Number.isInteger(proxies[0])).toBe(true);
      starts.add(proxies[0]);
    }
    expect(starts.size).toBe(3);
  });
});

describe('the random policy, as published', () => {
  async function orderOf(policy: Policy, position: number): Promise<[order: number[], largestBatch: number]> {
    const batches: number[][] = [];
    for await (const tokens of policy.candidates({ ...lineOfTokens(257, 0).step, position })) {
      batches.push(Array.from(tokens));
    }
    return [batches.flat(), Math.max(...batches.map(({ length }) => length))];
  }

  test('one permutation of the vocabulary, one candidate at a time, the same at every position', async () => {
    const [order, batch] = await orderOf(policies.random, 0);
    expect(batch).toBe(1);
    expect([...order].sort((a, b) => a - b)).toEqual([...countFrom(0, 257)]);
    expect(order).not.toEqual([...countFrom(0, 257)]);
    expect(await orderOf(policies.random, 9)).toEqual([order, 1]);
    expect(await orderOf(randomPolicy({ batch: 10 }), 0)).toEqual([order, 10]);
    expect((await orderOf(randomPolicy({ seed: 1 }), 0))[0]).not.toEqual(order);
  });

  test('every token comes first about as often', async () => {
    const counts = new Array(257).fill(0);
    for (let seed = 0; seed < 2570; seed++) {
      for await (const [token] of randomPolicy({ seed }).candidates(lineOfTokens(257, 0).step)) {
        counts[token]++;
        break;
      }
    }
    // 10 expected of each; that one of 257 comes to 27 is unlikelier than 1 in 1000.
    expect(Math.max(...counts)).toBeLessThan(27);
  });

  test('what it tries until the true token is what is counted', async () => {
    const record = await statesOf(tiny, IDS, 1);
    const [{ candidates, rivals }] = (await search(tiny, record, policies.random)).positions;
    const order: number[] = [];
    for await (const tokens of policies.random.candidates({ ...lineOfTokens(97, 0).step })) order.push(...tokens);
    expect(candidates - rivals).toBe(order.indexOf(IDS[0]) + 1);
  });
});

describe('what a policy is shown', () => {
  /** Looks at every position of the tiny model, layer 2. */
  async function look(watch: (step: Step, observed: Float32Array) => Promise<void>): Promise<void> {
    const record = await statesOf(tiny, IDS, 2);
    let seen = 0;
    const policy = watching(IDS, async (step) => {
      expect(step).toMatchObject({ position: seen++, vocabularySize: 97, batch: 1024, nearest: undefined });
      await watch(step, record.values.subarray(24 * step.position, 24 * (step.position + 1)));
    });
    expectTrueTokens((await search(tiny, record, policy)).positions, IDS);
    expect(seen).toBe(IDS.length);
  }

  test('the gradient of half the squared distance at a free row', async () => {
    const { normal } = seededRandom(3);
    /** 1/2 |F(e) - h|^2 behind the first tokens. */
    async function objective(e: Float32Array, position: number, observed: Float32Array): Promise<number> {
      const map = newPositionMap(tiny, 2, { capacity: IDS.length });
      const state = context.scope(() => {
        const prefix = tiny.embed(IDS.subarray(0, position), countFrom(0, position));
        if (position > 0) map.extend(prefix, [{ slot: 0, count: position }]);
        const wpe = embedding(context, tiny.weights.table('wpe.weight'), Uint32Array.of(position));
        return map.states(add(upload(context, e, [1, 24]), wpe), Uint32Array.of(0));
      });
      map.cache.dispose();
      return (await take(state)).reduce((sum, value, i) => sum + (value - observed[i]) ** 2, 0) / 2;
    }
    await look(async ({ position, gradient }, observed) => {
      const e = normal(24, 0.5);
      const slope = await gradient(e);
      const length = norm(slope);
      const along = (t: number) => e.map((value, i) => value + (t * slope[i]) / length);
      const [ahead, behind] = [
        await objective(along(0.01), position, observed),
        await objective(along(-0.01), position, observed),
      ];
      expect((ahead - behind) / 0.02 / length).toBeCloseTo(1, 2);
    });
  });

  test('the logits behind the recovered prefix, also when not asked for at every position', async () => {
    const states = forward(tiny, IDS);
    const logits = tiny.logits(states);
    const all = await take(logits); // (T, 97)
    states.dispose();
    await look(async (step) => {
      if (step.position === 0) expect(await step.logits()).toBeUndefined();
      if (step.position < 3) return;
      const want = all.subarray(97 * (step.position - 1), 97 * step.position);
      expect(rmsError((await step.logits())!, want)).toBeLessThan(1e-5);
    });
  });

  test('embedding rows, and which is nearest', async () => {
    const file = await openModel(checkoutSource('test/data/gpt2-tanh'));
    const wte = await file.checkpoint.float32('transformer.wte.weight');
    await file.checkpoint.close();
    await look(async ({ tokenRow, nearestUntried, embeddingDistances }) => {
      const row = await tokenRow(96);
      expect(row).toEqual(wte.subarray(24 * 96));
      expect(await nearestUntried(row.map((value) => value + 1e-3))).toBe(96);
      expect(await embeddingDistances()).toHaveLength(97);
      await expect(tokenRow(97)).rejects.toThrow(InputError);
    });
  });

  test('rows that are none are refused', async () => {
    await look(async ({ gradient, nearestUntried }) => {
      for (const bad of [new Float32Array(23), new Float32Array(24).fill(Number.NaN)]) {
        await expect(gradient(bad)).rejects.toThrow(InputError);
        await expect(nearestUntried(bad)).rejects.toThrow(/free row/);
      }
    });
  });
});

describe("a user's own policy", () => {
  test('climbs from neighbour to neighbour of the best so far, in twenty lines', async () => {
    const climber: Policy = {
      name: 'climber',
      async *candidates(step) {
        yield [0, 1, 2, 3];
        for (;;) {
          const row = await step.tokenRow(step.nearest!.token);
          const next = await step.nearestUntried(row);
          if (next === undefined) return;
          yield [next];
          expect(step.tried.get(next)).toBeGreaterThan(0);
        }
      },
    };
    expectTrueTokens((await search(tiny, await statesOf(tiny, IDS, 2), climber)).positions, IDS);
  });

  test('that never proposes the right token ends as not found, after what it proposed', async () => {
    const record = await statesOf(tiny, IDS, 2);
    const { positions } = await search(tiny, record, proposing([7, 8], [9, 8, 7], [50]));
    expect(positions).toHaveLength(1);
    expect(positions[0]).toMatchObject({ position: 0, verdict: 'not found', candidates: 4, rivals: 0 });
    expect(positions[0].reason).toMatch(
      /^None of the 4 tokens that policy "mine" proposed gives this state: the nearest, (7|8|9|50), lies .*\.$/,
    );
    const single = await search(tiny, record, proposing([5, 5, 5]));
    expect(single.positions).toMatchObject([{ verdict: 'not found', token: 5, candidates: 1, runnerUp: undefined }]);
  });

  test('after the right tokens for a while, ends where it misses', async () => {
    const policy = watching(Uint32Array.of(3, 96, 40), async () => {});
    const { positions } = await search(tiny, await statesOf(tiny, IDS, 2), policy);
    expect(positions.map(({ verdict }) => verdict)).toEqual(['accepted', 'accepted', 'not found']);
  });

  test.each([97, -1, 1.5, Number.NaN])('that proposes %d is an error', async (id) => {
    const failure = search(tiny, await statesOf(tiny, IDS, 2), proposing([1], [0, id]));
    await expect(failure).rejects.toThrow(InputError);
    await expect(failure).rejects.toThrow(
      `Policy "mine" proposes ${id} at position 0; the vocabulary has ids 0 to 96.`,
    );
  });

  test('that proposes nothing, or only repeats itself, does not go on for ever', async () => {
    const record = await statesOf(tiny, IDS, 2);
    await expect(search(tiny, record, proposing())).rejects.toThrow(InputError);
    const stuck: Policy = {
      name: 'stuck',
      async *candidates() {
        for (;;) yield [5];
      },
    };
    expect((await search(tiny, record, stuck)).positions).toMatchObject([{ verdict: 'not found', candidates: 1 }]);
  });

  test('that proposes everything at once is tried batch by batch, until a token fits', async () => {
    const record = await statesOf(tiny, IDS.subarray(0, 1), 2);
    const rows: number[] = [];
    const { positions } = await search(tiny, record, proposing(countFrom(0, 97)), {
      batch: 2,
      onCandidates: (_, tried) => rows.push(tried),
    });
    expectTrueTokens(positions, IDS.subarray(0, 1)); // token 3
    expect(positions[0].candidates - positions[0].rivals).toBe(4);
    expect(rows.slice(0, 2)).toEqual([2, 4]);
  });

  test('that calls itself exhaustive is held to it', async () => {
    const record = await statesOf(tiny, IDS, 2);
    const { positions } = await search(tiny, record, { ...proposing([1]), exhaustive: true });
    expectTrueTokens(positions, IDS);
    for (const { candidates } of positions) expect(candidates).toBe(97);
  });
});

describe('the verdict does not depend on who proposes', () => {
  test('a proof tries the whole vocabulary, whatever the policy', async () => {
    const { positions } = await search(tiny, await statesOf(tiny, IDS, 3), policies.gradient, { prove: true });
    expectTrueTokens(positions, IDS);
    for (const { candidates } of positions) expect(candidates).toBe(97);
  });

  test.each(['likely-first', 'random', 'gradient', 'exhaustive'] as const)(
    'two equal rows are ambiguous: %s',
    async (name) => {
      const files = await openModel(checkoutSource('test/data/gpt2-tanh'));
      const original = files.checkpoint.float32;
      const checkpoint = {
        ...files.checkpoint,
        async float32(tensor: string, begin?: number, end?: number) {
          const values = await original(tensor, begin, end);
          if (tensor.endsWith('wte.weight')) values.copyWithin(24 * 41, 24 * 60, 24 * 61); // token 41 gets the row of 60
          return values;
        },
      };
      const twins = await loadModel(context, { ...files, checkpoint });
      onTestFinished(() => twins.dispose());
      const record = await statesOf(twins, IDS, 2);
      // As rounding on another adapter would: neither token's distance is 0.
      for (let i = 0; i < record.values.length; i += 5) record.values[i] *= 1 + 1e-6;
      const { positions } = await search(twins, record, policies[name]);
      const verdicts = ['accepted', 'accepted', 'ambiguous', 'accepted', 'ambiguous'];
      expect(positions.map(({ verdict }) => verdict)).toEqual(verdicts);
      expect(positions[2]).toMatchObject({ token: 41, runnerUp: { token: 60 }, candidates: 97 });
      expect(positions[2].distance).toBeGreaterThan(0);
      expect(positions[2].reason).toMatch(/^Tokens 41 and 60 cannot be told apart: /);
    },
  );

  test.each([
    ...(['likely-first', 'random', 'gradient', 'exhaustive'] as const).map(
      (name) => [name, policies[name], {}] as const,
    ),
    ['a proof', watching(IDS, async () => {}), { prove: true }] as const,
  ])('a spoilt state is flagged, and the search goes on: %s', async (_, policy, options) => {
    const record = await statesOf(tiny, IDS, 2);
    seededRandom(5)
      .normal(24, 0.02)
      .forEach((noise, i) => {
        record.values[24 + i] += noise;
      });
    const { positions } = await search(tiny, record, policy, options);
    expect(positions.map(({ token }) => token)).toEqual([...IDS]);
    const verdicts = ['accepted', 'not found', 'accepted', 'accepted', 'accepted'];
    expect(positions.map(({ verdict }) => verdict)).toEqual(verdicts);
    expect(positions[1]).toMatchObject({ candidates: 97 });
    expect(positions[1].reason).toMatch(/^No token of the vocabulary of 97 gives this state: the nearest, 96, lies /);
  });

  test('states that no token gives end the search at the first', async () => {
    const values = seededRandom(6).normal(3 * 24, 4);
    const record: StateRecord = { values, width: 24, layer: 2, dtype: 'F32' };
    const { positions } = await search(tiny, record, policies.gradient);
    expect(positions).toMatchObject([{ position: 0, verdict: 'not found', candidates: 97 }]);
  });
});

describe('what it costs', () => {
  const block = 2 * (4 * 24 * 24 + 2 * 24 * 96);
  const scan = (2 * 24 * 97) / block; // in rows of a block

  test('every row and every scan is counted, forward and back', async () => {
    const layer = 2;
    const unit = IDS.length * layer; // rows of blocks in one forward pass
    const record = await statesOf(tiny, IDS, layer);
    const plain = await search(
      tiny,
      record,
      watching(IDS, async () => {}),
    );
    const rows = plain.positions.reduce((sum, { candidates }) => sum + candidates, 0);
    const appended = IDS.length - 1;
    const rivals = IDS.length * scan; // a scan finds the rivals of each winner
    expect(plain.positions.map(({ candidates, rivals }) => candidates - rivals)).toEqual([1, 1, 1, 1, 1]);
    expect(plain.scoring).toBeCloseTo(rivals / unit, 10);
    expect(plain.forwardEquivalents).toBeCloseTo(((rows + appended) * layer + rivals) / unit, 10);

    const curious = watching(IDS, async (step) => {
      const row = await step.tokenRow(step.position);
      await step.gradient(row);
      await step.gradient(row);
      await step.nearestUntried(row);
    });
    const more = await search(tiny, record, curious);
    expect(more.scoring - plain.scoring).toBeCloseTo((IDS.length * scan) / unit, 10);
    // A gradient is a row forward and a row back.
    const gradients = 2 * 2 * IDS.length * layer;
    expect(more.forwardEquivalents - plain.forwardEquivalents).toBeCloseTo((gradients + IDS.length * scan) / unit, 10);
  });

  test('the blocks above the layer and the head, only where logits are asked for', async () => {
    const record = await statesOf(tiny, IDS, 1);
    const plain = await search(
      tiny,
      record,
      watching(IDS, async () => {}),
    );
    const asking = watching(IDS, async (step) => void (await step.logits()));
    const more = await search(tiny, record, asking);
    const appended = IDS.length - 1;
    const extra = appended * 2 + appended * scan; // blocks 1 and 2, and the head, for each token that has a successor
    expect(more.forwardEquivalents - plain.forwardEquivalents).toBeCloseTo(extra / IDS.length, 10);
  });

  test('in units of one forward pass over the prompt up to the layer', () => {
    const cost = costMeter(tiny.config, 3, 10);
    cost.rows(10, 3);
    expect(cost.forwardEquivalents()).toBe(1);
    cost.vjpRows(5, 3);
    expect(cost.forwardEquivalents()).toBe(1.5);
    expect(cost.scoringEquivalents()).toBe(0);
    cost.flops(3 * block);
    cost.flops(3 * block, true);
    expect(cost.forwardEquivalents()).toBeCloseTo(1.7);
    expect(cost.scoringEquivalents()).toBeCloseTo(0.1);
    cost.head();
    cost.scan();
    expect(cost.scoringEquivalents()).toBeCloseTo(0.1 + (2 * scan) / 30);
    expect(cost.forwardEquivalents()).toBeCloseTo(1.7 + (2 * scan) / 30);
  });
});

test('a signal ends the search between batches, and keeps what was recovered', async () => {
  const record = await statesOf(tiny, IDS, 2);
  for (const name of ['random', 'gradient', 'exhaustive'] as const) {
    const controller = new AbortController();
    const { positions } = await search(tiny, record, policies[name], {
      signal: controller.signal,
      batch: 10,
      onCandidates: (position) => {
        if (position === 2) controller.abort();
      },
    });
    expect(positions.map(({ token }) => token)).toEqual([3, 96]);
  }
});

test('a search holds no GPU memory afterwards', async () => {
  const record = await statesOf(tiny, IDS, 2);
  const run = async () => {
    for (const policy of Object.values(policies)) await search(tiny, record, policy);
    await search(
      tiny,
      record,
      watching(IDS, async ({ position, logits }) => void (position === 3 && (await logits()))),
    );
    await search(tiny, record, proposing([97])).catch(() => {});
  };
  await run();
  const { liveBytes } = context.pool.statistics;
  await run();
  expect(context.pool.statistics.liveBytes).toBe(liveBytes);
});
