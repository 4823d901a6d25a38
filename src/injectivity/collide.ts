import { InputError } from '../errors.ts';
import type { LanguageModel } from '../model/model.ts';
import { closestPairs, type Pair } from './closest.ts';
import { compareTiles, newTally, sumOfSquares, type Tally } from './compare.ts';
import { checkTestedLayers, lastStates } from './last-states.ts';
import { isScaled, type Precision, quantised } from './quantise.ts';
import { type CollisionStore, memoryStore, type SavedTally } from './store.ts';
import { type Group, groupsIn, groupsOf, type Shard, type Tile, tilesOf } from './tiles.ts';

/** What is tested, and how. */
export interface CollideOptions {
  /** Default: all, 1 to L. */
  readonly layers?: readonly number[];
  /** How the states are stored before they are compared; default as computed, `f32`. */
  readonly precisions?: readonly Precision[];
  /** How many of the closest pairs are kept of each layer; default 10. */
  readonly closest?: number;
  /** Distance below which pairs are counted; default 1e-6, as arXiv 2510.15511 has it. */
  readonly below?: number;
  /** The part of the pairs that is compared; default all. `mergeCollisions` puts parts together. */
  readonly shard?: Shard;
  /** Where states and progress are kept; default in memory. */
  readonly store?: CollisionStore;
  /** What a prompt is called in errors; default its place. */
  readonly nameOf?: (prompt: number) => string;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: CollisionProgress) => void;
}

/** How far a test is. */
export interface CollisionProgress {
  readonly phase: 'states' | 'pairs';
  /** The layer whose pairs are compared. */
  readonly layer?: number;
  /** Prompts or, over all layers, pairs; earlier runs included. */
  readonly done: number;
  readonly total: number;
}

/** Seconds this process spent, and the work done in them. */
export interface CollisionCost {
  readonly statesSeconds: number;
  /** Tokens of the prompts that were run. */
  readonly tokens: number;
  readonly pairsSeconds: number;
  /** Pairs compared, over all layers. */
  readonly pairs: number;
}

/** All pairs of one layer's states at one precision, or those of a shard. */
export interface LayerCollisions {
  readonly layer: number;
  readonly precision: Precision;
  readonly pairs: number;
  /** Sums of squares of the states, by group: each group in one shard. */
  readonly squares: Readonly<Record<number, number>>;
  /** Closest first; of the f32 states, in float64. */
  readonly closest: readonly Pair[];
  /** Pairs nearer than the bound, decided in float64. */
  readonly below: number;
  /** Pairs by squared distance: `binStart` tells where each bin begins. */
  readonly histogram: readonly number[];
}

/** What came of a test. */
export interface Collisions {
  readonly shard: Shard;
  /** Distance below which pairs were counted. */
  readonly bound: number;
  readonly layers: readonly LayerCollisions[];
  readonly cost: CollisionCost;
}

export const CLOSEST = 10;
export const BELOW = 1e-6;
/** Squares of distances that are less vanish in f32. */
const LEAST_BELOW = 1e-18;
const WHOLE: Shard = { index: 0, count: 1 };
/** Progress is kept about this often: so much is done again after a kill. */
const SAVE_SECONDS = 5;

/**
 * Compares the last-token states of all pairs of prompts, at every layer asked for: are there two that collide
 * (arXiv 2510.15511, section 4)? The states are computed first, group by group, then each layer's pairs, tile by tile;
 * no array of all pairs is made. Closest pairs and the count below the bound are exact (`compareTiles`).
 * @param prompts Distinct, sorted by their ids (`promptSet`); pairs name them by their place here.
 * @throws InputError for layers that cannot be tested, a bound, and states that are not finite; the signal's reason.
 */
export async function collide(
  model: LanguageModel,
  prompts: readonly Uint32Array[],
  options: CollideOptions = {},
): Promise<Collisions> {
  const { width, layers: depth } = model.config;
  const { closest = CLOSEST, below = BELOW, shard = WHOLE, precisions = ['f32'], signal, onProgress } = options;
  const { nameOf = (prompt: number) => `prompt ${prompt}` } = options;
  const layers = [...new Set(options.layers ?? Array.from({ length: depth }, (_, i) => i + 1))].sort((a, b) => a - b);
  checkTestedLayers(model.config, layers);
  checkBound(below);
  const store = options.store ?? memoryStore(prompts.length, width);
  const groups = groupsOf(prompts.length);
  const tiles = tilesOf(groups.length, shard);
  const pairsOf = tiles.reduce((sum, { row, column }) => sum + pairsIn(groups[row], groups[column], row === column), 0);

  const done = new Set(store.progress?.groups);
  const comparisons = layers.flatMap((layer) => precisions.map((precision) => ({ layer, precision })));
  const tallies = comparisons.map((_, i) => tallyOf(store.progress?.comparisons[i], closest));
  const cost = { statesSeconds: 0, tokens: 0, pairsSeconds: 0, pairs: 0 };
  const save = () => store.save({ groups: [...done], comparisons: tallies.map(savedTally) });

  const needed = groupsIn(tiles);
  const promptsIn = (list: readonly number[]) => list.reduce((sum, group) => sum + groups[group].count, 0);
  let started = performance.now();
  for (const group of needed) {
    if (done.has(group)) continue;
    const { first, count } = groups[group];
    const own = prompts.slice(first, first + count);
    const before = promptsIn(needed.filter((other) => done.has(other)));
    onProgress?.({ phase: 'states', done: before, total: promptsIn(needed) });
    for await (const batch of lastStates(model, own, layers)) {
      signal?.throwIfAborted();
      for (const [i, states] of batch.layers.entries()) {
        checkFinite(states, width, layers[i], (row) => nameOf(first + batch.first + row));
        await store.write(layers[i], first + batch.first, states);
      }
      onProgress?.({ phase: 'states', done: before + batch.first + batch.count, total: promptsIn(needed) });
    }
    done.add(group);
    cost.tokens += own.reduce((sum, { length }) => sum + length, 0);
    await save();
  }
  cost.statesSeconds = (performance.now() - started) / 1000;

  started = performance.now();
  const squares: Record<number, number>[] = [];
  const largest = precisions.some(isScaled) ? await largestOf(model, prompts, layers) : undefined;
  for (const [i, { layer, precision }] of comparisons.entries()) {
    const states = async (group: number) => {
      const { first, count } = groups[group];
      return quantised(await store.read(layer, first, count), precision, largest?.get(layer) ?? 0);
    };
    const tell = () =>
      onProgress?.({
        phase: 'pairs',
        layer,
        done: tallies.reduce((sum, { pairs }) => sum + pairs, 0),
        total: comparisons.length * pairsOf,
      });
    tell();
    let saved = performance.now();
    const left = { groups, tiles: tiles.slice(tallies[i].tiles), states, width, below, nameOf };
    for await (const pairs of compareTiles(model.context, left, tallies[i])) {
      cost.pairs += pairs;
      tell();
      if (signal?.aborted || performance.now() - saved > 1000 * SAVE_SECONDS) {
        await save();
        saved = performance.now();
      }
      signal?.throwIfAborted();
    }
    await save();
    squares.push(await squaresOf(tiles, states, width));
  }
  cost.pairsSeconds = (performance.now() - started) / 1000;

  return {
    shard,
    bound: below,
    layers: comparisons.map((comparison, i) => ({ ...comparison, ...savedTally(tallies[i]), squares: squares[i] })),
    cost,
  };
}

/** @throws InputError for a distance that pairs cannot be counted below. */
export function checkBound(below: number): void {
  if (below >= LEAST_BELOW) return;
  throw new InputError(`${below} is no distance that pairs can be counted below.`, `Give ${LEAST_BELOW} or more.`);
}

const pairsIn = (a: Group, b: Group, isDiagonal: boolean): number =>
  isDiagonal ? (a.count * (a.count - 1)) / 2 : a.count * b.count;

function tallyOf(saved: SavedTally | undefined, closest: number): Tally {
  if (!saved) return newTally(closest);
  return { ...saved, histogram: [...saved.histogram], closest: closestPairs(closest, saved.closest) };
}

const savedTally = ({ tiles, pairs, below, histogram, closest }: Tally): SavedTally => ({
  tiles,
  pairs,
  below,
  histogram,
  closest: closest.pairs,
});

/** Prompts, evenly spaced, that the scale of a layer is taken from: all shards take the same. */
const SCALED_BY = 256;

/** The largest number, by magnitude, in the states of each layer. */
async function largestOf(
  model: LanguageModel,
  prompts: readonly Uint32Array[],
  layers: readonly number[],
): Promise<Map<number, number>> {
  const count = Math.min(SCALED_BY, prompts.length);
  const some = Array.from({ length: count }, (_, i) => prompts[Math.floor((i * prompts.length) / count)]);
  const largest = new Map(layers.map((layer) => [layer, 0]));
  for await (const batch of lastStates(model, some, layers)) {
    for (const [i, states] of batch.layers.entries()) {
      const most = states.reduce((sum, value) => Math.max(sum, Math.abs(value)), largest.get(layers[i])!);
      largest.set(layers[i], most);
    }
  }
  return largest;
}

/** Sums of squares of the groups on the diagonal: each group belongs to the shard that compares it with itself. */
async function squaresOf(
  tiles: readonly Tile[],
  states: (group: number) => Promise<Float32Array>,
  width: number,
): Promise<Record<number, number>> {
  const squares: Record<number, number> = {};
  for (const { row, column } of tiles) {
    if (row !== column) continue;
    squares[row] = sumOfSquares(await states(row), width);
  }
  return squares;
}

function checkFinite(states: Float32Array, width: number, layer: number, nameOf: (row: number) => string): void {
  const bad = states.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  throw new InputError(
    `The state of ${nameOf(Math.floor(bad / width))} at layer ${layer} holds ${states[bad]}.`,
    'Are the weights whole? A model whose states overflow cannot be tested.',
  );
}
