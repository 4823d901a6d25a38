import { matrixFrom, product } from '../linalg/dense.ts';
import { principalAxes } from '../linalg/positive.ts';
import type { LanguageModel } from '../model/model.ts';
import { take } from '../tensor/tensor.ts';
import type { LinearLens } from './lens.ts';
import { mapVocabulary, vocabularyCovariance } from './vocabulary.ts';

/** Axes that distances are bounded by; the first few already rule most tokens out. */
const AXES = 128;

/**
 * Which tokens a lens predicts near another: |(w_v - w_v') B|, bounded from below by the first axes. Asked for every
 * position, so it lives on the CPU and looks at few tokens.
 */
export interface RivalIndex {
  /** Tokens that may have predicted distances below `reach`, nearest first by the bound. */
  within(token: number, reach: number): number[];
  /** A lower bound on the predicted distance of every token that is not among `except`; Infinity when none is left. */
  beyond(token: number, except?: ReadonlySet<number>): number;
  /** A lower bound on the predicted distance of two tokens; 0 for equal rows. */
  bound(token: number, other: number): number;
}

/** Projects the vocabulary once: 2 V d r flops and V r floats on the CPU. */
export async function rivalIndex(model: LanguageModel, lens: LinearLens): Promise<RivalIndex> {
  const d = model.config.width;
  const b = matrixFrom(lens.embedding, d);
  const covariance = product(product(b.transpose(), await vocabularyCovariance(model)), b);
  const axes = principalAxes(covariance, Math.min(AXES, d));
  return indexOf(await take(mapVocabulary(model, product(b, axes))), axes.columns);
}

/** @param rows Projected rows of the vocabulary, [V, r]. */
export function indexOf(rows: Float32Array, r: number): RivalIndex {
  const count = rows.length / r;
  // Along the first axis, where the vocabulary is widest: near tokens stand near each other.
  const order = Uint32Array.from({ length: count }, (_, token) => token).sort((a, b) => rows[a * r] - rows[b * r]);
  const rank = new Uint32Array(count);
  order.forEach((token, i) => {
    rank[token] = i;
  });

  /** |difference|^2 along the axes, or at least `limit` once it is known to be no less. */
  function squares(a: number, b: number, limit: number): number {
    let sum = 0;
    for (let j = 0; j < r && sum < limit; j++) sum += (rows[a * r + j] - rows[b * r + j]) ** 2;
    return sum;
  }

  /** Walks away from a token in both directions, nearest along the first axis first, while `visit` says how far. */
  function walk(token: number, reach: number, visit: (other: number, reach: number) => number): void {
    let [low, high] = [rank[token] - 1, rank[token] + 1];
    const away = (i: number) =>
      i < 0 || i >= count ? Number.POSITIVE_INFINITY : Math.abs(rows[order[i] * r] - rows[token * r]);
    for (let limit = reach; ; ) {
      const [below, above] = [away(low), away(high)];
      if (!(Math.min(below, above) < limit)) return;
      limit = visit(order[below < above ? low-- : high++], limit);
    }
  }

  return {
    within(token, reach) {
      const found: { other: number; bound: number }[] = [];
      walk(token, reach, (other, limit) => {
        const bound = squares(token, other, limit ** 2);
        if (bound < limit ** 2) found.push({ other, bound });
        return limit;
      });
      return found.sort((a, b) => a.bound - b.bound || a.other - b.other).map(({ other }) => other);
    },
    beyond(token, except = new Set()) {
      let nearest = Number.POSITIVE_INFINITY;
      walk(token, nearest, (other, limit) => {
        if (!except.has(other)) nearest = Math.min(nearest, Math.sqrt(squares(token, other, limit ** 2)));
        return nearest;
      });
      return nearest;
    },
    bound: (token, other) => Math.sqrt(squares(token, other, Number.POSITIVE_INFINITY)),
  };
}
