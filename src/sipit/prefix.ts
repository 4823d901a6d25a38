import { InputError } from '../errors.ts';
import type { LanguageModel } from '../model/model.ts';
import { positionMap } from '../model/position-map.ts';
import { createPrefixCache } from '../model/prefix-cache.ts';
import { distance } from '../ops/distance.ts';
import { type Tensor, take } from '../tensor/tensor.ts';
import type { CostMeter } from './cost.ts';

/** The tokens recovered so far, with their keys and values: what candidates for the next position continue. */
export interface RecoveredPrefix {
  /** Its length: the position that comes next. */
  readonly length: number;
  /**
   * |F(v) - h| for candidates v of the next position, F the one-step map (arXiv 2510.15511, section 4).
   * @param observed h, [1, d]
   * @throws InputError when a state is not finite.
   */
  distances(tokens: Uint32Array, observed: Tensor): Promise<Float32Array>;
  /** Logits of the next token; undefined while the prefix is empty. */
  logits(): Promise<Float32Array | undefined>;
  append(token: number): void;
  dispose(): void;
}

/**
 * An empty prefix.
 * @param layer The residual state the observed states are of.
 * @param depth Blocks to run appended tokens through: `layer`, or all where `logits` are wanted.
 */
export function recoveredPrefix(
  model: LanguageModel,
  layer: number,
  depth: number,
  capacity: number,
  cost: CostMeter,
): RecoveredPrefix {
  const { context } = model;
  const cache = createPrefixCache(model, { capacity, depth });
  const map = positionMap(model, layer, cache);
  const deep = positionMap(model, depth, cache);
  let last: Tensor | undefined; // state of the newest token after `depth` blocks, [1, d]
  const next = () => cache.lengths[0];

  return {
    get length() {
      return next();
    },
    async distances(tokens, observed) {
      const distances = context.scope(() => {
        const rows = model.embed(tokens, new Uint32Array(tokens.length).fill(next())); // (B, d)
        return distance(map.states(rows, new Uint32Array(tokens.length)), observed); // (B)
      });
      cost.rows(tokens.length, layer);
      const values = await take(distances);
      const bad = values.findIndex((value) => !Number.isFinite(value));
      if (bad >= 0) {
        throw new InputError(
          `The state of token ${tokens[bad]} at position ${next()} is not finite after ${layer} blocks.`,
          'The weights are damaged, or overflow f32: check the checkpoint ("preimage generate" shows whether it works).',
        );
      }
      return values;
    },
    async logits() {
      if (!last) return undefined;
      cost.head();
      return take(model.logits(last));
    },
    append(token) {
      last?.dispose();
      last = context.scope(() =>
        deep.extend(model.embed(Uint32Array.of(token), Uint32Array.of(next())), [{ slot: 0, count: 1 }]),
      );
      cost.rows(1, depth);
    },
    dispose() {
      last?.dispose();
      cache.dispose();
    },
  };
}
