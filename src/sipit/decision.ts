import { countFrom, type LanguageModel } from '../model/model.ts';
import { newPositionMap } from '../model/position-map.ts';
import { sliceRows } from '../ops/slice.ts';
import { seededRandom } from '../reference/random.ts';
import { readAll, share, type Tensor } from '../tensor/tensor.ts';
import type { NoiseModel } from './noise.ts';
import type { Candidate, Verdict } from './types.ts';

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
 * `accepted`: the nearest candidate fits and nothing else does. If the noise is at most `radius`, the true token is
 * within it; a second one not clearly farther makes the position `ambiguous`.
 * @param floor Distances up to this are alike; default all that fit.
 */
export function decide(best: Candidate, runnerUp: Candidate | undefined, radius: number, floor = radius): Verdict {
  if (!(best.distance <= radius)) return 'not found';
  return runnerUp && runnerUp.distance <= Math.max(floor, 2 * best.distance) ? 'ambiguous' : 'accepted';
}

/** Whether a candidate that does not fit is still so clearly the nearest that the search may go on with it. */
export function clearlyNearest(best: Candidate, runnerUp: Candidate | undefined): boolean {
  return runnerUp === undefined || best.distance <= runnerUp.distance / 2;
}

/** Odds, as a logarithm, below which two tokens are not told apart: a million to one against a vocabulary of 4096. */
const DECISIVE = 22;

/**
 * As `decide`, under noise. Isotropic noise of standard deviation s makes the nearer of two tokens likelier by
 * exp((d'^2 - d^2) / 2 s^2), however many of them the radius holds.
 * @param stateNorm Norm of the observed state. @param width d
 */
export function decideUnder(
  noise: NoiseModel,
  best: Candidate,
  runnerUp: Candidate | undefined,
  stateNorm: number,
  width: number,
): Verdict {
  const plain = decide(best, runnerUp, noise.radius(stateNorm), noise.floor(stateNorm));
  if (plain !== 'ambiguous' || !noise.isotropic || !runnerUp) return plain;
  const variance = (noise.level * stateNorm) ** 2 / width;
  return runnerUp.distance ** 2 - best.distance ** 2 >= 2 * DECISIVE * variance ? 'accepted' : 'ambiguous';
}

/** Under isotropic noise of standard deviation s, tokens whose states lie farther apart than this many s do not swap. */
const GAUSSIAN_REACH = 15;

/**
 * How far from the state of the nearest token another's may lie and still be as near to the observed state.
 *
 *   - `all`: whatever the noise is like. It hides a token that is less than twice as far as the nearest.
 *   - `likely`: noise that is isotropic pushes towards any one token by a few standard deviations only.
 *
 * @param distance Of the nearest token so far.
 */
export function reachOf(
  noise: NoiseModel,
  distance: number,
  stateNorm: number,
  width: number,
): { readonly all: number; readonly likely: number } {
  const all = distance + Math.max(noise.floor(stateNorm), 2 * distance);
  const deviation = (noise.level * stateNorm) / Math.sqrt(width);
  // At least what a clean state would need whose nearest token is the wrong one.
  const likely = noise.isotropic ? Math.min(all, Math.max(GAUSSIAN_REACH * deviation, 1.1 * distance)) : all;
  return { all, likely };
}
