import type { Dtype } from '../io/checkpoint.ts';

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
  /** Name of the record in its file (`states.17`), for messages. */
  readonly name?: string;
  /** Digest of the weights that made the states, where the file tells. */
  readonly model?: string;
}

/** Which candidates are tried, and in which order. */
export type PolicyName = 'likely-first' | 'exhaustive';

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
  /** The nearest candidate; recovered when the verdict is `accepted`. */
  readonly token: number;
  /** Its text; absent where the model has no tokenizer. */
  readonly text?: string;
  readonly distance: number;
  /** Distances up to this are explained by rounding and noise. */
  readonly radius: number;
  /** The next nearest among the rows evaluated; absent for a vocabulary of one. */
  readonly runnerUp?: Candidate;
  /** runnerUp.distance - distance. */
  readonly margin?: number;
  /** Rows evaluated at this position. */
  readonly candidates: number;
}

/** The work of an inversion. */
export interface InversionCost {
  /** Matrix products in units of one forward pass over the same prompt up to the same layer; heads of proposals count. */
  readonly forwardEquivalents: number;
  readonly candidates: number;
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
  readonly policy: PolicyName;
  /** Whether runners-up were looked for among the rows evaluated, or in the whole vocabulary. */
  readonly runnerUpScope: 'evaluated' | 'vocabulary';
  readonly positions: readonly PositionResult[];
  /** Positions of the record; more than `positions` when the search stopped at a token that does not exist. */
  readonly length: number;
  readonly cost: InversionCost;
}

/** How to invert. */
export interface InvertOptions {
  /** Default `likely-first`. */
  readonly policy?: PolicyName;
  /** Most candidates evaluated at once; default 1024. */
  readonly batch?: number;
  /** Called after each position. */
  readonly onPosition?: (result: PositionResult) => void;
  /** Called while candidates of a position are tried: rows tried so far there, and the nearest. */
  readonly onCandidates?: (position: number, tried: number, best: Candidate) => void;
  /** Stops between batches; what was recovered is returned with `exact: false`. */
  readonly signal?: AbortSignal;
}
