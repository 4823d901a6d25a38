/**
 * How states of one layer arise from token rows, linearly: a generative lens.
 *
 *     h_t ~ e_t B + h_(t-1) C + c,   residual covariance S,   e_t = wte[token] + wpe[t]
 *
 * Fitted on the model alone. It proposes tokens and orders rivals; what it proposes is verified, so it decides only
 * what an inversion costs.
 */
export interface LinearLens {
  /** B, [d, d]: what a row of the embedding adds to the state. */
  readonly embedding: Float32Array;
  /** C, [d, d]: what the state before adds; absent at the first position, which has none. */
  readonly previous?: Float32Array;
  /** c, [d] */
  readonly intercept: Float32Array;
  /** S, [d, d] */
  readonly covariance: Float32Array;
  /**
   * The smallest ratio |F(v) - F(v')| / |(w_v - w_v') B| seen when fitting, with some of it taken off: tokens whose
   * states are at most R apart have rows at most R / kappa apart. Calibrated, not proven.
   */
  readonly kappa: number;
}

/** The lens of one layer. The first position sees nothing but itself and has a lens of its own. */
export interface LayerLens {
  readonly layer: number;
  /** Root mean square of the states' elements behind the first position, the unit of noise levels. */
  readonly rms: number;
  readonly first: LinearLens;
  readonly rest: LinearLens;
}

/**
 * Noise that a lens always allows for, as a share of the RMS: more than half precision adds, and enough to invert a
 * covariance of too few samples. On the default model it changes 0.2 % of the proposals at most.
 */
export const NOISE_FLOOR = 0.005;

/** Layer 0 needs no fit: its states are the rows of the embedding. @param rms Root mean square of their elements. */
export function embeddingLens(width: number, rms: number): LayerLens {
  const identity = new Float32Array(width * width);
  for (let i = 0; i < width; i++) identity[i * (width + 1)] = 1;
  const linear: LinearLens = {
    embedding: identity,
    intercept: new Float32Array(width),
    covariance: identity.map((value) => value * (NOISE_FLOOR * rms) ** 2),
    kappa: 1,
  };
  return { layer: 0, rms, first: linear, rest: linear };
}
