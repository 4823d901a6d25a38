import { norm as length } from '../../linalg/vector.ts';
import type { ReferenceModel } from '../../model/reference.ts';
import { seededRandom } from '../../reference/random.ts';
import type { ModelParameters } from './model-parts.ts';

import type { Certificate } from './types.ts';

/** A question to which a certificate may be the answer. */
export type Trial = () => Certificate | undefined;

/** Targets of one kind that must be certified, and others that must not. */
export interface Control {
  readonly kind: Certificate['kind'];
  /** What the targets are: `LayerNorm: random directions`. */
  readonly name: string;
  readonly unreachable: readonly Trial[];
  /** Outputs of the block, rounded to f32; tokens that win at some state. */
  readonly reachable: readonly Trial[];
}

/** How many targets, from which seed. */
export interface ControlOptions {
  /** Of either sort in each control; default 100. */
  readonly count?: number;
  readonly seed?: number;
}

/** What the controls of a model are made from; all of it follows from the seed. */
export interface Targets {
  readonly model: ModelParameters;
  readonly digest: string;
  readonly reference: ReferenceModel;
  readonly count: number;
  /** First, middle and last block. */
  readonly blocks: readonly number[];
  /** A whole number below a limit. */
  below(limit: number): number;
  tokens(count: number): number[];
  /** Inputs of a block, `[d]`: states of short random texts, and every fourth time noise, near or far. */
  input(layer: number, i: number): Float64Array;
  /** A row of independent normal numbers, `[d]`. */
  noise(std: number): Float64Array;
  /** A row of random direction, `[d]`. */
  ofLength(size: number): Float64Array;
  /** `count` in nearly equal parts: how many the one numbered `part` has. */
  share(part: number, parts: number): number;
}

const TEXT = 6; // tokens

export async function targetsOf(model: ModelParameters, count: number, seed: number): Promise<Targets> {
  const { width: d, layers, vocabularySize, contextLength } = model.config;
  const [digest, reference] = [await model.digest(), await model.reference()];
  const random = seededRandom(seed);
  const below = (limit: number) => Math.floor(random.next() * limit);
  const tokens = (n: number) => Array.from({ length: n }, () => below(vocabularySize));
  const noise = (std: number) => Float64Array.from(random.normal(d, std));
  return {
    model,
    digest,
    reference,
    count,
    blocks: [...new Set([0, (layers - 1) >> 1, layers - 1])],
    below,
    tokens,
    noise,
    input(layer, i) {
      if (i % 4 === 3) return noise([0.01, 1, 1000][i % 3]);
      return reference.residualStates(tokens(Math.min(TEXT, contextLength)))[layer].slice(-d);
    },
    ofLength(size) {
      const row = noise(1);
      const scale = size / length(row);
      return row.map((value) => scale * value);
    },
    share: (part, parts) => Math.floor(((part + 1) * count) / parts) - Math.floor((part * count) / parts),
  };
}
