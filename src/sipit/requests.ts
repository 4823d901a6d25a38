import type { Ranked } from '../lens/scorer.ts';

/** What a recovery asks of the model and the lens, and what it is told. */

/** The likeliest token of every position, by the lens alone: one id for each, with its doubt. */
export interface Propose {
  readonly kind: 'propose';
}

/** Consecutive tokens behind the first `from` of those settled; their keys and values stay for what comes next. */
export interface Window {
  readonly kind: 'window';
  readonly from: number;
  readonly tokens: Uint32Array;
}

/** Alternatives at one position, each on its own behind the tokens before it. */
export interface Candidates {
  readonly kind: 'candidates';
  readonly at: number;
  readonly tokens: Uint32Array;
}

/** The likeliest tokens, given how far another's state is from the observed one. */
export interface Correct {
  readonly kind: 'correct';
  /** All after the first position, or only the first. */
  readonly first: boolean;
  /** Observed minus tried, [n, d]. */
  readonly residuals: Float32Array;
  /** The tokens tried, [n]. */
  readonly tokens: Uint32Array;
  /** How many for each. */
  readonly count: number;
}

/**
 * The vocabulary in the order of the slope: by how well the step from the tokens tried to another is along the direction
 * in which, on average over them, the distance to the observed state falls.
 */
export interface Slope {
  readonly kind: 'slope';
  readonly at: number;
  /** Tokens tried, whose distances have slopes. */
  readonly tokens: Uint32Array;
}

/** The vocabulary in the order of the full Jacobian at a token's row: by how near to the observed it predicts states. */
export interface Screen {
  readonly kind: 'screen';
  readonly at: number;
  readonly token: number;
  /** Observed minus the token's state, [d]. */
  readonly residual: Float32Array;
}

/** States [n, d] of rows, and how far each lies from the observed one. */
export interface Evaluated {
  readonly distances: Float64Array;
  /** Absent where they are too many to be read back. */
  readonly states?: Float32Array;
}

/** The answer to each kind of request. */
export interface Replies {
  readonly propose: Ranked;
  readonly window: Evaluated;
  readonly candidates: Evaluated;
  readonly correct: Ranked;
  /** Best first. */
  readonly slope: Uint32Array;
  /** Best first. */
  readonly screen: Uint32Array;
}

export type Request = Propose | Window | Candidates | Correct | Slope | Screen;
export type Reply = Replies[keyof Replies];

/** A computation that stops at each request and goes on with the reply: many of them share the GPU's batches. */
export type Recovery<T> = Generator<Request, T, Reply>;

/** Asks one request. */
export function* ask<R extends Request>(request: R): Recovery<Replies[R['kind']]> {
  return (yield request) as Replies[R['kind']];
}
