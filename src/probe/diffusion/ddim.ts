import { add, scale } from '../../ops/elementwise.ts';
import { readAll, type Tensor, upload } from '../../tensor/tensor.ts';
import type { Chain } from '../chain.ts';
import { type RowMap, rowMap } from '../row-map.ts';
import { type Denoiser, POINT } from './denoiser.ts';
import { type DdimStep, ddimSteps } from './schedule.ts';
import { denoiserTwin } from './twin.ts';

/** A deterministic diffusion as a chain of maps of the plane, and what is known of each. */
export interface Diffusion extends Chain {
  readonly twin: NonNullable<Chain['twin']>;
  /** From noise to data, one for each of `steps`. */
  readonly schedule: readonly DdimStep[];
  /** What no predicted noise is longer than. */
  readonly bound: number;
}

/**
 * The map from noise to data of DDIM with a trained denoiser, a step at a time: `g(x) = a x + b eps(x)`, with a >= 1.
 *
 * **Every step is onto.** The prediction is bounded, |eps| <= E, as it is read from a LayerNorm (`Denoiser`). Let
 * `H(x, s) = (1 - s) x + s g(x) = (1 - s + s a) x + s b eps(x)`. The factor on x is at least 1 for all s in [0, 1], so
 * whatever x solves H(x, s) = y has |x| <= |y| + |b| E: no solution leaves that ball while s grows. The degree of the
 * identity, 1 at s = 0, is therefore that of g, and g(x) = y has a solution for every y; more closely, all of them lie
 * within |b| E / a of y / a. A chain of maps that are onto is onto: every point of the plane is an output of the model.
 * Source: arXiv 2508.19445; the same argument that makes x + f(LN x) onto.
 *
 * The denoiser's weights must stay as they are: the twin has read them.
 * @param count How many steps, at most the denoiser's `times`.
 * @throws InputError for another number of steps.
 */
export async function deterministicDiffusion(denoiser: Denoiser, count: number): Promise<Diffusion> {
  const schedule = ddimSteps(denoiser.times, count);
  const { predictNoise, bound } = await denoiserTwin(denoiser);
  return {
    schedule,
    bound,
    steps: schedule.map((step) => ddimMap(denoiser, step)),
    twin: (x) =>
      schedule.reduce((point, { from, signal, noise }) => {
        const eps = predictNoise(point, from);
        return point.map((value, i) => signal * value + noise * eps[i]);
      }, x),
  };
}

const ddimMap = ({ predictNoise }: Denoiser, { from, signal, noise }: DdimStep): RowMap =>
  rowMap(`ddim.${from}`, POINT, (rows) =>
    add(scale(rows, signal), predictNoise(rows, new Uint32Array(rows.shape[0]).fill(from)), noise),
  );

/**
 * Runs points through all steps on the GPU.
 * @param noise [n, 2]
 * @returns The points before the first step, and after each: [n, 2] each.
 */
export async function trajectories({ model: { context } }: Denoiser, { steps }: Chain, noise: Float32Array) {
  const slots = new Uint32Array(noise.length / POINT);
  const states: Tensor[] = [upload(context, noise, [slots.length, POINT])];
  try {
    for (const step of steps) states.push(step.states(states[states.length - 1], slots));
    return await readAll(states);
  } finally {
    for (const state of states) state.dispose();
  }
}
