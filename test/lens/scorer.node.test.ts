import { Matrix } from 'ml-matrix';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { testContext } from '#context';
import { InputError } from '../../src/errors.ts';
import { type Context, createContext } from '../../src/gpu/context.ts';
import type { LinearLens } from '../../src/lens/lens.ts';
import { createScorer, type Ranked, type Ranking, type Scorer } from '../../src/lens/scorer.ts';
import { matrixFrom } from '../../src/linalg/dense.ts';
import { solvePositive } from '../../src/linalg/positive.ts';
import { parseConfig } from '../../src/model/config.ts';
import { initialCheckpoint } from '../../src/model/initial.ts';
import { type LoadedModel, loadModel, modelFiles } from '../../src/model/load.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { read, takeBytes, upload } from '../../src/tensor/tensor.ts';

const [D, VOCABULARY, POSITIONS] = [16, 251, 12];

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

/** A small model with random embeddings. */
async function modelOn(on: Context, vocabulary = VOCABULARY): Promise<LoadedModel> {
  const config = parseConfig(
    { model_type: 'gpt2', vocab_size: vocabulary, n_positions: POSITIONS, n_embd: D, n_layer: 1, n_head: 2 },
    'config.json',
  );
  const model = await loadModel(on, modelFiles('small', config, initialCheckpoint(config, 1)));
  onTestFinished(model.dispose);
  return model;
}

const normal = (seed: number, size: number, scale = 1): Float32Array =>
  Float32Array.from(seededRandom(seed).normal(size, scale));

/** Tokens are told apart by a few directions mostly, as in a trained model; the noise is of another shape. */
function lensOf(hasPrevious: boolean): LinearLens {
  const mix = matrixFrom(normal(3, D * D), D);
  const covariance = mix.transpose().mmul(mix).mul(1e-4).add(Matrix.eye(D).mul(1e-3));
  return {
    // Embeddings are of the order of 0.02.
    embedding: normal(1, D * D).map((value, i) => (50 * value) / (1 + 2 * Math.floor((i % D) / 2))),
    ...(hasPrevious && { previous: normal(2, D * D, 0.3) }),
    intercept: normal(4, D),
    covariance: Float32Array.from(covariance.to1DArray()),
    kappa: 0.5,
  };
}

/** States of known tokens as the lens says they arise, with what brute force in float64 makes of them. */
interface Sample {
  readonly tokens: Uint32Array;
  readonly positions: Uint32Array;
  /** [n, d] */
  readonly states: Float32Array;
  readonly previous: Float32Array;
  /** Log-likelihoods of all tokens for each state, up to a constant, [n][V]. */
  readonly proposed: readonly (readonly number[])[];
  /** The same given how far the state is from that of `tried`, whatever the prefix. */
  readonly tried: Uint32Array;
  readonly residuals: Float32Array;
  readonly corrected: readonly (readonly number[])[];
}

async function sampleOf(model: LoadedModel, lens: LinearLens, noise: number): Promise<Sample> {
  const n = STATES;
  const { next } = seededRandom(8);
  const below = (count: number) => Uint32Array.from({ length: n }, () => Math.floor(next() * count));
  const { vocabularySize } = model.config;
  const [tokens, tried, positions] = [below(vocabularySize), below(vocabularySize), below(POSITIONS)];
  const chunks = await Promise.all(model.tokenTable.chunks.map(read));
  const b = matrixFrom(lens.embedding, D);
  const wordsB = matrixFrom(
    chunks.flatMap((chunk) => [...chunk]),
    D,
  ).mmul(b); // (V, d)
  const placesB = matrixFrom(await read(model.weights.tensor('wpe.weight')), D).mmul(b);
  const previous = matrixFrom(normal(5, n * D), D);
  const covariance = matrixFrom(lens.covariance, D);
  const error = matrixFrom(normal(6, n * D, 0.03), D);

  const expected = Matrix.zeros(n, D);
  positions.forEach((position, i) => {
    const row = Matrix.rowVector([...lens.intercept]).add(placesB.getRowVector(position));
    if (lens.previous) row.add(previous.getRowVector(i).mmul(matrixFrom(lens.previous, D)));
    expected.setRow(i, row);
  });
  const f32 = (matrix: Matrix) => Float32Array.from(matrix.to1DArray());
  const of = (ids: Uint32Array) => wordsB.subMatrixRow([...ids], 0, D - 1);
  const states = f32(Matrix.add(expected, of(tokens)).add(error));
  const residuals = f32(of(tokens).sub(of(tried)).add(error));

  const precision = solvePositive(Matrix.add(covariance, Matrix.eye(D).mul(noise ** 2)), Matrix.eye(D));
  /** Of what states hold of their tokens, [n, d]. */
  const likelihoods = (x: Matrix) =>
    x.to2DArray().map((row) => {
      const apart = wordsB.clone().subRowVector(row);
      return Matrix.mul(apart.mmul(precision), apart)
        .sum('row')
        .map((square) => -square / 2);
    });
  return {
    tokens,
    positions,
    states,
    previous: f32(previous),
    proposed: likelihoods(matrixFrom(states, D).sub(expected)),
    tried,
    residuals,
    corrected: likelihoods(matrixFrom(residuals, D).add(of(tried))),
  };
}

async function ranked(ranking: Ranking): Promise<Ranked> {
  return ranking.decode(...((await takeBytes(ranking.tensors)) as Parameters<Ranking['decode']>));
}

/** Both ways of asking, for a model and its scorer. */
function asking({ context: on }: LoadedModel, scorer: Scorer, hasPrevious: boolean) {
  const rows = (values: Float32Array) => upload(on, values, [values.length / D, D]);
  return {
    propose: ({ states, previous, positions }: Sample, count: number): Promise<Ranked> =>
      ranked(on.scope(() => scorer.propose(rows(states), hasPrevious ? rows(previous) : undefined, positions, count))),
    correct: ({ residuals, tried }: Sample, count: number): Promise<Ranked> =>
      ranked(on.scope(() => scorer.correct(rows(residuals), tried, count))),
  };
}

const NOISE = 0.02;
const STATES = 41;

/** Checks what was ranked against the likelihoods of all tokens. @param exact Whether no token was left off before. */
function expectRanked({ ids, doubts }: Ranked, wanted: readonly (readonly number[])[], count: number, exact: boolean) {
  expect(ids).toHaveLength(STATES * count);
  wanted.forEach((likelihoods, row) => {
    const got = [...ids.subarray(row * count, (row + 1) * count)];
    const order = [...likelihoods.keys()].sort((a, b) => likelihoods[b] - likelihoods[a]);
    expect(got[0]).toBe(order[0]);
    expect(new Set(got).size).toBe(count);
    got.forEach((token, i) => {
      // Rounding may swap what is all but equally likely.
      const { [order[i]]: best, [token]: found } = likelihoods;
      if (exact) expect(Math.abs(found - best)).toBeLessThan(1e-4 * Math.abs(best) + 1e-2);
    });
    const odds = likelihoods[order[1]] - likelihoods[order[0]];
    expect(doubts[row]).toBeCloseTo(count > 1 ? 1 / (1 + Math.exp(-odds)) : 0, 1);
  });
}

describe.each([
  ['of the first position', false],
  ['of the others', true],
])('a lens %s', (_, hasPrevious) => {
  const lens = lensOf(hasPrevious);

  test.each(['cpu', 'hardware'] as const)('ranks tokens by likelihood, with kernels for %s adapters', async (kind) => {
    const on = await createContext({ device: context.device, kind });
    onTestFinished(on.destroy);
    const model = await modelOn(on);
    const sample = await sampleOf(model, lens, NOISE);
    const scorer = await createScorer(model, lens, NOISE);
    const ask = asking(model, scorer, hasPrevious);
    for (const count of [1, 2, 16, 160]) {
      // The shortlist of 160 holds the whole vocabulary.
      expectRanked(await ask.propose(sample, count), sample.proposed, count, count === 160);
      expectRanked(await ask.correct(sample, count), sample.corrected, count, count === 160);
    }
    const { ids } = await ask.propose(sample, 1);
    const found = ids.filter((id, i) => id === sample.tokens[i]).length;
    expect(found).toBeGreaterThan(0.9 * STATES);
  });

  test.each([1, 2, 11])('of a vocabulary of %i, asked for 16 tokens, gives them all', async (vocabulary) => {
    const model = await modelOn(context, vocabulary);
    const sample = await sampleOf(model, lens, NOISE);
    const scorer = await createScorer(model, lens, NOISE);
    const ask = asking(model, scorer, hasPrevious);
    expectRanked(await ask.propose(sample, 16), sample.proposed, vocabulary, true);
    expectRanked(await ask.correct(sample, 16), sample.corrected, vocabulary, true);
    scorer.dispose();
  });

  test('ranks a vocabulary in chunks as it does one in one piece', async () => {
    // Only the loading of weights looks at this limit: 64 rows of the embedding fit.
    const limits = { maxStorageBufferBindingSize: 4 * D * 64 };
    const narrow = { ...context, device: { limits } } as Context;
    const rankings: Ranked[][] = [];
    for (const [on, chunks] of [
      [context, 1],
      [narrow, 4],
    ] as const) {
      const model = await modelOn(on);
      expect(model.tokenTable.chunks).toHaveLength(chunks);
      const sample = await sampleOf(model, lens, NOISE);
      const scorer = await createScorer(model, lens, NOISE);
      const ask = asking(model, scorer, hasPrevious);
      rankings.push([await ask.propose(sample, 16), await ask.correct(sample, 16)]);
      scorer.dispose();
    }
    expect(rankings[1]).toEqual(rankings[0]);
  });

  test('leaves no buffer behind', async () => {
    const model = await modelOn(context);
    const sample = await sampleOf(model, lens, NOISE);
    const { liveBytes } = context.pool.statistics;
    for (let round = 0; round < 3; round++) {
      const scorer = await createScorer(model, lens, NOISE);
      const ask = asking(model, scorer, hasPrevious);
      await ask.propose(sample, 2);
      await ask.correct(sample, 160);
      scorer.dispose();
      expect(context.pool.statistics.liveBytes).toBe(liveBytes);
    }
  });

  test('doubts more where there is more noise', async () => {
    const model = await modelOn(context);
    const mean = async (noise: number) => {
      const sample = await sampleOf(model, lens, noise);
      const scorer = await createScorer(model, lens, noise);
      const { doubts } = await asking(model, scorer, hasPrevious).propose(sample, 2);
      scorer.dispose();
      return doubts.reduce((sum, doubt) => sum + doubt, 0) / STATES;
    };
    const doubts = [await mean(0.01), await mean(0.3), await mean(3)];
    expect(doubts).toEqual(doubts.toSorted((a, b) => a - b));
    expect(doubts[2]).toBeGreaterThan(5 * doubts[0]);
  });
});

test('a lens whose covariance is not one is refused with a cure', async () => {
  const model = await modelOn(context);
  const lens = { ...lensOf(true), covariance: new Float32Array(D * D).fill(-1) };
  await expect(createScorer(model, lens, 0)).rejects.toThrow(/not positive definite/);
});

test('noise makes up for a covariance of too few samples', async () => {
  const model = await modelOn(context);
  const lens = { ...lensOf(true), covariance: new Float32Array(D * D) };
  await expect(createScorer(model, lens, 0)).rejects.toThrow(InputError);
  const scorer = await createScorer(model, lens, NOISE);
  scorer.dispose();
});
