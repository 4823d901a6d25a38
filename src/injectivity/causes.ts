import type { Checkpoint } from '../io/checkpoint.ts';
import type { ModelConfig } from '../model/config.ts';
import { layouts } from '../model/layout.ts';
import type { ModelFiles } from '../model/load.ts';
import { resolveParameters } from '../model/parameters.ts';
import type { ActivationName } from '../reference/activation.ts';

/** Something in a checkpoint that makes prompts collide, or may. */
export type Cause = EqualRows | ConstantParts | LocalAttention | NotAnalytic;

interface Told {
  /** In a sentence, for people. */
  readonly what: string;
}

/** Embedding rows that hold the same numbers: of tokens, or of positions. */
export interface EqualRows extends Told {
  readonly kind: 'equal token rows' | 'equal position rows';
  /** Two or more ids or positions, ascending. */
  readonly rows: readonly number[];
}

/** Halves of blocks that add the same to every row, whatever they read. An MLP like that makes no prompts collide. */
export interface ConstantParts extends Told {
  readonly kind: 'constant attention' | 'constant MLP';
  /** Blocks, from 0. */
  readonly blocks: readonly number[];
}

/** Attention that sees only so far back. Prompts collide by it alone where no block before sees all. */
export interface LocalAttention extends Told {
  readonly kind: 'local attention';
  /** Positions that each block sees, its own included; all where undefined. */
  readonly windows: readonly (number | undefined)[];
}

/** What takes a model out of the theorem: it implies no collision. */
export interface NotAnalytic extends Told {
  readonly kind: 'not analytic';
}

/** Of `config.ts`: those with a kink. */
const KINKED: readonly ActivationName[] = ['relu', 'leaky_relu'];

/**
 * Looks in the weights for what can make prompts collide (arXiv 2510.15511, section 3): embedding rows that are equal,
 * bit for bit; blocks that move nothing between positions; attention that sees a part of the prompt; functions that are
 * not analytic. Reads embeddings whole, a piece at a time, and of a block of use no more than its first weights.
 * Not looked for: rows nearly equal, and tokens whose sums with different positions are.
 * @throws MissingTensorError, ConfigError as `resolveParameters`; SourceError.
 */
export async function findCauses({ config, checkpoint }: Pick<ModelFiles, 'config' | 'checkpoint'>): Promise<Cause[]> {
  const names = resolveParameters(config, checkpoint);
  const weights: Weights = {
    shape: (name) => checkpoint.tensors.get(names.get(name)!)!.shape,
    read: (name, begin, end) => checkpoint.float32(names.get(name)!, begin, end),
  };
  const [attention, mlp]: number[][] = [[], []];
  for (let block = 0; block < config.layers; block++) {
    if (await isConstant(weights, attentionOf(config, block))) attention.push(block);
    if (await isConstant(weights, mlpOf(config, block))) mlp.push(block);
  }
  return [
    ...(await equalRows(weights, 'wte.weight')).map(
      ({ rows, isZero }): Cause => ({
        kind: 'equal token rows',
        rows,
        what: `The embedding rows of the tokens ${listed(rows)} are ${isZero ? 'all zero' : 'equal'}: prompts that differ in nothing but these collide at every layer.`,
      }),
    ),
    ...(await equalRows(weights, 'wpe.weight')).map(
      ({ rows, isZero }): Cause => ({
        kind: 'equal position rows',
        rows,
        what: `The embedding rows of the positions ${listed(rows)} are ${isZero ? 'all zero' : 'equal'}: a token at one looks like the same token at another.`,
      }),
    ),
    ...(attention.length > 0 ? [constantAttention(attention)] : []),
    ...localAttention(config, attention),
    ...(mlp.length > 0 ? [constantMlp(mlp)] : []),
    ...notAnalytic(config),
  ];
}

function constantAttention(blocks: readonly number[]): Cause {
  const leading = blocks.filter((block, i) => block === i).length;
  const follows =
    leading > 0
      ? `up to layer ${leading} prompts of one length collide that end in the same token`
      : 'as blocks before do move something, this alone makes no prompts collide';
  return {
    kind: 'constant attention',
    blocks,
    what: `The attention of ${blocksOf(blocks)} adds the same to every row: its values, its output projection or the gain before it is zero. Nothing moves between positions there; ${follows}.`,
  };
}

function constantMlp(blocks: readonly number[]): Cause {
  return {
    kind: 'constant MLP',
    blocks,
    what: `The MLP of ${blocksOf(blocks)} adds the same to every row: its weights or the gain before it are zero. This alone makes no prompts collide.`,
  };
}

function localAttention({ layers, contextLength, attentionWindow }: ModelConfig, constant: readonly number[]): Cause[] {
  const windows = Array.from({ length: layers }, (_, block) => {
    const window = attentionWindow(block);
    return window !== undefined && window < contextLength ? window : undefined;
  });
  const local = windows.flatMap((window, block) => (window === undefined ? [] : [block]));
  if (local.length === 0) return [];
  let [layer, reach] = [0, 1]; // how many positions a state of the layer can depend on
  for (const [block, window] of windows.entries()) {
    const next = constant.includes(block) ? reach : reach + (window ?? contextLength) - 1;
    if (next >= contextLength) break;
    [layer, reach] = [block + 1, next];
  }
  const follows =
    layer > 0
      ? `up to layer ${layer} a state depends on the last ${reach} tokens alone`
      : 'after a block that sees all, this alone makes no prompts collide';
  return [
    {
      kind: 'local attention',
      windows,
      what: `The attention of ${blocksOf(local)} sees no more than the last ${windows[local[0]]} positions: ${follows}.`,
    },
  ];
}

function notAnalytic({ activation, layerNormEpsilon }: ModelConfig): Cause[] {
  const theorem = 'the theorem of arXiv 2510.15511 does not rule collisions out.';
  const what = [
    ...(KINKED.includes(activation) ? [`The activation ${activation} is not analytic: ${theorem}`] : []),
    ...(Math.fround(layerNormEpsilon) > 0
      ? []
      : [`The epsilon of the LayerNorms, ${layerNormEpsilon}, is 0 in f32, which makes them not analytic: ${theorem}`]),
  ];
  return what.map((sentence) => ({ kind: 'not analytic', what: sentence }));
}

const blocksOf = (blocks: readonly number[]) => `${blocks.length > 1 ? 'blocks' : 'block'} ${listed(blocks)}`;

const LISTED_RUNS = 6;

/** Ascending numbers: `3 and 5`, `2, 4 and 50257 to 50303`; of many the first. */
function listed(numbers: readonly number[]): string {
  const runs: { first: number; last: number }[] = [];
  for (const number of numbers) {
    const run = runs.at(-1);
    if (run && number === run.last + 1) run.last = number;
    else runs.push({ first: number, last: number });
  }
  const spelled = runs.flatMap(({ first, last }) =>
    last > first + 1 ? [`${first} to ${last}`] : first === last ? [`${first}`] : [`${first}`, `${last}`],
  );
  if (spelled.length === 1) return spelled[0];
  if (spelled.length <= LISTED_RUNS) return `${spelled.slice(0, -1).join(', ')} and ${spelled.at(-1)}`;
  return `${spelled.slice(0, LISTED_RUNS - 1).join(', ')} and more, ${numbers.length} in all`;
}

/** Parameters by their canonical names. */
interface Weights {
  shape(name: string): readonly number[];
  read: Checkpoint['float32'];
}

/** Numbers read at a time: of tables, and of matrices, whose first ones mostly tell enough. */
const TABLE_PIECE = 2 ** 20;
const MATRIX_PIECE = 2 ** 16;

/** Whole rows of a matrix, a piece at a time. */
async function* piecesOf(weights: Weights, name: string, elements: number) {
  const [rows, columns] = weights.shape(name);
  const step = Math.max(1, Math.floor(elements / columns));
  for (let first = 0; first < rows; first += step) {
    const end = Math.min(first + step, rows);
    yield { first, count: end - first, columns, read: () => weights.read(name, first * columns, end * columns) };
  }
}

/** The rows of a table that occur more than once, by the first of each. Rows of one hash are compared number by number. */
async function equalRows(weights: Weights, name: string): Promise<{ rows: number[]; isZero: boolean }[]> {
  const [count] = weights.shape(name);
  const hashes = new Uint32Array(count);
  for await (const { first, count, columns, read } of piecesOf(weights, name, TABLE_PIECE)) {
    const values = await read();
    for (let r = 0; r < count; r++) hashes[first + r] = hashOf(values.subarray(r * columns, (r + 1) * columns));
  }
  const seen = new Set<number>();
  const again = new Set<number>();
  for (const hash of hashes) (seen.has(hash) ? again : seen).add(hash);

  const groups = new Map<number, { values: Float32Array; rows: number[] }[]>();
  for await (const { first, count, columns, read } of piecesOf(weights, name, TABLE_PIECE)) {
    const candidates = Array.from({ length: count }, (_, r) => r).filter((r) => again.has(hashes[first + r]));
    if (candidates.length === 0) continue;
    const values = await read();
    for (const r of candidates) {
      const row = values.subarray(r * columns, (r + 1) * columns);
      const alike = groups.get(hashes[first + r]) ?? [];
      groups.set(hashes[first + r], alike);
      const known = alike.find((group) => group.values.every((value, i) => value === row[i]));
      if (known) known.rows.push(first + r);
      else alike.push({ values: row.slice(), rows: [first + r] });
    }
  }
  return [...groups.values()]
    .flat()
    .filter(({ rows }) => rows.length > 1)
    .map(({ rows, values }) => ({ rows, isZero: values.every((value) => value === 0) }))
    .sort((a, b) => a.rows[0] - b.rows[0]);
}

/** Equal for equal numbers: -0 counts as 0. */
function hashOf(row: Float32Array): number {
  const bits = new Uint32Array(row.buffer, row.byteOffset, row.length);
  let hash = 0;
  for (let i = 0; i < bits.length; i++) {
    hash = Math.imul(hash ^ (row[i] === 0 ? 0 : bits[i]), 0x85ebca6b);
    hash ^= hash >>> 15; // numbers from f16 differ in their upper bits alone
  }
  return hash >>> 0;
}

/** A matrix between rows of width d and the units of half a block: channels of all heads, or hidden units of an MLP. */
interface UnitMatrix {
  readonly name: string;
  /** Whether each of its rows is a unit's; else each of its columns is, from `first` on. */
  readonly unitsAreRows: boolean;
  readonly first: number;
}

/** The linear layers of half a block: from the normed row into units, and out of them to what is added. */
interface Units {
  readonly count: number;
  readonly gain: string;
  readonly into: UnitMatrix;
  readonly out: UnitMatrix;
}

/** Units are the channels of the values: queries and keys tell only how they are mixed. */
function attentionOf({ family, width }: ModelConfig, block: number): Units {
  const { qkvParts, attentionOut, transposed } = layouts[family];
  const first = width * (3 / qkvParts.length - 1); // values come last
  return {
    count: width,
    gain: `h.${block}.ln_1.weight`,
    into: { name: `h.${block}.${qkvParts.at(-1)}.weight`, unitsAreRows: transposed, first },
    out: { name: `h.${block}.${attentionOut}.weight`, unitsAreRows: !transposed, first: 0 },
  };
}

function mlpOf({ family, innerWidth }: ModelConfig, block: number): Units {
  const { transposed } = layouts[family];
  return {
    count: innerWidth,
    gain: `h.${block}.ln_2.weight`,
    into: { name: `h.${block}.mlp.c_fc.weight`, unitsAreRows: transposed, first: 0 },
    out: { name: `h.${block}.mlp.c_proj.weight`, unitsAreRows: !transposed, first: 0 },
  };
}

/** Whether no unit both reads its row and is read: then the half block adds the same to every row. */
async function isConstant(weights: Weights, { count, gain, into, out }: Units): Promise<boolean> {
  const gains = await weights.read(gain);
  const [reads, isRead] = [new Uint8Array(count), new Uint8Array(count)];
  const marks = [mark(weights, into, reads, gains), mark(weights, out, isRead)];
  for (;;) {
    const steps = await Promise.all(marks.map((pieces) => pieces.next()));
    if (reads.some((live, unit) => live && isRead[unit])) return false;
    if (steps.every(({ done }) => done)) return true;
  }
}

/** Marks the units with a weight that is not zero, piece by piece. @param gains Of the other ends of the weights. */
async function* mark(weights: Weights, matrix: UnitMatrix, live: Uint8Array, gains?: Float32Array) {
  const { name, unitsAreRows, first: firstUnit } = matrix;
  for await (const { first, columns, read } of piecesOf(weights, name, MATRIX_PIECE)) {
    const values = await read();
    values.forEach((value, i) => {
      const [row, column] = [first + Math.floor(i / columns), i % columns];
      const [unit, end] = unitsAreRows ? [row, column] : [column - firstUnit, row];
      if (unit >= 0 && value !== 0 && gains?.[end] !== 0) live[unit] = 1;
    });
    yield;
  }
}
