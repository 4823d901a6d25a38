import { InputError } from '../errors.ts';
import type { Context } from '../gpu/context.ts';
import { HISTOGRAM_BINS, type NormedRows, pairDistances } from '../ops/pair-distances.ts';
import { takeBytes, upload } from '../tensor/tensor.ts';
import { type Closest, closestPairs, type Pair } from './closest.ts';
import type { Group, Tile } from './tiles.ts';

/** What all pairs of some tiles came to; sums of disjoint tiles are those of all. */
export interface Tally {
  /** Tiles done, in their order. */
  tiles: number;
  pairs: number;
  /** Pairs nearer than the bound. */
  below: number;
  /** [HISTOGRAM_BINS] of squared distances (`binStart`). */
  readonly histogram: number[];
  readonly closest: Closest;
}

/** @param closest How many of the closest pairs are kept. */
export const newTally = (closest: number): Tally => ({
  tiles: 0,
  pairs: 0,
  below: 0,
  histogram: new Array<number>(HISTOGRAM_BINS).fill(0),
  closest: closestPairs(closest),
});

/** What `compareTiles` compares. */
export interface Comparison {
  readonly groups: readonly Group[];
  /** Those left to do. */
  readonly tiles: readonly Tile[];
  /** [count, width] of a group. */
  readonly states: (group: number) => Promise<Float32Array>;
  readonly width: number;
  /** Distance below which pairs are counted. */
  readonly below: number;
  /** What an error calls a row. */
  readonly nameOf: (row: number) => string;
}

/** A group's states on both sides. */
interface Loaded extends NormedRows {
  readonly values: Float32Array;
}

/** Squares of lengths up to this and their sums fit into f32. */
const LARGEST_SQUARE = 2 ** 124;

/** Groups kept on the adapter: neighbours in Morton order need few. */
const LOADED_GROUPS = 8;

/**
 * All pairs of the tiles, tile by tile, into a tally. The adapter screens (`pairDistances`); every row that may hold one
 * of the closest pairs, or a pair it could not place, is compared again in float64. So the closest pairs and the count
 * below the bound are those of float64 differences of the f32 states; a pair whose distance is within rounding of the
 * edge of a bin may be counted in the neighbouring bin.
 * @returns After each tile, its pairs.
 * @throws InputError for a state that is not finite, or too long to be compared.
 */
export async function* compareTiles(
  context: Context,
  { groups, tiles, states, width, below, nameOf }: Comparison,
  tally: Tally,
): AsyncGenerator<number> {
  const loaded = new Map<number, Loaded>();

  async function load(group: number): Promise<Loaded> {
    const known = loaded.get(group);
    if (known) {
      loaded.delete(group); // to the end: the least recently used is the first
      loaded.set(group, known);
      return known;
    }
    const values = await states(group);
    const { first, count } = groups[group];
    const squares = Float32Array.from({ length: count }, (_, r) => {
      const square = squaredNorm(values, r, width);
      if (square <= LARGEST_SQUARE) return square;
      throw new InputError(
        `The state of ${nameOf(first + r)} has length ${Math.sqrt(square)}: it cannot be compared in f32.`,
        'Are the weights whole? Of states stored in f16, whose numbers end at 65,504, leave f16 out.',
      );
    });
    const one = {
      values,
      rows: upload(context, values, [count, width]),
      squares: upload(context, squares),
      first,
    };
    loaded.set(group, one);
    return one;
  }

  async function start({ row, column }: Tile) {
    const [a, b] = [await load(row), await load(column)];
    const { summary, histogram } = pairDistances(a, b, below);
    const read = takeBytes([summary, histogram]);
    read.catch(() => {}); // told when it is awaited
    while (loaded.size > LOADED_GROUPS) free(loaded.keys().next().value!);
    return { a, b, read };
  }

  function free(group: number): void {
    const { rows, squares } = loaded.get(group)!;
    loaded.delete(group);
    rows.dispose();
    squares.dispose();
  }

  async function finish({ a, b, read }: Awaited<ReturnType<typeof start>>): Promise<number> {
    const [summary, histogram] = (await read).map((bytes) => new Float32Array(bytes));
    addTile(tally, { a, b, summary, width, below });
    let pairs = 0;
    histogram.forEach((count, bin) => {
      tally.histogram[bin] += count;
      pairs += count;
    });
    tally.pairs += pairs;
    tally.tiles++;
    return pairs;
  }

  try {
    let before: Awaited<ReturnType<typeof start>> | undefined;
    for (const tile of tiles) {
      const next = await start(tile);
      if (before) yield await finish(before); // while the adapter works on the next
      before = next;
    }
    if (before) yield await finish(before);
  } finally {
    for (const group of [...loaded.keys()]) free(group);
  }
}

interface TileResult {
  readonly a: Loaded;
  readonly b: Loaded;
  /** As `PairDistances.summary`. */
  readonly summary: Float32Array;
  readonly width: number;
  readonly below: number;
}

/** Adds what the screen of a tile says to a tally; what it leaves open is computed in float64. */
function addTile(tally: Tally, { a, b, summary, width, below }: TileResult): void {
  const rows = Array.from({ length: summary.length / 3 }, (_, row) => row);
  rows.sort((i, j) => summary[3 * i] - summary[3 * j] || i - j); // the nearest first: they keep the others out
  for (const row of rows) {
    const [least, surely, possibly] = summary.subarray(3 * row, 3 * row + 3);
    const isOpen = surely !== possibly;
    if (!isOpen) tally.below += surely;
    if (!isOpen && !tally.closest.admits(Math.sqrt(Math.max(least, 0)), a.first + row)) continue;
    for (const pair of pairsOf(row, a, b, width)) {
      if (isOpen && pair.distance < below) tally.below++;
      tally.closest.add(pair);
    }
  }
}

/** The pairs of a row of A with the rows of B behind it. */
function* pairsOf(row: number, a: Loaded, b: Loaded, width: number): Generator<Pair> {
  const own = a.first + row;
  for (let column = Math.max(0, own + 1 - b.first); column < b.values.length / width; column++) {
    yield { a: own, b: b.first + column, distance: exactDistance(a.values, row, b.values, column, width) };
  }
}

/** |x_i - y_j| in float64. */
export function exactDistance(x: Float32Array, i: number, y: Float32Array, j: number, width: number): number {
  let sum = 0;
  for (let k = 0; k < width; k++) sum += (x[i * width + k] - y[j * width + k]) ** 2;
  return Math.sqrt(sum);
}

/** The squared norms of all rows, summed in float64. */
export function sumOfSquares(x: Float32Array, width: number): number {
  let sum = 0;
  for (let i = 0; i < x.length / width; i++) sum += squaredNorm(x, i, width);
  return sum;
}

/** |x_i|^2 in float64. */
function squaredNorm(x: Float32Array, i: number, width: number): number {
  let sum = 0;
  for (let k = i * width; k < (i + 1) * width; k++) sum += x[k] ** 2;
  return sum;
}
