import type { ActivationName } from '../../reference/activation.ts';

/** Gain and bias of a LayerNorm, `[d]` each. */
export interface NormBlock {
  readonly weight: ArrayLike<number>;
  readonly bias: ArrayLike<number>;
}

/** Softmax attention after a LayerNorm, without residual, behind a prefix: what bounds its outputs. */
export interface AttentionBlock {
  readonly norm: NormBlock;
  readonly heads: number;
  /** `[d, d]`, `[in, out]`, as all matrices here; a head is a run of columns. */
  readonly valueWeight: ArrayLike<number>;
  /** `[d]` */
  readonly valueBias: ArrayLike<number>;
  /** `[d, d]` */
  readonly outWeight: ArrayLike<number>;
  /** `[d]` */
  readonly outBias: ArrayLike<number>;
  /** The values of the prefix, `[n, d]`. */
  readonly values: ArrayLike<number>;
}

/** `activation(x W1 + b1) W2 + b2`, without residual; after a LayerNorm, if it has one. */
export interface MlpBlock {
  readonly norm?: NormBlock;
  readonly activation: ActivationName;
  /** `[d, inner]` */
  readonly inWeight: ArrayLike<number>;
  /** `[inner]` */
  readonly inBias: ArrayLike<number>;
  /** `[inner, d]` */
  readonly outWeight: ArrayLike<number>;
  /** `[d]` */
  readonly outBias: ArrayLike<number>;
}

/** Logits of a LayerNorm's outputs. */
export interface UnembeddingBlock {
  readonly norm: NormBlock;
  /** `[rows, d]` */
  readonly weight: ArrayLike<number>;
  /** `[rows]`; none unless given. */
  readonly bias?: ArrayLike<number>;
  /** The token of each row; 0, 1, 2 ... unless given. */
  readonly tokens?: ArrayLike<number>;
}

/** A block as the certificates know it. */
export type Block = NormBlock | AttentionBlock | MlpBlock | UnembeddingBlock;

/** A part of a model: `ln_f`, `h.3.ln_1`, `h.3.attn`, `h.3.mlp` (both with their LayerNorm, without residual), `lm_head`. */
export interface ModelPart {
  /** The digest of its weights. */
  readonly model: string;
  readonly part: string;
  /** Of attention: the token ids before the position, */
  readonly prefix?: readonly number[];
  /** or, where the prefix is no text, the values its rows leave in this block, `[n, d]`. */
  readonly values?: ArrayLike<number>;
}

/** What a certificate is about: a part of a model, or matrices of its own. */
export type Subject = ModelPart | { readonly block: Block };

/** The convex sets that outputs are known to stay in. */
export type RegionKind = 'ellipsoid' | 'hull' | 'bound' | 'cone';

/** A convex set that holds every output of a block. */
export interface Region {
  readonly kind: RegionKind;
  readonly subject: Subject;
  /** d */
  readonly width: number;
  /** The bias that outputs end with: f32 outputs are off by a share of it, too. */
  readonly offset: Float64Array;
  /**
   * An upper bound of `u . y` over all outputs y, its own rounding included; Infinity where there is none.
   * @param u `[d]`, of length 1.
   */
  support(u: Float64Array): number;
  /** Where in the block a direction points, if one can tell: `head 3`. */
  detail?(u: Float64Array): string;
  /** Directions along which a target may lie outside, the likeliest first; of any length. */
  directions(target: Float64Array): Iterable<Float64Array>;
}

/** No input gives the target: along `direction` it lies beyond every output. */
export interface SeparationCertificate {
  readonly kind: RegionKind;
  readonly subject: Subject;
  /** `[d]` */
  readonly target: readonly number[];
  /** u `[d]`, of length 1. */
  readonly direction: readonly number[];
  /** u . target */
  readonly value: number;
  /** What u . y stays below for every output y. */
  readonly bound: number;
  /** By how much `value` must exceed `bound`: more than a target in f32 may be off by. */
  readonly tolerance: number;
}

/** A token that is never the most likely one: a mixture of other rows scores as much everywhere. */
export interface DominationCertificate {
  readonly kind: 'dominated';
  readonly subject: Subject;
  readonly token: number;
  /** The rows that dominate it, and the share of each in the mixture. */
  readonly dominators: readonly { readonly token: number; readonly weight: number }[];
  /** The most, in logits, that the token is ever ahead of the mixture. */
  readonly lead: number;
  /** A lead that is none: what float64 may be off by. */
  readonly tolerance: number;
}

/** Proof that there is no input, as data that anyone can check. */
export type Certificate = SeparationCertificate | DominationCertificate;
