import { countFrom, type LanguageModel } from '../model/model.ts';
import { newPositionMap } from '../model/position-map.ts';
import { sliceRows } from '../ops/slice.ts';
import { seededRandom } from '../reference/random.ts';
import { readAll, share, type Tensor } from '../tensor/tensor.ts';
import type { Candidate, StateRecord, Verdict } from './types.ts';

/** Relative rounding error of a state as stored: half a unit in the last place, at most. */
const STORED_ERROR: Readonly<Record<StateRecord['dtype'], number>> = {
  F64: 0,
  F32: 2 ** -24,
  F16: 2 ** -11,
  BF16: 2 ** -8,
};

/** Other software sums in another order; its f32 states differ from ours by up to this share of their norm. */
const FOREIGN_ERROR = 1e-4;

const CALIBRATION_TOKENS = 16;
const CALIBRATION_BATCH = 23;
const calibrations = new WeakMap<LanguageModel, Map<number, Promise<number>>>();

/**
 * How far apart, relative to its norm, one state comes out of differently shaped batches on this adapter: the last row
 * of a window, a candidate on its own, and a candidate among others. Measured once for each model and layer.
 */
export function calibrate(model: LanguageModel, layer: number): Promise<number> {
  const known = calibrations.get(model) ?? new Map<number, Promise<number>>();
  calibrations.set(model, known);
  let calibration = known.get(layer);
  if (!calibration) {
    calibration = measure(model, layer);
    known.set(layer, calibration);
    calibration.catch(() => known.delete(layer));
  }
  return calibration;
}

async function measure(model: LanguageModel, layer: number): Promise<number> {
  const { context, config } = model;
  const length = Math.min(CALIBRATION_TOKENS, config.contextLength);
  const last = length - 1;
  const { next } = seededRandom(1);
  const ids = Uint32Array.from({ length }, () => Math.floor(next() * config.vocabularySize));
  const map = newPositionMap(model, layer, { capacity: length });
  const shapes: Tensor[] = [];
  try {
    context.scope(() => {
      const all = (count: number, value: number) => new Uint32Array(count).fill(value);
      const window = map.extend(model.embed(ids, countFrom(0, length)), [{ slot: 0, count: length }]); // (T, d)
      const alike = (count: number) =>
        map.states(model.embed(all(count, ids[last]), all(count, last)), all(count, 0), all(count, last)); // (count, d)
      const among = alike(CALIBRATION_BATCH);
      const states = [sliceRows(window, last, 1), alike(1), sliceRows(among, CALIBRATION_BATCH - 1, 1)];
      shapes.push(...states.map(share));
    });
    const [window, ...others] = await readAll(shapes);
    const gaps = others.map((other) => norm(other.map((value, i) => value - window[i])));
    return Math.max(...gaps) / (norm(window) || 1);
  } finally {
    for (const state of shapes) state.dispose();
    map.cache.dispose();
  }
}

/** Euclidean norm. */
export const norm = (row: Float32Array): number => Math.sqrt(row.reduce((sum, value) => sum + value * value, 0));

/**
 * The distance that rounding explains, for a state of this norm: four times our own calibration, what other software's
 * f32 differs by, and the precision the states were stored in.
 */
export function acceptRadius(stateNorm: number, calibration: number, dtype: StateRecord['dtype']): number {
  return stateNorm * Math.max(4 * calibration, FOREIGN_ERROR, STORED_ERROR[dtype]);
}

/**
 * `accepted`: the nearest candidate fits and nothing else does. If the noise is at most `radius`, the true token is
 * within it, so a second fit, or one not clearly farther, makes the position `ambiguous`.
 */
export function decide(best: Candidate, runnerUp: Candidate | undefined, radius: number): Verdict {
  if (!(best.distance <= radius)) return 'not found';
  return runnerUp && runnerUp.distance <= Math.max(radius, 2 * best.distance) ? 'ambiguous' : 'accepted';
}

/** Whether a candidate that does not fit is still so clearly the nearest that the search may go on with it. */
export function clearlyNearest(best: Candidate, runnerUp: Candidate | undefined): boolean {
  return runnerUp === undefined || best.distance <= runnerUp.distance / 2;
}
