import { InputError } from '../../errors.ts';
import { dot } from '../../linalg/dense.ts';
import { norm as length } from '../../linalg/vector.ts';
import { expectShape } from '../../reference/shape.ts';
import { type Atom, type NearestPoint, nearestPoint } from './nearest-point.ts';
import { normed } from './normed.ts';

import type { DominationCertificate, Subject, UnembeddingBlock } from './types.ts';

/** What float64 may be off by, relative to the logits. */
const ROUNDING = 1e-9;

/** States lie this far out: no finite row is normed to the rim of the ellipsoid itself. */
const INSIDE = 1 - 1e-9;

/** Rows of an unembedding and their shares in a mixture. */
export type Mixture = DominationCertificate['dominators'];

/** Which tokens of an unembedding can be the most likely one somewhere on the LayerNorm's ellipsoid. */
export interface Unembedding {
  readonly subject: Subject;
  /** How far ahead of a mixture of other rows a token ever is, in logits, and what counts as none. */
  lead(token: number, mixture: Mixture): { lead: number; tolerance: number };
  /**
   * Looks for a mixture that dominates a token, or a state at which it wins.
   * @returns The best mixture found, and the LayerNorm output `[d]` at which the token is ahead of all others, if there is one.
   */
  search(token: number): { mixture: Mixture; state?: Float64Array };
  /** The part that a certificate is about: of matrices of its own, only the rows it speaks of. */
  excerpt(tokens: readonly number[]): Subject;
}

/**
 * The logits of LayerNorm outputs `y = gamma z + beta` are `E_j . y + bias_j = a_j . z + b_j`, |z| < sqrt(d), mean z = 0. A
 * mixture of other rows, weights l_j >= 0 that add up to 1, is never above the largest of their logits, and token w is
 * ahead of it by at most
 *
 *     lead = sqrt(d) |a_w - sum of l_j a_j| + b_w - sum of l_j b_j.
 *
 * With lead <= 0, w never wins; with the best mixture the converse holds too (minimax). To find it, put `p_j = (sqrt(d)
 * (a_w - a_j), b_w - b_j)`: such a mixture is a way to write the origin as a point of hull(p) plus one of the cone
 * `{(v, t): |v| <= t}`, and the nearest point (v, t) of that sum is sought. Where it is not the origin, w wins at
 * `z = sqrt(d) v / t`: the point has all of hull(p) and of the cone on its far side.
 */
export function unembedding(block: UnembeddingBlock, subject: Subject = { block }): Unembedding {
  const norm = normed(block.norm);
  const { width, radius } = norm;
  const gamma = Float64Array.from(block.norm.weight);
  const beta = Float64Array.from(block.norm.bias);
  const { weight } = block;
  const count = weight.length / width;
  expectShape('unembedding: weight', weight, [Math.floor(count), width]);
  if (block.bias) expectShape('unembedding: bias', block.bias, [count]);
  const tokens = block.tokens ? Array.from(block.tokens) : undefined;
  if (tokens) expectShape('unembedding: tokens', tokens, [count]);
  const tokenOf = (row: number) => tokens?.[row] ?? row;
  const row = (j: number) => Float64Array.from({ length: width }, (_, i) => weight[j * width + i]);
  const centres = Float64Array.from({ length: count }, (_, j) => norm.centre(row(j)) + (block.bias?.[j] ?? 0)); // (rows)

  function rowOf(token: number): number {
    const j = tokens ? tokens.indexOf(token) : token;
    if (Number.isInteger(j) && j >= 0 && j < count) return j;
    throw new InputError(`There is no row for token ${token} among ${count}.`, 'Name a token of the vocabulary.');
  }

  /** The row other than `own` with the largest `a . direction + share b`. */
  function strongest(own: number, direction: Float64Array, share: number): number {
    const mean = direction.reduce((sum, value) => sum + value, 0) / width;
    const q = direction.map((value, i) => gamma[i] * (value - mean));
    let [best, most] = [-1, Number.NEGATIVE_INFINITY];
    for (let j = 0; j < count; j++) {
      if (j === own) continue;
      let score = share * centres[j];
      for (let i = 0; i < width; i++) score += q[i] * weight[j * width + i];
      if (score > most) [best, most] = [j, score];
    }
    return best;
  }

  /** How many logits a row is ahead of all others at a normed row of mean 0. */
  function ahead(own: number, z: Float64Array): number {
    const rival = strongest(own, z, 1);
    const apart = row(own).map((value, i) => value - weight[rival * width + i]);
    return dot(norm.axis(apart), z) + centres[own] - centres[rival];
  }

  function lead(token: number, mixture: Mixture): { lead: number; tolerance: number } {
    const own = rowOf(token);
    const total = mixture.reduce((sum, { weight }) => sum + weight, 0);
    const rest = row(own);
    let apart = centres[own];
    let size = radius * length(norm.axis(rest)) + Math.abs(apart);
    for (const part of mixture) {
      const j = rowOf(part.token);
      const share = part.weight / total;
      const other = row(j);
      for (let i = 0; i < width; i++) rest[i] -= share * other[i];
      apart -= share * centres[j];
      size += share * (radius * length(norm.axis(other)) + Math.abs(centres[j]));
    }
    return { lead: radius * length(norm.axis(rest)) + apart, tolerance: ROUNDING * size };
  }

  return {
    subject,
    lead,
    search(token) {
      const own = rowOf(token);
      if (count < 2) return { mixture: [], state: beta };
      const ownRow = row(own);
      const points = new Map<Float64Array, number>();
      const pointOf = (j: number): Atom => {
        const other = row(j);
        const axis = norm.axis(ownRow.map((value, i) => value - other[i]));
        const vector = Float64Array.of(...axis.map((value) => radius * value), centres[own] - centres[j]);
        points.set(vector, j);
        return { vector, isRay: false };
      };
      const mixture = ({ atoms, weights }: NearestPoint): Mixture =>
        atoms.flatMap(({ vector, isRay }, k) =>
          isRay ? [] : [{ token: tokenOf(points.get(vector)!), weight: weights[k] }],
        );

      const found = nearestPoint(pointOf(strongest(own, norm.axis(ownRow), 0)), (x, held) => {
        const now = lead(token, mixture(held));
        if (now.lead <= 0) return undefined;
        const [v, t] = [x.subarray(0, width), x[width]];
        const direction = v.map((value) => radius * value);
        const next = pointOf(strongest(own, direction, t));
        if (dot(x, next.vector) <= 0) return next;
        const reach = length(v);
        if (t >= reach) return undefined; // here the token wins
        return { vector: Float64Array.of(...v.map((value) => -value / reach), 1), isRay: true };
      });
      const parts = mixture(found);
      const total = parts.reduce((sum, { weight }) => sum + weight, 0);
      const shares = parts.map(({ token, weight }) => ({ token, weight: weight / total }));
      const [v, t] = [found.point.subarray(0, width), found.point[width]];
      const z = v.map((value) => (INSIDE * radius * value) / Math.max(t, length(v)));
      const isAhead = ahead(own, z) > lead(token, shares).tolerance;
      return { mixture: shares, ...(isAhead && { state: z.map((value, i) => gamma[i] * value + beta[i]) }) };
    },
    excerpt(wanted) {
      if (!('block' in subject)) return subject;
      const rows = wanted.map(rowOf);
      const bias = block.bias && rows.map((j) => block.bias![j]);
      const { norm } = block;
      return { block: { norm, weight: rows.flatMap((j) => Array.from(row(j))), bias, tokens: wanted } };
    },
  };
}

/**
 * Looks for rows that keep a token from ever being the most likely one. Of two equal rows neither ever strictly wins.
 * @returns Undefined when the token wins somewhere, or no proof is found.
 * @throws InputError for a token without a row.
 */
export function certifyDominated(head: Unembedding, token: number): DominationCertificate | undefined {
  const { mixture: dominators } = head.search(token);
  if (dominators.length === 0) return undefined;
  const numbers = head.lead(token, dominators);
  if (!(numbers.lead <= numbers.tolerance)) return undefined;
  const subject = head.excerpt([token, ...dominators.map((part) => part.token)]);
  return { kind: 'dominated', subject, token, dominators, ...numbers };
}
