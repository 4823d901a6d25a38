import code from '../../shaders/attention.wgsl?raw';
import jvpCode from '../../shaders/attention-jvp.wgsl?raw';
import vjpCode from '../../shaders/attention-vjp.wgsl?raw';
import appendCode from '../../shaders/kv-append.wgsl?raw';
import { InputError, ShapeError } from '../errors.ts';
import type { Context } from '../gpu/context.ts';
import type { Shader } from '../gpu/shader.ts';
import { f32, type Uniforms } from '../gpu/uniforms.ts';
import { empty, type Tensor, upload } from '../tensor/tensor.ts';
import { elementGrid, expectSize, grid } from './kernels.ts';
import { apply, type Op } from './op.ts';
import { countSets } from './sets.ts';

const shader = { file: 'shaders/attention.wgsl', code };
const vjpShader = { file: 'shaders/attention-vjp.wgsl', code: vjpCode };
const jvpShader = { file: 'shaders/attention-jvp.wgsl', code: jvpCode };
const appendShader = { file: 'shaders/kv-append.wgsl', code: appendCode };

/** Keys and values of one layer, [slots, capacity, width] each. */
export interface LayerCache {
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** What each new row sees: the first `seen[r]` entries of slot `slots[r]`, and itself. */
export interface Visibility {
  readonly slots: Uint32Array;
  readonly seen: Uint32Array;
  /**
   * How many of the entries a row sees, the last ones, are the rows of the batch just before it. Derivatives run through
   * these; what lies before them is constant. None unless given: rows that do not see each other.
   */
  readonly live?: Uint32Array;
}

/** A visibility on the GPU, uploaded once for all layers. */
export interface VisibilityTensors {
  readonly count: number;
  /** (slot, seen, live, readers) of each row, [rows, 4] u32; readers: how many rows just after it see it. */
  readonly rows: Tensor;
  /** (first row, number of rows) of runs of up to 4 neighbouring rows with one slot, [tiles, 2] u32 */
  readonly tiles: Tensor;
  /** Sum of `seen`, from which the work follows. */
  readonly seenInAll: number;
  /** Sum of `live`. */
  readonly liveInAll: number;
}

/** Heads and scale of an attention. */
export interface AttentionShape {
  readonly heads: number;
  readonly scale: number;
  /** A row sees at most its last `window` keys, itself included (GPT-Neo's local attention). */
  readonly window?: number;
}

const TILE_ROWS = 4;

const sum = (counts: Uint32Array): number => counts.reduce((total, n) => total + n, 0);

/**
 * Uploads who sees what.
 * @throws InputError when `live` counts rows that are not the ones just before, in the same slot.
 */
export function uploadVisibility(context: Context, visibility: Visibility): VisibilityTensors {
  const { slots, seen, live = new Uint32Array(slots.length) } = visibility;
  const readers = countReaders({ slots, seen, live });
  const rows = new Uint32Array(4 * slots.length);
  const tiles: number[] = [];
  slots.forEach((slot, r) => {
    rows.set([slot, seen[r], live[r], readers[r]], 4 * r);
    const open = tiles.length - 2;
    if (open >= 0 && slot === slots[r - 1] && tiles[open + 1] < TILE_ROWS) tiles[open + 1]++;
    else tiles.push(r, 1);
  });
  return {
    count: slots.length,
    rows: upload(context, rows, [slots.length, 4], 'visibility'),
    tiles: upload(context, Uint32Array.from(tiles), [tiles.length / 2, 2], 'visibility tiles'),
    seenInAll: sum(seen),
    liveInAll: sum(live),
  };
}

/** How many rows just after each row see it. */
function countReaders({ slots, seen, live }: Required<Visibility>): Uint32Array {
  live.forEach((count, r) => {
    const follows = slots[r] === slots[r - 1] && seen[r] === seen[r - 1] + 1 && count <= live[r - 1] + 1;
    if (count === 0 || (follows && count <= seen[r])) return;
    throw new InputError(
      `Row ${r} is to see the ${count} rows before it, but they are not what slot ${slots[r]} holds last.`,
      "Put a slot's rows one after another, and count from its first.",
    );
  });
  let last = 0; // the last row that sees row r: as first rows seen never go back, neither does this
  return slots.map((_, r) => {
    last = Math.max(last, r);
    while (last + 1 < slots.length && last + 1 - live[last + 1] <= r) last++;
    return last - r;
  });
}

type Operands = [qkv: Tensor, keys: Tensor, values: Tensor, rows: Tensor, tiles: Tensor];

interface Options extends Required<AttentionShape> {
  readonly seenInAll: number;
  readonly liveInAll: number;
}

/** The start of every kernel's uniforms. */
function uniformsOf([, keys, , rows, tiles]: Operands, { heads, scale, window }: Options): Uniforms {
  const [, capacity, width] = keys.shape;
  return [rows.shape[0], width, heads, capacity, f32(scale), window, tiles.shape[0]];
}

/** Runs a derivative's kernel over the tiles and heads of `sets` sets of rows; a thread or a workgroup does one. */
function runOverTiles(
  { shader, suffix = '', cost }: { shader: Shader; suffix?: string; cost: number },
  inputs: Operands,
  others: readonly [Tensor, Tensor, Tensor],
  options: Options,
  sets: number,
): void {
  const [{ context }, keys, , , tiles] = inputs;
  const cpu = context.adapter.kind === 'cpu';
  const tasks = sets * tiles.shape[0] * options.heads;
  context.run({
    kernel: {
      shader,
      entry: `${cpu ? 'direct' : 'tiled'}${suffix}`,
      tiles: { HEAD_DIM: keys.shape[2] / options.heads },
    },
    buffers: [...inputs, ...others].map((tensor) => tensor.buffer),
    uniforms: [...uniformsOf(inputs, options), sets],
    workgroups: grid(cpu ? Math.ceil(tasks / 4) : tasks),
    cost,
  });
}

/** Attention as an operation in qkv; the cache is constant but for the rows that `live` names, which are qkv's own. */
const cachedAttention: Op<Operands, Options> = {
  name: 'attention',
  forward(inputs, options) {
    const [{ context }, keys, , rows, tiles] = inputs;
    const { heads, seenInAll } = options;
    const [count] = rows.shape;
    const width = keys.shape[2];
    const y = empty(context, [count, width], 'f32', 'attention');
    const lse = empty(context, [count, heads], 'f32', 'log-sum-exp');
    const cpu = context.adapter.kind === 'cpu';
    context.run({
      kernel: { shader, entry: cpu ? 'direct' : 'tiled', tiles: { HEAD_DIM: width / heads } },
      buffers: [...inputs, y, lse].map((tensor) => tensor.buffer),
      uniforms: uniformsOf(inputs, options),
      workgroups: grid(cpu ? Math.ceil((count * heads) / 4) : tiles.shape[0] * heads),
      cost: 4 * width * (seenInAll + count),
    });
    return { value: y, saved: [lse] };
  },
  vjp(dy, { inputs, value, saved: [lse] }, [wantsQkv], options) {
    if (!wantsQkv) return [];
    const [qkv, , , rows, tiles] = inputs;
    const { context } = qkv;
    const { heads, seenInAll, liveInAll } = options;
    const [count, width] = value.shape;
    const sets = countSets([dy], [value]);
    const dqkv = empty(context, [sets * count, 3 * width], 'f32', 'gradient of qkv');
    const statistics = empty(context, [sets * count, heads, 2], 'f32', 'attention statistics');
    context.run({
      kernel: { shader: vjpShader, entry: 'dots', tiles: { HEAD_DIM: width / heads } },
      buffers: [qkv, value, lse, rows, tiles, statistics, dy, dqkv].map((tensor) => tensor.buffer),
      uniforms: [...uniformsOf(inputs, options), sets],
      workgroups: elementGrid(sets * count * heads),
      cost: 2 * dy.size,
    });
    const others = [statistics, dy, dqkv] as const;
    const cost = sets * width;
    const queries = { shader: vjpShader, suffix: '_queries', cost: 6 * cost * (seenInAll + count) };
    runOverTiles(queries, inputs, others, options, sets);
    const keys = { shader: vjpShader, suffix: '_keys', cost: 8 * cost * (liveInAll + count) };
    runOverTiles(keys, inputs, others, options, sets);
    return [dqkv];
  },
  jvp([dqkv, ...others], { inputs, value, saved: [lse] }, options) {
    if (!dqkv || others.some((tangent) => tangent)) {
      throw new InputError(
        'attention has no derivative in the cache.',
        'Give tangents of the rows; what the cache holds before them is constant.',
      );
    }
    const [count, width] = value.shape;
    const sets = countSets([dqkv], inputs);
    const dy = empty(dqkv.context, [sets * count, width], 'f32', 'tangent of attention');
    const cost = sets * width * (8 * (options.seenInAll + count) + 4 * (options.liveInAll + count));
    runOverTiles({ shader: jvpShader, cost }, inputs, [lse, dqkv, dy], options, sets);
    return dy;
  },
};

/**
 * Causal attention of new rows over the cache; formula and method in `attention.wgsl`.
 *
 * Differentiable in qkv, also through the rows that see each other (`Visibility.live`). A derivative reads the prefix
 * from the cache: until it is taken, the prefix must stay; what was appended behind it may go.
 * @param qkv [rows, 3 width]: queries, keys and values side by side.
 * @returns [rows, width]
 * @throws ShapeError when qkv does not hold the rows, or the heads do not divide the width.
 */
export function attention(
  qkv: Tensor,
  cache: LayerCache,
  visibility: VisibilityTensors,
  { heads, scale, window = 0 }: AttentionShape,
): Tensor {
  const [, , width = 0] = cache.keys.shape;
  const { count, rows, tiles, seenInAll, liveInAll } = visibility;
  expectSize('The queries, keys and values of an attention', qkv, [count, 3 * width]);
  if (width % heads !== 0)
    throw new ShapeError(`${heads} heads do not divide the width ${width}.`, 'Check n_head and n_embd.');
  const options = { heads, scale, window, seenInAll, liveInAll };
  return apply(cachedAttention, [qkv, cache.keys, cache.values, rows, tiles], options);
}

/**
 * Writes the keys and values of new rows into the cache, of a row that several slots share into each. Derivatives do not run through the cache: those of rows that see
 * each other run through `Visibility.live`, and what an earlier call appended is constant to a later one.
 * @param at [entries, 2] u32: (row, slot * capacity + position).
 */
export function appendToCache(qkv: Tensor, cache: LayerCache, at: Tensor): void {
  const width = cache.keys.shape[2];
  const [entries] = at.shape;
  qkv.context.run({
    kernel: { shader: appendShader, entry: 'main' },
    buffers: [qkv.buffer, at.buffer, cache.keys.buffer, cache.values.buffer],
    uniforms: [entries, width],
    workgroups: elementGrid(entries * width),
    cost: 4 * entries * width,
  });
}
