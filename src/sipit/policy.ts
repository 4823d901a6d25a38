import { orderByLogit } from '../model/generate.ts';
import type { PolicyName } from './types.ts';

/** What a policy may look at when it proposes candidates for a position. */
export interface Step {
  readonly vocabularySize: number;
  /** Most candidates of one batch. */
  readonly batch: number;
  /** The model's logits for this position, given the tokens recovered so far; undefined at position 0. */
  logits(): Promise<Float32Array | undefined>;
  /** Distance of each token's embedding row to the observed state, a cheap hint where there is no context. */
  embeddingDistances(): Promise<Float32Array>;
}

/**
 * Which tokens are tried, and in which order. The verifier keeps an inversion exact whatever is proposed: a policy
 * decides only what it costs.
 */
export interface Policy {
  readonly name: PolicyName;
  /** Try every candidate, even after one fits: margins are then true minima over the vocabulary. */
  readonly exhaustive: boolean;
  /** Batches of tokens not proposed before; ends when there are none left. */
  candidates(step: Step): AsyncGenerator<Uint32Array>;
}

/** The 20 rows that CPU kernels compute together. */
const FIRST_BATCH = 20;

/** By the model's own next-token distribution, in batches that double; the first position by embedding distance. */
const likelyFirst: Policy = {
  name: 'likely-first',
  exhaustive: false,
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

/** The policies by name. */
export const policies: Readonly<Record<PolicyName, Policy>> = { 'likely-first': likelyFirst, exhaustive };
