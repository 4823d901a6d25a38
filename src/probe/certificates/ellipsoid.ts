import { norm as length } from '../../linalg/vector.ts';
import { normed } from './normed.ts';

import type { NormBlock, Region, Subject } from './types.ts';

/** What rounding leaves of a sum of its terms' sizes, generously. */
const ROUNDING = 1e-12;
const BISECTIONS = 200;

/**
 * Where the outputs of a LayerNorm lie: `y = gamma z + beta` with mean z = 0 and |z|^2 < d, a flat ellipsoid. What cannot
 * be read after `ln_f`, or in a post-LN model, at all.
 *
 * Its support function is `u . beta + sqrt(d) |P gamma u|`, P taking the mean out. The direction that separates best
 * leads from the nearest point of the ellipsoid to the target: z minimises `|r - gamma z|^2`, `r = y - beta`, so
 * `(gamma^2 + mu) z = gamma r - nu`, with nu from the mean and mu >= 0 from the norm, by bisection. Elements with gamma = 0
 * need nothing of their own: there y - beta itself is what is left.
 * @throws ShapeError when gain and bias differ in width.
 */
export function ellipsoid(block: NormBlock, subject: Subject = { block }): Region {
  const norm = normed(block);
  const gamma = Float64Array.from(block.weight);
  const beta = Float64Array.from(block.bias);
  const { width, radius } = norm;
  const size = length(beta) + radius * length(gamma);

  /** The normed row nearest to reaching y - beta, if its squared length were priced at mu. */
  function nearest(r: Float64Array, mu: number): Float64Array {
    let [sum, price] = [0, 0];
    for (let i = 0; i < width; i++) {
      const weight = 1 / (gamma[i] * gamma[i] + mu);
      sum += weight * gamma[i] * r[i];
      price += weight;
    }
    return r.map((value, i) => (gamma[i] * value - sum / price) / (gamma[i] * gamma[i] + mu));
  }

  return {
    kind: 'ellipsoid',
    subject,
    width,
    offset: beta,
    support: (u) => norm.centre(u) + radius * length(norm.axis(u)) + ROUNDING * size,
    *directions(target) {
      const r = target.map((value, i) => value - beta[i]);
      const largest = gamma.reduce((most, value) => Math.max(most, value * value), 0);
      let low = 1e-14 * (largest || 1);
      let z = nearest(r, low);
      if (length(z) > radius) {
        let high = Math.max(length(r.map((value, i) => value * gamma[i])) / radius, 2 * low);
        for (let i = 0; i < BISECTIONS && high > low * (1 + 1e-15); i++) {
          const mu = Math.sqrt(low * high);
          z = nearest(r, mu);
          if (length(z) > radius) low = mu;
          else high = mu;
        }
      }
      yield r.map((value, i) => value - gamma[i] * z[i]);
    },
  };
}
