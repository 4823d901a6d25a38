import { InputError } from '../errors.ts';
import type { LayerCache } from '../ops/attention.ts';
import { empty } from '../tensor/tensor.ts';
import type { LanguageModel } from './model.ts';

/** Keys and values of fixed prefixes, a slot for each sequence, for the layers a map runs through. */
export interface PrefixCache extends Disposable {
  /** Positions held in each slot. */
  readonly lengths: readonly number[];
  /** Positions a slot has room for. */
  readonly capacity: number;
  /** The first block it holds keys and values of. */
  readonly first: number;
  /** One for each block from `first` on. */
  readonly layers: readonly LayerCache[];
  /** Forgets the positions of a slot from `length` on; costs nothing. */
  truncate(slot: number, length: number): void;
  /** Notes `count` positions that were written behind the slot's last. */
  grow(slot: number, count: number): void;
  dispose(): void;
}

/** Size of a prefix cache. */
export interface PrefixCacheSize {
  /** Sequences; default 1. */
  readonly slots?: number;
  /** Positions of each; default the model's context. */
  readonly capacity?: number;
  /** The first block; default 0. */
  readonly first?: number;
  /** The block after the last; default all. */
  readonly depth?: number;
}

/** An empty cache: 8 * slots * capacity * d * blocks bytes. */
export function createPrefixCache({ context, config }: LanguageModel, size: PrefixCacheSize = {}): PrefixCache {
  const { slots = 1, capacity = config.contextLength, first = 0, depth = config.layers } = size;
  const lengths = new Array<number>(slots).fill(0);
  // The cache outlives any scope it is made in: later recordings still write to it.
  const layers = context.unscoped(() =>
    // All or nothing: when memory ends in the middle, the scope gives back what was taken.
    context.scope(() =>
      Array.from({ length: Math.max(depth - first, 0) }, () => ({
        keys: empty(context, [slots, capacity, config.width], 'f32', 'cached keys'),
        values: empty(context, [slots, capacity, config.width], 'f32', 'cached values'),
      })),
    ),
  );
  const dispose = () => {
    for (const { keys, values } of layers) {
      keys.dispose();
      values.dispose();
    }
  };
  return {
    lengths,
    capacity,
    first,
    layers,
    truncate(slot, length) {
      const held = lengths[slot] ?? -1;
      if (!Number.isInteger(length) || length < 0 || length > held) {
        throw new InputError(
          `Slot ${slot} of ${slots} holds ${Math.max(held, 0)} positions; it cannot be truncated to ${length}.`,
          'Truncate an existing slot to a length it has.',
        );
      }
      lengths[slot] = length;
    },
    grow(slot, count) {
      lengths[slot] += count;
    },
    dispose,
    [Symbol.dispose]: dispose,
  };
}
