import type { Noise, StateRecord } from './types.ts';

/** Relative rounding error of a state as stored: half a unit in the last place, at most. */
const STORED_ERROR: Readonly<Record<StateRecord['dtype'], number>> = {
  F64: 0,
  F32: 2 ** -24,
  F16: 2 ** -11,
  BF16: 2 ** -8,
};

/** Other software sums in another order; its f32 states differ from ours by up to this share of their norm. */
const FOREIGN_ERROR = 1e-4;

/**
 * A model run in half precision rounds at every step; states after l blocks are off by up to this many halves of a unit
 * in the last place, of their norm. On the default model the worst are half of that (`bench/results`).
 */
const runHalves = (layer: number): number => 2 * (layer + 1);

/** Positions from which the spread of an estimated level can be told; below that, single ones may lie this far off. */
const SPREAD_FROM = 8;
const UNKNOWN_SPREAD = 4;

/** What may separate a state from the one that its token gives here. */
export interface NoiseModel {
  /** Standard deviation of the noise in every element, as a share of the state's RMS; 0 for rounding only. */
  readonly level: number;
  /** Whether the noise is known to be independent in every direction, so that one wrong token gets its share only. */
  readonly isotropic: boolean;
  /** Whether a caller, or the states' dtype, told of it: it is then not estimated. */
  readonly isTold: boolean;
  /** Distances up to this are explained, for a state of this norm. */
  radius(stateNorm: number): number;
  /** Distances up to this are alike: which of two tokens is nearer says nothing. */
  floor(stateNorm: number): number;
}

/**
 * The distance that rounding explains, for a state of this norm: four times our own calibration, what other software's
 * f32 differs by, and the precision the states were stored in.
 */
export function acceptRadius(stateNorm: number, calibration: number, dtype: StateRecord['dtype']): number {
  return stateNorm * Math.max(4 * calibration, FOREIGN_ERROR, STORED_ERROR[dtype]);
}

/**
 * The noise a caller tells of, on top of rounding. States stored in half precision, of which nothing is told, count as
 * those of a model run in it.
 */
export function givenNoise(
  told: Noise | undefined,
  { dtype, layer, width }: Pick<StateRecord, 'dtype' | 'layer' | 'width'>,
  calibration: number,
): NoiseModel {
  const rounding = (norm: number) => acceptRadius(norm, calibration, dtype);
  const noise = told ?? (dtype === 'F16' || dtype === 'BF16' ? { run: dtype } : undefined);
  if (noise === undefined) return { level: 0, isotropic: false, isTold: false, radius: rounding, floor: rounding };
  if ('run' in noise) {
    const error = runHalves(layer) * STORED_ERROR[noise.run];
    const floor = (norm: number) => acceptRadius(norm, calibration, 'F32');
    const radius = (norm: number) => rounding(norm) + error * norm;
    return { level: error / 4, isotropic: false, isTold: true, radius, floor };
  }
  // |e|^2 / sigma^2 has mean d and variance 2 d: six deviations above.
  const share = noise.gaussian * Math.sqrt(1 + 6 * Math.sqrt(2 / width));
  const radius = (norm: number) => rounding(norm) + share * norm;
  return { level: noise.gaussian, isotropic: true, isTold: true, radius, floor: rounding };
}

/**
 * The noise that a record's own distances show: if most exceed what is given, their median is the level, and six
 * deviations above it are explained. Of its kind nothing is known.
 * @param shares Distance over norm of each position's nearest token.
 */
export function estimatedNoise(given: NoiseModel, shares: readonly number[]): NoiseModel {
  if (given.isTold || shares.length === 0) return given;
  const beyond = shares.filter((share) => share > given.radius(1)).length;
  if (2 * beyond <= shares.length) return given;
  const level = median(shares);
  // The median deviation of a normal distribution is 0.67 of the standard deviation.
  const deviation = median(shares.map((share) => Math.abs(share - level))) / 0.67;
  const highest = shares.length < SPREAD_FROM ? UNKNOWN_SPREAD * level : Math.max(1.2 * level, level + 6 * deviation);
  return { ...given, level, radius: (norm) => given.radius(norm) + highest * norm };
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
