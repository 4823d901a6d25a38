import { InputError } from '../errors.ts';
import { attention } from '../reference/attention.ts';
import { embedding } from '../reference/embedding.ts';
import { layernorm } from '../reference/layernorm.ts';
import { type MatmulOptions, matmul } from '../reference/matmul.ts';
import { countRows } from '../reference/shape.ts';
import type { ModelConfig } from './config.ts';
import { layouts } from './layout.ts';
import type { ModelFiles } from './load.ts';
import { parametersOf, resolveParameters } from './parameters.ts';

/** The keys and values of a fixed prefix, for the first `depth` blocks. */
export interface ReferencePrefix {
  readonly depth: number;
  /** Positions held. */
  length: number;
  /** For each block `[capacity, d]`, of which the first `length` rows count. */
  readonly layers: { keys: Float64Array; values: Float64Array }[];
}

/** The float64 twin of a model: weights as stored (f32), arithmetic in f64. Rows are `[n, d]`, flattened. */
export interface ReferenceModel {
  readonly config: ModelConfig;
  /** Residual state 0 of tokens that stand at `firstPosition` and after: `wte[id] + wpe[position]`, `[n, d]`. */
  embed(ids: ArrayLike<number>, firstPosition?: number): Float64Array;
  /** Residual states 0..L of one sequence, each `[T, d]`; L is the state after the last block, before `ln_f`. */
  residualStates(ids: ArrayLike<number>): Float64Array[];
  /** Logits `[n, vocabulary]` of rows `[n, d]` of residual state L. */
  logits(rows: ArrayLike<number>): Float64Array;
  /** An empty prefix for `depth` blocks, all unless given. */
  prefix(depth?: number): ReferencePrefix;
  /**
   * The one-position map: each row on its own continues the prefix, nothing is appended.
   * @param rows `[B, d]` at the place `from`.
   * @param place The place to return, 0 to `prefix.depth` (the default), in half blocks as those of `PositionMap`.
   * @param from Where the rows stand; default 0.
   * @returns `[B, d]`
   */
  states(rows: ArrayLike<number>, prefix: ReferencePrefix, place?: number, from?: number): Float64Array;
  /** As `states`, but the rows follow one another, and their keys and values are appended to the prefix. */
  extend(rows: ArrayLike<number>, prefix: ReferencePrefix, upToLayer?: number): Float64Array;
}

/**
 * Loads the float64 twin of a model.
 * @param parameter Gives the values of a parameter by its canonical name (`h.0.ln_1.weight`).
 */
export async function loadReferenceModel(
  config: ModelConfig,
  parameter: (name: string) => Promise<Float32Array>,
): Promise<ReferenceModel> {
  const weights = new Map<string, Float32Array>();
  for (const { name } of parametersOf(config)) weights.set(name, await parameter(name));
  return referenceModel(config, (name) => weights.get(name)!);
}

/** The float64 twin of a model whose files are open. */
export function loadTwin({ config, checkpoint }: Pick<ModelFiles, 'config' | 'checkpoint'>): Promise<ReferenceModel> {
  const names = resolveParameters(config, checkpoint);
  return loadReferenceModel(config, (name) => checkpoint.float32(names.get(name)!));
}

function referenceModel(config: ModelConfig, weight: (name: string) => Float32Array): ReferenceModel {
  const { width: d, innerWidth, vocabularySize, heads, headDim, layers, layerNormEpsilon } = config;
  const { qkvParts, qkvBias, attentionOut, transposed: transposeB } = layouts[config.family];

  const norm = (x: ArrayLike<number>, name: string) =>
    layernorm(x, weight(`${name}.weight`), weight(`${name}.bias`), layerNormEpsilon).y;

  /** `activation(x W + b) + residual`, W stored as the family does. */
  function linear(
    x: Float64Array,
    name: string,
    n: number,
    extra: Pick<MatmulOptions, 'activation' | 'residual'> = {},
  ) {
    const w = weight(`${name}.weight`); // (k, n) or (n, k)
    const k = w.length / n;
    return matmul(x, w, { m: x.length / k, n, k, transposeB, bias: weight(`${name}.bias`), ...extra }); // (m, n)
  }

  /** Queries, keys and values of each row side by side, `(n, 3d)`. */
  function queriesKeysValues(x: Float64Array, block: string): Float64Array {
    const n = x.length / d;
    const columns = (3 * d) / qkvParts.length;
    const qkv = new Float64Array(n * 3 * d);
    qkvParts.forEach((part, i) => {
      const bias = qkvBias ? weight(`${block}.${part}.bias`) : undefined;
      const w = weight(`${block}.${part}.weight`); // (d, columns) or (columns, d)
      const y = matmul(x, w, { m: n, n: columns, k: d, transposeB, bias }); // (n, columns)
      for (let r = 0; r < n; r++) qkv.set(y.subarray(r * columns, (r + 1) * columns), r * 3 * d + i * columns);
    });
    return qkv;
  }

  /** x + attn(ln_1 x); with `append`, row r sees the prefix and the rows before it, and all rows are appended. */
  function attentionStep(x: Float64Array, layer: number, prefix: ReferencePrefix, append: boolean): Float64Array {
    const n = x.length / d;
    const at = `h.${layer}`;
    const qkv = queriesKeysValues(norm(x, `${at}.ln_1`), at); // (n, 3d)
    if (append) appendKeyValues(prefix, layer, qkv, d);
    const { keys, values } = prefix.layers[layer];
    const seen = Array.from({ length: n }, (_, r) => prefix.length + (append ? r : 0));
    const cache = { keys, values, capacity: keys.length / d, slots: new Uint8Array(n), seen };
    const [scale, window] = [config.attentionScale(layer), config.attentionWindow(layer)];
    const mixed = attention(qkv, cache, { heads, headDim, scale, window }); // (n, d)
    return linear(mixed, `${at}.${attentionOut}`, d, { residual: x }); // (n, d)
  }

  /** x + mlp(ln_2 x) */
  function mlpStep(x: Float64Array, layer: number): Float64Array {
    const at = `h.${layer}`;
    const { activation } = config;
    const hidden = linear(norm(x, `${at}.ln_2`), `${at}.mlp.c_fc`, innerWidth, { activation }); // (n, inner)
    return linear(hidden, `${at}.mlp.c_proj`, d, { residual: x }); // (n, d)
  }

  const block = (x: Float64Array, layer: number, prefix: ReferencePrefix, append: boolean): Float64Array =>
    mlpStep(attentionStep(x, layer, prefix, append), layer);

  const model: ReferenceModel = {
    config,

    embed(ids, firstPosition = 0) {
      const positions = Array.from({ length: ids.length }, (_, t) => firstPosition + t);
      return embedding(ids, weight('wte.weight'), d, positions, weight('wpe.weight')); // (n, d)
    },

    residualStates(ids) {
      const prefix = model.prefix();
      const states = [model.embed(ids)]; // (T, d) each
      for (let layer = 0; layer < layers; layer++) states.push(block(states[layer], layer, prefix, true));
      return states;
    },

    logits(rows) {
      const head = weight(config.tiedHead ? 'wte.weight' : 'lm_head.weight'); // (vocabulary, d)
      const bias = config.headBias ? weight('lm_head.bias') : undefined;
      const m = countRows('logits: rows', rows, d);
      return matmul(norm(rows, 'ln_f'), head, { m, n: vocabularySize, k: d, transposeB: true, bias });
    },

    prefix(depth = layers) {
      expectLayer(depth, layers);
      const empty = () => ({ keys: new Float64Array(), values: new Float64Array() });
      return { depth, length: 0, layers: Array.from({ length: depth }, empty) };
    },

    states(rows, prefix, place = prefix.depth, from = 0) {
      countRows('states: rows', rows, d);
      expectPlace(place, prefix.depth);
      expectPlace(from, place);
      let x: Float64Array = Float64Array.from(rows); // (B, d)
      for (let at = from; at < place; at += 0.5) {
        x = Number.isInteger(at) ? attentionStep(x, at, prefix, false) : mlpStep(x, at - 0.5);
      }
      return x;
    },

    extend(rows, prefix, upToLayer = prefix.depth) {
      const n = countRows('extend: rows', rows, d);
      expectLayer(upToLayer, prefix.depth);
      let x: Float64Array = Float64Array.from(rows); // (n, d)
      let state = x;
      for (let layer = 0; layer < prefix.depth; layer++) {
        x = block(x, layer, prefix, true);
        if (layer + 1 === upToLayer) state = x;
      }
      prefix.length += n;
      return state;
    },
  };
  return model;
}

/**
 * Forgets the positions of a prefix from `length` on.
 * @throws InputError when the prefix is shorter than that.
 */
export function truncate(prefix: ReferencePrefix, length: number): void {
  if (!Number.isInteger(length) || length < 0 || length > prefix.length)
    throw new InputError(
      `Cannot truncate a prefix of ${prefix.length} positions to ${length}.`,
      `Use a length from 0 to ${prefix.length}.`,
    );
  prefix.length = length;
}

/** Writes the keys and values of `qkv` `[n, 3d]` after the prefix, which grows to hold just them. */
function appendKeyValues(prefix: ReferencePrefix, layer: number, qkv: Float64Array, d: number): void {
  const n = qkv.length / (3 * d);
  const kept = prefix.length * d;
  const grow = (held: Float64Array, column: number) => {
    const grown = new Float64Array(kept + n * d); // (length + n, d)
    grown.set(held.subarray(0, kept));
    for (let r = 0; r < n; r++) grown.set(qkv.subarray((3 * r + column) * d, (3 * r + column + 1) * d), kept + r * d);
    return grown;
  };
  const { keys, values } = prefix.layers[layer];
  prefix.layers[layer] = { keys: grow(keys, 1), values: grow(values, 2) };
}

function expectLayer(layer: number, depth: number): void {
  if (!Number.isInteger(layer)) throw new InputError(`${layer} is no layer.`, `Use a whole number from 0 to ${depth}.`);
  expectPlace(layer, depth);
}

function expectPlace(place: number, depth: number): void {
  if (Number.isInteger(2 * place) && place >= 0 && place <= depth) return;
  throw new InputError(`Layer ${place} is not among the states at hand.`, `Use a layer from 0 to ${depth}.`);
}
