/** A tile of the triangle of all pairs: prompts of group `row` with those of group `column`, row <= column. */
export interface Tile {
  readonly row: number;
  readonly column: number;
}

/** Consecutive prompts. */
export interface Group {
  readonly first: number;
  readonly count: number;
}

/** Part `index` (from 0) of `count` of a job. */
export interface Shard {
  readonly index: number;
  readonly count: number;
}

/** The most prompts of a group: a tile of their products takes 16 MiB. */
const GROUP = 2048;
/** The least that is worth a group: fewer, and small jobs could not be shared out. */
const LEAST_GROUP = 64;
const FEWEST_GROUPS = 8;

/** Cuts prompts into groups of nearly equal size. The cut depends on their number alone: shards agree on it. */
export function groupsOf(prompts: number): Group[] {
  const count = Math.max(Math.ceil(prompts / GROUP), Math.min(FEWEST_GROUPS, Math.ceil(prompts / LEAST_GROUP)));
  const begin = (group: number) => Math.floor((group * prompts) / count);
  return Array.from({ length: count }, (_, g) => ({ first: begin(g), count: begin(g + 1) - begin(g) }));
}

/**
 * The tiles of a shard. All tiles stand in Morton order, so that a shard, which takes consecutive ones, needs the states
 * of few groups: about 2 / sqrt(n) of them for one of n.
 */
export function tilesOf(groups: number, { index, count }: Shard): Tile[] {
  const tiles: Tile[] = [];
  for (let row = 0; row < groups; row++) for (let column = row; column < groups; column++) tiles.push({ row, column });
  tiles.sort((a, b) => morton(a) - morton(b));
  const begin = (shard: number) => Math.floor((shard * tiles.length) / count);
  return tiles.slice(begin(index), begin(index + 1));
}

/** The bits of row and column, one after the other. */
function morton({ row, column }: Tile): number {
  let code = 0;
  for (let bit = 0; bit < 25; bit++) {
    code += (Math.floor(row / 2 ** bit) % 2) * 4 ** bit * 2 + (Math.floor(column / 2 ** bit) % 2) * 4 ** bit;
  }
  return code;
}

/** The groups that tiles touch, ascending. */
export const groupsIn = (tiles: readonly Tile[]): number[] =>
  [...new Set(tiles.flatMap(({ row, column }) => [row, column]))].sort((a, b) => a - b);
