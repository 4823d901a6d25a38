import { linearizeRows, type RowLinearization } from '../autograd/rows.ts';
import { InputError, ShapeError } from '../errors.ts';
import { uploadVisibility, type Visibility } from '../ops/attention.ts';
import { reshape, type Tensor, upload } from '../tensor/tensor.ts';
import type { Hooks } from './hooks.ts';
import { checkPlace, type LanguageModel } from './model.ts';
import { createPrefixCache, type PrefixCache } from './prefix-cache.ts';

/** `count` consecutive rows that continue the prefix in `slot`. */
export interface Segment {
  readonly slot: number;
  readonly count: number;
}

/**
 * The map both papers are about: with the keys and values of a prefix fixed, from the input row of the next position
 * (residual state 0, position included) to its residual state after `layer` blocks; or from one place in the residual
 * stream to a later one. Places count in half blocks: l is residual state l, l + 0.5 lies between the attention and the
 * MLP of block l. So `from` 3 to `layer` 3.5 is one attention step x + attn(LN x), 3.5 to 4 one MLP step.
 * Records only; nothing waits.
 */
export interface PositionMap {
  /** d */
  readonly width: number;
  /** The place the map starts from; 0, the embedding, unless asked otherwise. */
  readonly from: number;
  /** The place the map ends in, 0 to L. */
  readonly layer: number;
  readonly cache: PrefixCache;
  /**
   * Independent rows: row b continues the prefix in `slots[b]`, sees none of the other rows and is not kept.
   * @param rows [B, d]
   * @param seen How many positions of its prefix each row sees; default all.
   * @returns [B, d]
   * @throws InputError when a row is to see what its slot does not hold.
   */
  states(rows: Tensor, slots: Uint32Array, seen?: Uint32Array, hooks?: Hooks): Tensor;
  /**
   * Causal windows of one or more sequences; their keys and values are appended to the cache (`truncate` undoes it).
   * Inside `grad`, `linearize` and the like, derivatives flow through the rows of one call, not into the prefix.
   * @param rows [n, d], segment after segment.
   * @returns [n, d]
   * @throws InputError when a slot has no room, or the cache holds other blocks than the map runs through.
   */
  extend(rows: Tensor, segments: readonly Segment[], hooks?: Hooks): Tensor;
  /**
   * `states`, keeping what derivatives in the rows need: any number of jvp and vjp, no second forward, weights frozen.
   * The prefix must stay in the cache while it is used.
   * @param rows [B, d]
   * @throws InputError as `states`.
   */
  linearize(rows: Tensor, slots: Uint32Array, seen?: Uint32Array): RowLinearization;
}

/**
 * The position map of a model up to a place, and from one.
 * @param layer Where it ends: 0 to L, in halves.
 * @param cache Prefixes with the blocks the map runs through.
 * @param from Where it starts; default 0.
 * @throws InputError for a place the model does not have, or blocks the cache does not hold.
 */
export function positionMap(model: LanguageModel, layer: number, cache: PrefixCache, from = 0): PositionMap {
  const { context, config } = model;
  checkPlace(config, layer);
  checkPlace(config, from);
  if (from > layer) {
    throw new InputError(`A map from ${from} cannot end at ${layer}.`, 'Start it where it ends, or before.');
  }
  const { begin, end } = blocksOf(from, layer);
  const held = cache.first + cache.layers.length;
  if (begin < end && (begin < cache.first || end > held)) {
    throw new InputError(
      `The cache holds blocks ${cache.first} to ${held}; a map from ${from} to ${layer} needs ${begin} to ${end}.`,
      'Create the cache for those blocks.',
    );
  }

  function run(rows: Tensor, visibility: Visibility, at?: Uint32Array, hooks?: Hooks): Tensor {
    if (rows.shape.length !== 2 || rows.shape[1] !== config.width || rows.shape[0] !== visibility.slots.length) {
      throw new ShapeError(
        `The rows are [${rows.shape}]; [${visibility.slots.length}, ${config.width}] is needed.`,
        'Give a row of width d for each slot named.',
      );
    }
    return context.scope(() => {
      const visible = uploadVisibility(context, visibility);
      const append = at && upload(context, at, [at.length / 2, 2]);
      let x = reshape(rows, rows.shape); // (n, d), ours to dispose
      for (let place = from; place < layer; place += 0.5) {
        const block = Math.floor(place);
        const attend = () => ({ cache: cache.layers[block - cache.first], visibility: visible, append });
        const y = place === block ? model.attentionStep(x, block, attend(), hooks) : model.mlpStep(x, block, hooks); // (n, d)
        x.dispose();
        x = y;
      }
      return x;
    });
  }

  function states(
    rows: Tensor,
    slots: Uint32Array,
    seen: Uint32Array = slots.map((slot) => cache.lengths[slot]),
    hooks?: Hooks,
  ): Tensor {
    slots.forEach((slot, r) => {
      if (!(seen[r] <= cache.lengths[slot])) {
        throw new InputError(
          `Row ${r} is to see ${seen[r]} positions of slot ${slot}, which holds ${cache.lengths[slot] ?? 'none'}.`,
          `Name slots 0 to ${cache.lengths.length - 1}, and no more positions than each holds.`,
        );
      }
    });
    return run(rows, { slots, seen }, undefined, hooks);
  }

  return {
    width: config.width,
    from,
    layer,
    cache,
    states,
    linearize: (rows, slots, seen) => linearizeRows((x) => states(x, slots, seen), rows),
    extend(rows, segments, hooks) {
      if (begin !== cache.first || end !== held) {
        throw new InputError(
          `A map from ${from} to ${layer} would leave part of a cache of blocks ${cache.first} to ${held} without keys.`,
          'Extend by a map through all blocks of the cache.',
        );
      }
      const slots: number[] = [];
      const seen: number[] = [];
      const live: number[] = [];
      const next = [...cache.lengths];
      for (const { slot, count } of segments) {
        if (next[slot] === undefined) {
          throw new InputError(`The cache has no slot ${slot}.`, `Name slots 0 to ${next.length - 1}.`);
        }
        if (slots.includes(slot) && slots.at(-1) !== slot) {
          throw new InputError(
            `Slot ${slot} is extended, then another, then slot ${slot} again.`,
            "Name a slot's segments one after another.",
          );
        }
        for (let i = 0; i < count; i++) {
          live.push(slot === slots.at(-1) ? live[live.length - 1] + 1 : 0);
          slots.push(slot);
          seen.push(next[slot]++);
        }
        if (next[slot] > cache.capacity) {
          throw new InputError(
            `Slot ${slot} has room for ${cache.capacity} positions and would hold ${next[slot]}.`,
            'Create the cache with a larger capacity, or truncate the slot.',
          );
        }
      }
      const at = Uint32Array.from(slots.flatMap((slot, r) => [r, slot * cache.capacity + seen[r]]));
      const [slotOf, seenBy, liveOf] = [slots, seen, live].map((list) => Uint32Array.from(list));
      const states = run(rows, { slots: slotOf, seen: seenBy, live: liveOf }, at, hooks);
      for (const { slot, count } of segments) cache.grow(slot, count);
      return states;
    },
  };
}

/** The blocks whose attention a map runs through: those that start between its ends. */
const blocksOf = (from: number, layer: number) => ({
  begin: Math.ceil(from),
  end: Math.max(Math.ceil(from), Math.ceil(layer)),
});

/** Of a position map over a cache of its own. */
export interface NewPositionMap {
  /** Sequences; default 1. */
  readonly slots?: number;
  /** Positions of each; default the model's context. */
  readonly capacity?: number;
  /** The place the map starts from; default 0. */
  readonly from?: number;
}

/** A position map over a cache of its own, which the caller disposes. */
export function newPositionMap(model: LanguageModel, layer: number, options: NewPositionMap = {}): PositionMap {
  const { from = 0, ...size } = options;
  checkPlace(model.config, layer);
  checkPlace(model.config, from);
  const { begin, end } = blocksOf(from, layer);
  return positionMap(model, layer, createPrefixCache(model, { ...size, first: begin, depth: end }), from);
}
