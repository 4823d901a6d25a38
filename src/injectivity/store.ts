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

/** A store in memory, which lasts as long as the process. */
export function memoryStore(prompts: number, width: number): CollisionStore {
  const layers = new Map<number, Float32Array>();
  const statesOf = (layer: number): Float32Array => {
    const states = layers.get(layer) ?? new Float32Array(prompts * width);
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
