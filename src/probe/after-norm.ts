import { norm as length } from '../linalg/vector.ts';
import { normed } from './certificates/normed.ts';

import type { NormBlock } from './certificates/types.ts';
import type { Vector } from './requests.ts';

/**
 * A state that LayerNorm takes to an output: of those, which differ in mean and, up to epsilon, in length, the one of
 * mean 0 and at most a natural length. `z = (y - beta) / gamma` has |z|^2 = d var / (var + epsilon).
 * @param y [d], within the ellipsoid of outputs: what lies outside is taken to its rim.
 * @param most The longest that the state may be; an output near the rim needs a long one, and any long one will do.
 */
export function beforeNorm({ weight, bias }: NormBlock, epsilon: number, y: ArrayLike<number>, most: number): Vector {
  const { radius } = normed({ weight, bias });
  const raw = Float64Array.from(weight, (gamma, i) => (gamma === 0 ? 0 : (y[i] - bias[i]) / gamma));
  const mean = raw.reduce((sum, value) => sum + value, 0) / raw.length;
  const z = raw.map((value) => value - mean);
  const share = (length(z) / radius) ** 2; // var / (var + epsilon)
  const exact = share < 1 ? radius * Math.sqrt((epsilon * share) / (1 - share)) : Number.POSITIVE_INFINITY;
  const size = Math.min(exact, most);
  return z.map((value) => (value * size) / (length(z) || 1));
}
