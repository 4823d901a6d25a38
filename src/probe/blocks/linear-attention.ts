import type { Context } from '../../gpu/context.ts';
import { multiply } from '../../ops/elementwise.ts';
import { matmul } from '../../ops/matmul.ts';
import * as reference from '../../reference/index.ts';
import { seededRandom } from '../../reference/random.ts';
import { countRows } from '../../reference/shape.ts';
import { type Block, block } from './block.ts';

/**
 * Causal linear attention, without a softmax: position t gives the sum over heads and j <= t of
 * `(q_t . k_j) v_j W_o / sqrt(headDim)`, and x_t with a residual. No biases.
 */
export interface LinearAttention {
  /** d */
  readonly width: number;
  readonly heads: number;
  /** Numbers of a head's query, key and value. A head of less than d has a singular W_v W_o. */
  readonly headDim: number;
  readonly residual: boolean;
  /** W_q, W_k and W_v, [d, heads headDim] each, heads side by side. */
  readonly queryWeight: ArrayLike<number>;
  readonly keyWeight: ArrayLike<number>;
  readonly valueWeight: ArrayLike<number>;
  /** W_o, [heads headDim, d] */
  readonly outWeight: ArrayLike<number>;
}

/**
 * What a fixed prefix adds is linear in x: x L with L the sum over heads of W_q (sum of k_j^T v_j) W_o / sqrt(headDim),
 * and the identity with a residual.
 * @param prefix The rows before, [t, d]; none by default.
 * @returns L, [d, d]
 * @throws ShapeError when an operand does not fill its shape.
 */
export function prefixMatrix(attention: LinearAttention, prefix: ArrayLike<number> = []): Float64Array {
  const { width: d, heads, headDim, residual, queryWeight, keyWeight, valueWeight, outWeight } = attention;
  const inner = heads * headDim;
  const t = countRows('prefixMatrix: prefix', prefix, d);
  const rows = { m: t, n: inner, k: d };
  const keys = reference.matmul(prefix, keyWeight, rows); // (t, inner)
  const values = reference.matmul(prefix, valueWeight, rows); // (t, inner)
  const state = reference.matmul(keys, values, { m: inner, n: inner, k: t, transposeA: true }); // (inner, inner)
  const ofOneHead = state.map((v, i) => v * headMask(attention, Math.floor(i / inner), i % inner));
  const fromState = reference.matmul(ofOneHead, outWeight, { m: inner, n: d, k: inner }); // (inner, d)
  const l = reference.matmul(queryWeight, fromState, { m: d, n: d, k: inner }); // (d, d)
  return residual ? l.map((v, i) => v + (i % (d + 1) === 0 ? 1 : 0)) : l;
}

/** 1 / sqrt(headDim) for two columns of one head, 0 for others. */
const headMask = ({ headDim }: LinearAttention, i: number, j: number): number =>
  Math.floor(i / headDim) === Math.floor(j / headDim) ? 1 / Math.sqrt(headDim) : 0;

/** [inner, inner]: columns of queries times keys, times this, are the scores of each head, once for each of its columns. */
const scoreWeight = (attention: LinearAttention): Float32Array => {
  const inner = attention.heads * attention.headDim;
  return Float32Array.from({ length: inner * inner }, (_, i) => headMask(attention, Math.floor(i / inner), i % inner));
};

/**
 * The position after a prefix in float64: `x L + sum over heads of (x A x^T) x V`, A = W_q W_k^T / sqrt(headDim),
 * V = W_v W_o.
 * @param l Of the prefix, from `prefixMatrix`.
 * @param rows Each on its own behind the prefix, [B, d].
 * @returns [B, d]
 * @throws ShapeError when an operand does not fill its shape.
 */
export function linearAttentionTwin(
  attention: LinearAttention,
  l: ArrayLike<number>,
  rows: ArrayLike<number>,
): Float64Array {
  const { width: d, heads, headDim, queryWeight, keyWeight, valueWeight, outWeight } = attention;
  const inner = heads * headDim;
  const m = countRows('linearAttentionTwin: rows', rows, d);
  const [q, k, v] = [queryWeight, keyWeight, valueWeight].map((w) => reference.matmul(rows, w, { m, n: inner, k: d }));
  const mixed = v.map((value, i) => {
    const head = i - (i % headDim);
    let score = 0;
    for (let j = head; j < head + headDim; j++) score += q[j] * k[j];
    return (score / Math.sqrt(headDim)) * value;
  }); // (B, inner)
  const linear = reference.matmul(rows, l, { m, n: d, k: d }); // (B, d)
  return reference.matmul(mixed, outWeight, { m, n: d, k: inner, residual: linear }); // (B, d)
}

/**
 * Causal linear attention behind a fixed prefix. It grows as |x|^3, so no bound on what it adds proves it onto; with one
 * head `linearAttentionInverse` lists all preimages.
 * @param prefix The rows before, [t, d]; none by default.
 * @throws ShapeError when an operand does not fill its shape.
 */
export function linearAttention(
  context: Context,
  attention: LinearAttention,
  prefix?: ArrayLike<number>,
  name = 'linear attention',
): Block {
  const { width: d, heads, headDim, queryWeight, keyWeight, valueWeight, outWeight } = attention;
  const inner = heads * headDim;
  const l = prefixMatrix(attention, prefix);
  const twin = (rows: ArrayLike<number>) => linearAttentionTwin(attention, l, rows);
  const weights = {
    query: { values: queryWeight, shape: [d, inner] },
    key: { values: keyWeight, shape: [d, inner] },
    value: { values: valueWeight, shape: [d, inner] },
    out: { values: outWeight, shape: [inner, d] },
    score: { values: scoreWeight(attention), shape: [inner, inner] },
    linear: { values: l, shape: [d, d] },
  };
  return block(context, name, d, twin, weights, (x, w) => {
    const scores = matmul(multiply(matmul(x, w.query), matmul(x, w.key)), w.score); // (B, inner)
    const mixed = multiply(scores, matmul(x, w.value)); // (B, inner)
    return matmul(mixed, w.out, { residual: matmul(x, w.linear) }); // (B, d)
  });
}

/** What `randomLinearAttention` is to draw. */
export interface LinearAttentionShape {
  readonly width: number;
  /** Default 1. */
  readonly heads?: number;
  /** Default d / heads. */
  readonly headDim?: number;
  /** Default false. */
  readonly residual?: boolean;
}

/** Normal weights under which scores and values of normal rows have size 1, the same for the same seed. */
export function randomLinearAttention(seed: number, shape: LinearAttentionShape): LinearAttention {
  const { width, heads = 1, headDim = width / heads, residual = false } = shape;
  const { normal } = seededRandom(seed);
  const inner = heads * headDim;
  const into = () => normal(width * inner, 1 / Math.sqrt(width));
  return {
    width,
    heads,
    headDim,
    residual,
    queryWeight: into(),
    keyWeight: into(),
    valueWeight: into(),
    outWeight: normal(inner * width, 1 / Math.sqrt(inner)),
  };
}
