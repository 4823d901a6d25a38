import { orderByLogit } from '../model/generate.ts';
import { permutation, seededRandom } from '../reference/random.ts';
import type { Candidate, PolicyName } from './types.ts';

/**
 * What a policy may look at when it proposes candidates for a position. With F the one-step map, from the embedding row
 * of a token to its state behind the prefix recovered so far, the token sought is the one with F(v) = h, the observed
 * state. Rows are token parts, [d]: the position's part is added for them.
 */
export interface Step {
  readonly vocabularySize: number;
  /** Most candidates of one batch; longer proposals are cut. */
  readonly batch: number;
  /** Position in the prompt, from 0. */
  readonly position: number;
  /** The tokens tried at this position, and how far each one's state lies from the observed one. */
  readonly tried: ReadonlyMap<number, number>;
  /** The nearest of them; undefined before the first batch. */
  readonly nearest: Candidate | undefined;
  /** The model's logits for this position, given the tokens recovered so far; undefined at position 0. */
  logits(): Promise<Float32Array | undefined>;
  /** Distance of each token's embedding to the observed state, a cheap hint where there is no context. */
  embeddingDistances(): Promise<Float32Array>;
  /** The embedding row of a token. @throws InputError for an id outside the vocabulary. */
  tokenRow(token: number): Promise<Float32Array>;
  /** Gradient of 1/2 |F(e) - h|^2 at a free row e. @throws InputError for a row that is no d finite numbers. */
  gradient(row: Float32Array): Promise<Float32Array>;
  /** The token not tried whose embedding row is nearest to a free row; undefined when all are. @throws InputError */
  nearestUntried(row: Float32Array): Promise<number | undefined>;
}

/**
 * Which tokens are tried, and in which order. The verifier keeps an inversion exact whatever is proposed: a policy
 * decides only what it costs.
 */
export interface Policy {
  readonly name: string;
  /** Try every token, even after one fits: margins are then true minima over the vocabulary. Default false. */
  readonly exhaustive?: boolean;
  /**
   * Batches of token ids, asked for one at a time until a token fits. Tokens tried before are passed over; a policy
   * that does nothing but repeat itself is taken to have ended.
   */
  candidates(step: Step): AsyncIterable<Iterable<number>>;
}

/** The 20 rows that CPU kernels compute together. */
const FIRST_BATCH = 20;

/** By the model's own next-token distribution, in batches that double; the first position by embedding distance. */
const likelyFirst: Policy = {
  name: 'likely-first',
  async *candidates(step) {
    const logits = await step.logits();
    const order = orderByLogit(logits ?? (await step.embeddingDistances()).map((distance) => -distance));
    for (
      let first = 0, size = Math.min(FIRST_BATCH, step.batch);
      first < order.length;
      first += size, size = Math.min(2 * size, step.batch)
    ) {
      yield order.subarray(first, first + size);
    }
  },
};

/** Every token at every position: the brute force of arXiv 2510.15511, and the proof that no other token fits. */
const exhaustive: Policy = {
  name: 'exhaustive',
  exhaustive: true,
  async *candidates({ vocabularySize, batch }) {
    for (let first = 0; first < vocabularySize; first += batch) {
      yield Uint32Array.from({ length: Math.min(batch, vocabularySize - first) }, (_, i) => first + i);
    }
  },
};

/** How to try tokens at random. */
export interface RandomOptions {
  /** Same seed, same order; default 0. */
  readonly seed?: number;
  /** Candidates of one forward; default 1, as published. */
  readonly batch?: number;
}

/** The random policy of arXiv 2510.15511: one permutation of the vocabulary, tried in its order at every position. */
export function randomPolicy({ seed = 0, batch = 1 }: RandomOptions = {}): Policy {
  return {
    name: 'random',
    async *candidates(step) {
      const order = permutation(step.vocabularySize, seed);
      for (let first = 0; first < order.length; first += batch) yield order.subarray(first, first + batch);
    },
  };
}

/** As published. */
const STEP_SIZE = 1;
const MAX_GRADIENT_NORM = 1;
const PROPOSALS_A_PROJECTION = 50;

/**
 * The gradient policy of arXiv 2510.15511.
 *
 *   1. A proxy e starts at the embedding row of a random token, drawn for each position.
 *   2. One descent step on 1/2 |F(e) - h|^2, of size 1, the norm of the gradient clipped to 1.
 *   3. The token not tried whose row is nearest to e is proposed, alone.
 *   4. After every 50 proposals e is put on the row of the nearest token not tried. On with 2.
 *
 * @param seed Of the tokens that proxies start at.
 */
export function gradientPolicy(seed = 0): Policy {
  return {
    name: 'gradient',
    async *candidates(step) {
      const { next } = seededRandom(seed + step.position);
      let proxy = await step.tokenRow(Math.floor(next() * step.vocabularySize));
      for (let proposals = 1; ; proposals++) {
        const gradient = await step.gradient(proxy);
        const stepSize = STEP_SIZE * Math.min(1, MAX_GRADIENT_NORM / Math.hypot(...gradient));
        proxy = proxy.map((value, i) => value - stepSize * gradient[i]);
        const token = await step.nearestUntried(proxy);
        if (token === undefined) return;
        yield Uint32Array.of(token);
        if (proposals % PROPOSALS_A_PROJECTION > 0) continue;
        const nearest = await step.nearestUntried(proxy);
        if (nearest === undefined) return;
        proxy = await step.tokenRow(nearest);
      }
    },
  };
}

/** The policies that try candidates position by position, by name. */
export const policies: Readonly<Record<Exclude<PolicyName, 'speculative'>, Policy>> = {
  'likely-first': likelyFirst,
  random: randomPolicy(),
  gradient: gradientPolicy(),
  exhaustive,
};
