import { InputError } from '../../errors.ts';
import { dot } from '../../linalg/dense.ts';
import { norm as length } from '../../linalg/vector.ts';
import { activations } from '../../reference/activation.ts';
import { expectShape } from '../../reference/shape.ts';
import { type Atom, nearestPoint } from './nearest-point.ts';
import { columnsFrom, rowsFrom } from './normed.ts';

import type { MlpBlock, Region, Subject } from './types.ts';

/** How far the rays are leant towards the target, so that rounding leaves them on the right side of the plane. */
const TILT = 1e-8;
const ROUNDING = 1e-15;

/** A half-line of outputs, and how large the numbers were that it was computed from. */
interface Ray {
  readonly vector: Float64Array;
  readonly size: Float64Array;
}

/**
 * Where the outputs of an MLP without residual lie whose activation is positively homogeneous: in the cone `b2 +` the
 * non-negative sums of rays, whatever its first matrix does.
 *
 *   - ReLU: hidden unit j adds a multiple >= 0 of its row w_j of W2.
 *   - LeakyReLU of slope a: two units that see x and -x (opposite columns of W1 and b1) add a multiple >= 0 of
 *     `w_j - a w_k` or of `w_k - a w_j`: of (1 - a) w where their rows are equal, as LReLU(x) + LReLU(-x) = (1 - a) |x|.
 *     A unit on its own adds multiples of either sign, of w_j and of -a w_j.
 *
 * A direction u with u . ray <= 0 for all rays bounds the outputs by `u . b2`. One that separates is what non-negative
 * least squares leaves of y - b2. There is one where W2 >= 0 (some -e_i), where d_ff < d, or for narrow cones; hardly ever
 * well above d_ff = 2 d, where the rays of a random W2 surround the origin (Wendel 1962).
 * @throws InputError for another activation; ShapeError.
 */
export function cone(block: MlpBlock, subject: Subject = { block }): Region {
  const offset = Float64Array.from(block.outBias);
  const width = offset.length;
  const rays = raysOf(block, width);

  return {
    kind: 'cone',
    subject,
    width,
    offset,
    support(u) {
      for (const { vector, size } of rays) {
        const error = ROUNDING * (width + 4) * u.reduce((sum, value, i) => sum + Math.abs(value) * size[i], 0);
        if (dot(u, vector) + error > 0) return Number.POSITIVE_INFINITY;
      }
      return dot(u, offset) + ROUNDING * width * length(offset);
    },
    *directions(target) {
      const rest = target.map((value, i) => value - offset[i]);
      const lowest = rest.indexOf(Math.min(...rest));
      yield rest.map((_, i) => (i === lowest ? -1 : 0));

      const far = length(rest);
      const leaning = rays.flatMap(({ vector }): Atom[] => {
        const size = length(vector);
        const leant = vector.map((value, i) => value / size + (TILT * rest[i]) / far);
        return size > 0 ? [{ vector: leant, isRay: true }] : []; // a unit that adds nothing
      });
      const start = { vector: rest.map((value) => -value), isRay: false };
      const { point } = nearestPoint(start, (x) => {
        let least = -1e-12 * length(x);
        let next: Atom | undefined;
        for (const ray of leaning) {
          const along = dot(x, ray.vector);
          if (along < least) [least, next] = [along, ray];
        }
        return next;
      });
      yield point.map((value) => -value);
    },
  };
}

function raysOf({ activation, inWeight, inBias, outWeight }: MlpBlock, width: number): Ray[] {
  if (activation !== 'relu' && activation !== 'leaky_relu') {
    throw new InputError(`The outputs of an MLP with ${activation} fill no cone.`, 'Use relu or leaky_relu.');
  }
  const inner = inBias.length;
  expectShape('cone: inWeight', inWeight, [inWeight.length / inner, inner]);
  expectShape('cone: outWeight', outWeight, [inner, width]);
  const rows = rowsFrom(outWeight, width); // (inner, d)
  if (activation === 'relu') return rows.map((vector) => ({ vector, size: vector.map(Math.abs) }));

  const slope = -activations.leaky_relu(-1);
  const minus = (to: Float64Array, from: Float64Array): Ray => ({
    vector: to.map((value, i) => value - slope * from[i]),
    size: to.map((value, i) => Math.abs(value) + slope * Math.abs(from[i])),
  });
  const none = new Float64Array(width);
  const waiting = new Map<string, number[]>();
  const rays: Ray[] = [];
  columnsFrom(inWeight, inner).forEach((column, j) => {
    const sees = [...column, inBias[j]];
    const partner = waiting.get(sees.map((value) => -value || 0).join())?.pop();
    if (partner !== undefined) rays.push(minus(rows[j], rows[partner]), minus(rows[partner], rows[j]));
    else {
      const key = sees.map((value) => value || 0).join();
      waiting.set(key, [...(waiting.get(key) ?? []), j]);
    }
  });
  for (const j of [...waiting.values()].flat()) rays.push(minus(rows[j], none), minus(none, rows[j]));
  return rays;
}
