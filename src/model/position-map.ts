import { InputError, ShapeError } from '../errors.ts';
import { uploadVisibility, type Visibility } from '../ops/attention.ts';
import { reshape, type Tensor, upload } from '../tensor/tensor.ts';
import type { Hooks } from './hooks.ts';
import { checkLayer, type LanguageModel } from './model.ts';
import { createPrefixCache, type PrefixCache } from './prefix-cache.ts';

/** `count` consecutive rows that continue the prefix in `slot`. */
export interface Segment {
  readonly slot: number;
  readonly count: number;
}

/**
 * The map both papers are about: with the keys and values of a prefix fixed, from the input row of the next position
 * (residual state 0, position included) to its residual state after `layer` blocks. Records only; nothing waits.
 */
export interface PositionMap {
  /** d */
  readonly width: number;
  /** The residual state the map ends in, 0 to L. */
  readonly layer: number;
  readonly cache: PrefixCache;
  /**
   * Independent rows: row b continues the prefix in `slots[b]`, sees none of the other rows and is not kept.
   * @param rows [B, d]
   * @param seen How many positions of its prefix each row sees; default all.
   * @returns [B, d]
   * @throws InputError when a row is to see what its slot does not hold.
   */
  states(rows: Tensor, slots: Uint32Array, seen?: Uint32Array): Tensor;
  /**
   * Causal windows of one or more sequences; their keys and values are appended to the cache (`truncate` undoes it).
   * @param rows [n, d], segment after segment.
   * @returns [n, d]
   * @throws InputError when a slot has no room, or its segments do not stand together.
   */
  extend(rows: Tensor, segments: readonly Segment[], hooks?: Hooks): Tensor;
}

/**
 * The position map of a model up to a layer.
 * @param cache Prefixes at least `layer` blocks deep.
 * @throws InputError for a layer the model or the cache does not have.
 */
export function positionMap(model: LanguageModel, layer: number, cache: PrefixCache): PositionMap {
  const { context, config } = model;
  checkLayer(config, layer);
  if (layer > cache.layers.length) {
    throw new InputError(
      `The cache holds ${cache.layers.length} blocks; layer ${layer} needs ${layer}.`,
      'Create it deeper.',
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
      const append = at && upload(context, at);
      let x = reshape(rows, rows.shape); // (n, d), ours to dispose
      for (let l = 0; l < layer; l++) {
        const y = model.block(x, l, { cache: cache.layers[l], visibility: visible, append }, hooks);
        x.dispose();
        x = y;
      }
      return x;
    });
  }

  return {
    width: config.width,
    layer,
    cache,
    states(rows, slots, seen = slots.map((slot) => cache.lengths[slot])) {
      slots.forEach((slot, r) => {
        if (!(seen[r] <= cache.lengths[slot])) {
          throw new InputError(
            `Row ${r} is to see ${seen[r]} positions of slot ${slot}, which holds ${cache.lengths[slot] ?? 'none'}.`,
            `Name slots 0 to ${cache.lengths.length - 1}, and no more positions than each holds.`,
          );
        }
      });
      return run(rows, { slots, seen });
    },
    extend(rows, segments, hooks) {
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
      const at = Uint32Array.from(slots, (slot, r) => slot * cache.capacity + seen[r]);
      const [slotOf, seenBy, liveOf] = [slots, seen, live].map((list) => Uint32Array.from(list));
      const states = run(rows, { slots: slotOf, seen: seenBy, live: liveOf }, at, hooks);
      for (const { slot, count } of segments) cache.grow(slot, count);
      return states;
    },
  };
}

/** A position map over a cache of its own, which the caller disposes. */
export function newPositionMap(
  model: LanguageModel,
  layer: number,
  size: { slots?: number; capacity?: number } = {},
): PositionMap {
  checkLayer(model.config, layer);
  return positionMap(model, layer, createPrefixCache(model, { ...size, depth: layer }));
}
