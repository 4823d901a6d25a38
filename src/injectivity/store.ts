import { OutOfMemoryError } from '../errors.ts';
import type { Pair } from './closest.ts';

/** States of layers, and how far a test is: what a run that is killed goes on from. */
export interface CollisionStore {
  /** What an earlier run of the same job left. */
  readonly progress: SavedProgress | undefined;
  /** Keeps the states of prompts from `first` on. @param states [count, width] */
  write(layer: number, first: number, states: Float32Array): Promise<void>;
  /** @returns [count, width] */
  read(layer: number, first: number, count: number): Promise<Float32Array>;
  /** Keeps how far the test is; all states it speaks of are kept before. */
  save(progress: SavedProgress): Promise<void>;
}

/** How far a test is. */
export interface SavedProgress {
  /** Groups whose states are there. */
  readonly groups: readonly number[];
  readonly comparisons: readonly SavedTally[];
}

/** A tally as it is kept. */
export interface SavedTally {
  readonly tiles: number;
  readonly pairs: number;
  readonly below: number;
  readonly histogram: readonly number[];
  readonly closest: readonly Pair[];
}

/** A store in memory, which lasts as long as the process. @throws OutOfMemoryError when states are written. */
export function memoryStore(prompts: number, width: number): CollisionStore {
  const layers = new Map<number, Float32Array>();
  const statesOf = (layer: number): Float32Array => {
    const states = layers.get(layer) ?? allocated(prompts * width);
    layers.set(layer, states);
    return states;
  };
  return {
    progress: undefined,
    write: async (layer, first, states) => void statesOf(layer).set(states, first * width),
    read: async (layer, first, count) => statesOf(layer).subarray(first * width, (first + count) * width),
    save: async () => {},
  };
}

function allocated(length: number): Float32Array {
  try {
    return new Float32Array(length);
  } catch (cause) {
    throw new OutOfMemoryError(
      `The states of a layer take ${(4 * length) / 2 ** 20} MiB, for which there is no memory.`,
      'Keep them on the disk: name a result with -o, or compare fewer layers at a time.',
      { cause },
    );
  }
}
