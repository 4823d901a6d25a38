import type { Dtype } from '../io/checkpoint.ts';
import type { LensOptions } from '../lens/store.ts';
import type { Policy } from './policy.ts';

/** Residual states of one layer at every position of one prompt: what an inversion starts from. */
export interface StateRecord {
  /** [T, d], row after row. */
  readonly values: Float32Array;
  /** d */
  readonly width: number;
  /** Which residual state: 0 = token + position, L = after the last block, before the final LayerNorm. */
  readonly layer: number;
  /** How the states were stored, from which their rounding error follows. */
  readonly dtype: Extract<Dtype, 'F64' | 'F32' | 'F16' | 'BF16'>;
  /** Position of the first row in the model's position table; more than 0 behind left padding. Default 0. */
  readonly firstPosition?: number;
  /** Name of the record in its file (`states.17`), for messages. */
  readonly name?: string;
  /** Digest of the weights that made the states, where the file tells. */
  readonly model?: string;
}

/**
 * The policies that come along: `speculative` proposes every position at once by the lens; the others try candidates
 * one position after another, `random`, `gradient` and `exhaustive` as published (arXiv 2510.15511).
 */
export type PolicyName = 'speculative' | 'likely-first' | 'random' | 'gradient' | 'exhaustive';

/**
 * What separates the given states from those that this forward computes, besides the rounding of their dtype.
 *
 *   - `gaussian`: independent noise in every coordinate, its standard deviation as a share of each state's RMS.
 *   - `run`: the model was run in half precision.
 *   - absent: what the dtype says: half precision means a model run in it, otherwise nothing but f32 rounding; where most
 *     positions contradict that, the noise is estimated from them.
 */
export type Noise = { readonly gaussian: number } | { readonly run: 'BF16' | 'F16' };

/** What became of one position. */
export type Verdict = 'accepted' | 'ambiguous' | 'not found';

/** A token and how far its state lies from the observed one (Euclidean). */
export interface Candidate {
  readonly token: number;
  readonly distance: number;
}

/** One position of an inversion. */
export interface PositionResult {
  readonly position: number;
  readonly verdict: Verdict;
  /** Why the verdict is not `accepted`, in a sentence. */
  readonly reason?: string;
  /** The nearest candidate; recovered when the verdict is `accepted`. */
  readonly token: number;
  /** Its text; absent where the model has no tokenizer. */
  readonly text?: string;
  readonly distance: number;
  /** Distances up to this are explained by rounding and noise. */
  readonly radius: number;
  /** The next nearest among the rows evaluated; absent where none was. */
  readonly runnerUp?: Candidate;
  /** Every token not evaluated lies at least this far from the state, by the lens's calibration; absent if all were. */
  readonly othersBeyond?: number;
  /**
   * How much farther than `distance` the nearest other token is: the lesser of runner-up and `othersBeyond`; absent where
   * that bound says nothing.
   */
  readonly margin?: number;
  /** Rows evaluated at this position. */
  readonly candidates: number;
  /** Those among them that were evaluated only because they might have been nearer. */
  readonly rivals: number;
}

/** The work of an inversion. */
export interface InversionCost {
  /**
   * Matrix products in units of one forward pass over the same prompt up to the same layer. Everything counts: windows,
   * candidates, rivals, lens scores and heads; not the fit of the lens, which is done once a model.
   */
  readonly forwardEquivalents: number;
  /** The part of it that went into scoring proposals. */
  readonly scoring: number;
  readonly candidates: number;
  /** From the first row to the last; of prompts inverted together, their share by work. */
  readonly seconds: number;
}

/** A prompt recovered from its states, with the evidence. */
export interface Inversion {
  /** Absent where the model has no tokenizer. */
  readonly text?: string;
  readonly tokens: readonly number[];
  /** Every position was found and accepted. */
  readonly exact: boolean;
  readonly layer: number;
  /** Name of the policy. */
  readonly policy: string;
  /**
   * What was compared with the winners: the rows evaluated; every token that by the lens's calibration could have been
   * nearer; or the whole vocabulary.
   */
  readonly scope: 'evaluated' | 'calibrated' | 'vocabulary';
  /** Standard deviation of the noise, as a share of the RMS, that the verdicts allow for; 0 for rounding only. */
  readonly noise: number;
  readonly positions: readonly PositionResult[];
  /** Positions of the record; more than `positions` when the search was stopped, or ended at a token that is not there. */
  readonly length: number;
  readonly cost: InversionCost;
}

/** How to invert. */
export interface InvertOptions {
  /** Default `speculative`; or a policy of one's own. */
  readonly policy?: PolicyName | Policy;
  /** Most rows evaluated at once; default 1024. */
  readonly batch?: number;
  readonly noise?: Noise;
  /** After the search, evaluate the whole vocabulary at every position: margins are then true minima. */
  readonly prove?: boolean;
  /** Where lenses come from and are kept, and who is told of a fit. */
  readonly lens?: LensOptions;
  /** Called after each position. */
  readonly onPosition?: (result: PositionResult) => void;
  /** Called while candidates of a position are tried: rows tried so far there, and the nearest. */
  readonly onCandidates?: (position: number, tried: number, best: Candidate) => void;
  /** Stops between batches; what was recovered is returned with `exact: false`. */
  readonly signal?: AbortSignal;
}
