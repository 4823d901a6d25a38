import { InputError } from '../../errors.ts';

/** How far noise has won by the last time, as an angle: short of pi / 2, where no signal is left to divide by. */
const LAST_ANGLE = 0.48 * Math.PI;

/**
 * The angle of a time: `x_t = cos(angle) x_0 + sin(angle) noise`, so that the variance stays 1 where the data have it.
 * Source: Nichol and Dhariwal 2021, arXiv 2102.09672, section 3.2 (cosine schedule), as an angle as in Salimans and Ho
 * 2022, arXiv 2202.00512, section 4.
 * @param time 0 (data) to `times` (noise).
 */
export const angleAt = (time: number, times: number): number => (LAST_ANGLE * time) / times;

/** One deterministic step towards the data: `x_to = signal x_from + noise eps(x_from, from)`. */
export interface DdimStep {
  /** The time it starts at; 1 or more. */
  readonly from: number;
  /** The time it ends at, less. */
  readonly to: number;
  /** The factor on the point: 1 or more. */
  readonly signal: number;
  /** The factor on the predicted noise: negative. */
  readonly noise: number;
}

/**
 * The steps of DDIM without randomness from noise to data, over times as evenly spaced as whole numbers can be: an
 * Euler solution of the probability flow. With angles a > b, eliminating x_0 from `x_a = cos a x_0 + sin a eps` and
 * `x_b = cos b x_0 + sin b eps` gives `x_b = (cos b / cos a) x_a - (sin(a - b) / cos a) eps`.
 * Source: Song, Meng and Ermon 2021, arXiv 2010.02502, equation 12 with sigma = 0.
 * @param times How many times the denoiser knows.
 * @param count How many steps, 1 to `times`.
 * @throws InputError for another number of steps.
 */
export function ddimSteps(times: number, count: number): DdimStep[] {
  if (!Number.isInteger(count) || count < 1 || count > times) {
    throw new InputError(`${count} steps cannot go through ${times} times.`, `Take 1 to ${times} steps.`);
  }
  const timeAfter = (steps: number) => Math.round((times * (count - steps)) / count);
  return Array.from({ length: count }, (_, i) => {
    const [from, to] = [timeAfter(i), timeAfter(i + 1)];
    const [a, b] = [angleAt(from, times), angleAt(to, times)];
    return { from, to, signal: Math.cos(b) / Math.cos(a), noise: -Math.sin(a - b) / Math.cos(a) };
  });
}
