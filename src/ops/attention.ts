import code from '../../shaders/attention.wgsl?raw';
import appendCode from '../../shaders/kv-append.wgsl?raw';
import { ShapeError } from '../errors.ts';
import type { Context } from '../gpu/context.ts';
import { f32 } from '../gpu/uniforms.ts';
import { empty, type Tensor, upload } from '../tensor/tensor.ts';
import { elementGrid, expectSize, grid } from './kernels.ts';

const shader = { file: 'shaders/attention.wgsl', code };
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
}

/** A visibility on the GPU, uploaded once for all layers. */
export interface VisibilityTensors {
  readonly count: number;
  /** (slot, seen) of each row, [rows, 2] u32 */
  readonly rows: Tensor;
  /** (first row, number of rows) of runs of up to 4 neighbouring rows with one slot, [tiles, 2] u32 */
  readonly tiles: Tensor;
  /** Sum of `seen`, from which the work follows. */
  readonly seenInAll: number;
}

/** Heads and scale of an attention. */
export interface AttentionShape {
  readonly heads: number;
  readonly scale: number;
  /** A row sees at most its last `window` keys, itself included (GPT-Neo's local attention). */
  readonly window?: number;
}

const TILE_ROWS = 4;

/** Uploads who sees what. */
export function uploadVisibility(context: Context, { slots, seen }: Visibility): VisibilityTensors {
  const rows = new Uint32Array(2 * slots.length);
  const tiles: number[] = [];
  slots.forEach((slot, r) => {
    rows.set([slot, seen[r]], 2 * r);
    const open = tiles.length - 2;
    if (open >= 0 && slot === slots[r - 1] && tiles[open + 1] < TILE_ROWS) tiles[open + 1]++;
    else tiles.push(r, 1);
  });
  return {
    count: slots.length,
    rows: upload(context, rows, [slots.length, 2], 'visibility'),
    tiles: upload(context, Uint32Array.from(tiles), [tiles.length / 2, 2], 'visibility tiles'),
    seenInAll: seen.reduce((sum, n) => sum + n, 0),
  };
}

/**
 * Causal attention of new rows over the cache; formula and method in `attention.wgsl`.
 * @param qkv [rows, 3 width]: queries, keys and values side by side.
 * @returns [rows, width]
 */
export function attention(
  qkv: Tensor,
  cache: LayerCache,
  visibility: VisibilityTensors,
  shape: AttentionShape,
): Tensor {
  const { context } = qkv;
  const [, capacity = 0, width = 0] = cache.keys.shape;
  const rows = visibility.count;
  expectSize('The queries, keys and values of an attention', qkv, [rows, 3 * width]);
  const { heads, scale, window = 0 } = shape;
  if (width % heads !== 0)
    throw new ShapeError(`${heads} heads do not divide the width ${width}.`, 'Check n_head and n_embd.');
  const y = empty(context, [rows, width], 'f32', 'attention');
  const cpu = context.adapter.kind === 'cpu';
  const [tiles = 0] = visibility.tiles.shape;
  context.run({
    kernel: { shader, entry: cpu ? 'direct' : 'tiled', tiles: { HEAD_DIM: width / heads } },
    buffers: [qkv, cache.keys, cache.values, visibility.rows, visibility.tiles, y].map((tensor) => tensor.buffer),
    uniforms: [rows, width, heads, capacity, f32(scale), window, tiles],
    workgroups: grid(cpu ? Math.ceil((rows * heads) / 4) : tiles * heads),
    cost: 4 * width * (visibility.seenInAll + rows),
  });
  return y;
}

/**
 * Writes the keys and values of new rows into the cache.
 * @param at [rows] u32: slot * capacity + position of each row.
 */
export function appendToCache(qkv: Tensor, cache: LayerCache, at: Tensor): void {
  const width = cache.keys.shape[2];
  const rows = at.size;
  qkv.context.run({
    kernel: { shader: appendShader, entry: 'main' },
    buffers: [qkv.buffer, at.buffer, cache.keys.buffer, cache.values.buffer],
    uniforms: [rows, width],
    workgroups: elementGrid(rows * width),
    cost: 4 * rows * width,
  });
}
