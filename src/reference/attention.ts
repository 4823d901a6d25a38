import { ShapeError } from '../errors.ts';
import { countRows, expectShape } from './shape.ts';
import { softmax } from './softmax.ts';

/** K/V of earlier positions, and what each query row may see of them. */
export interface AttentionCache {
  /** `[slots, capacity, d]` */
  readonly keys: ArrayLike<number>;
  /** `[slots, capacity, d]` */
  readonly values: ArrayLike<number>;
  /** Entries a slot has room for. */
  readonly capacity: number;
  /** `[rows]`: the slot that each row continues. */
  readonly slots: ArrayLike<number>;
  /** `[rows]`: how many entries of its slot each row sees. */
  readonly seen: ArrayLike<number>;
  /**
   * `[rows]`: how many of these, the last ones, are the rows just before it, which is how causal rows that were appended
   * see each other. They are read from qkv, not from the cache, and derivatives run through them. None unless given.
   */
  readonly live?: ArrayLike<number>;
}

/** The shape of one attention layer. */
export interface AttentionOptions {
  readonly heads: number;
  /** Columns of one head; `d = heads * headDim`. */
  readonly headDim: number;
  /** Factor on the dot products, `1 / sqrt(headDim)` as a rule. */
  readonly scale: number;
  /** Only the last `window` entries, the row's own included; all unless given (GPT-Neo's local attention). */
  readonly window?: number;
}

/**
 * Causal multi-head attention over a K/V cache: row r attends to the first `seen[r]` entries of slot `slots[r]`, then to
 * its own key and value: `softmax(scale q K^T) V` in each head (Vaswani et al. 2017, arXiv 1706.03762, section 3.2).
 * @param qkv `[rows, 3d]`: query, key and value of each row; a head is a run of `headDim` columns.
 * @returns `[rows, d]`, before the output projection.
 * @throws ShapeError when operands do not fit together or a row names entries the cache does not hold.
 */
export function attention(qkv: ArrayLike<number>, cache: AttentionCache, options: AttentionOptions): Float64Array {
  const { headDim } = options;
  const out = new Float64Array(qkv.length / 3); // (rows, d)
  for (const { at, entries, weights } of views(qkv, cache, options)) {
    entries.forEach(({ values, value }, j) => {
      for (let c = 0; c < headDim; c++) out[at + c] += weights[j] * values[value + c];
    });
  }
  return out;
}

/**
 * The gradient of `<dy, attention(qkv)>` in qkv. With P the weights, `dP = dy V^T` and `dS = P (dP - <P, dP>)` of each
 * query: `dq = scale dS K`, `dk = scale dS^T Q`, `dv = P^T dy`, the last two for rows of the batch only: what the cache
 * held before is constant (Dao et al. 2022, arXiv 2205.14135, appendix B.2).
 * @param dy `[rows, d]`
 * @param qkv `[rows, 3d]`
 * @returns `[rows, 3d]`
 * @throws ShapeError as `attention` does, and when `dy` does not fill its shape.
 */
export function attentionVjp(
  dy: ArrayLike<number>,
  qkv: ArrayLike<number>,
  cache: AttentionCache,
  options: AttentionOptions,
): Float64Array {
  const { heads, headDim, scale } = options;
  const d = heads * headDim;
  expectShape('attentionVjp: dy', dy, [cache.slots.length, d]);
  const dqkv = new Float64Array(qkv.length); // (rows, 3d)
  for (const { at, query, entries, weights } of views(qkv, cache, options)) {
    const dP = entries.map(({ values, value }) => dot(dy, at, values, value, headDim)); // (count)
    const mean = dP.reduce((sum, v, j) => sum + weights[j] * v, 0);
    entries.forEach(({ keys, key, row, head }, j) => {
      const dS = weights[j] * (dP[j] - mean);
      for (let c = 0; c < headDim; c++) {
        dqkv[query + c] += scale * dS * keys[key + c];
        if (row === undefined) continue;
        dqkv[(3 * row + 1) * d + head + c] += scale * dS * qkv[query + c];
        dqkv[(3 * row + 2) * d + head + c] += weights[j] * dy[at + c];
      }
    });
  }
  return dqkv;
}

/**
 * The tangent of `attention(qkv)`: of each query, `dS = scale (dq K^T + q dK^T)` and
 * `sum of P (dv + (dS - <P, dS>) v)`, where dk and dv are zero for what the cache held before.
 * @param dqkv `[rows, 3d]`
 * @param qkv `[rows, 3d]`
 * @returns `[rows, d]`
 * @throws ShapeError as `attention` does, and when `dqkv` does not fill its shape.
 */
export function attentionJvp(
  dqkv: ArrayLike<number>,
  qkv: ArrayLike<number>,
  cache: AttentionCache,
  options: AttentionOptions,
): Float64Array {
  const { heads, headDim, scale } = options;
  const d = heads * headDim;
  expectShape('attentionJvp: dqkv', dqkv, [qkv.length]);
  const out = new Float64Array(qkv.length / 3); // (rows, d)
  for (const { at, query, entries, weights } of views(qkv, cache, options)) {
    const dS = entries.map(({ keys, key, row, head }) => {
      const throughQuery = dot(dqkv, query, keys, key, headDim);
      const throughKey = row === undefined ? 0 : dot(qkv, query, dqkv, (3 * row + 1) * d + head, headDim);
      return scale * (throughQuery + throughKey);
    }); // (count)
    const mean = dS.reduce((sum, v, j) => sum + weights[j] * v, 0);
    entries.forEach(({ values, value, row, head }, j) => {
      for (let c = 0; c < headDim; c++) {
        const dv = row === undefined ? 0 : dqkv[(3 * row + 2) * d + head + c];
        out[at + c] += weights[j] * (dv + (dS[j] - mean) * values[value + c]);
      }
    });
  }
  return out;
}

/** A key and a value that a query sees: arrays and where they begin in them. */
interface Entry {
  readonly keys: ArrayLike<number>;
  readonly key: number;
  readonly values: ArrayLike<number>;
  readonly value: number;
  /** The row of the batch it belongs to; undefined for an entry of the cache. */
  readonly row?: number;
  /** First column of its head. */
  readonly head: number;
}

/** What one query, a row in one head, sees. */
interface View {
  /** Where its head begins in a `[rows, d]` array. */
  readonly at: number;
  /** Where it begins in qkv. */
  readonly query: number;
  readonly entries: readonly Entry[];
  /** Softmax of the scaled scores of the entries. */
  readonly weights: Float64Array;
}

function* views(
  qkv: ArrayLike<number>,
  { keys, values, capacity, slots, seen, live = new Uint32Array(slots.length) }: AttentionCache,
  { heads, headDim, scale, window = Infinity }: AttentionOptions,
): Generator<View> {
  const rows = slots.length;
  const d = heads * headDim;
  expectShape('attention: qkv', qkv, [rows, 3 * d]);
  expectShape('attention: seen', seen, [rows]);
  expectShape('attention: live', live, [rows]);
  expectShape('attention: values', values, [keys.length]);
  const slotCount = capacity === 0 ? Infinity : countRows('attention: keys', keys, capacity * d);

  for (let r = 0; r < rows; r++) {
    if (!(slots[r] >= 0 && slots[r] < slotCount && seen[r] >= 0 && seen[r] <= capacity))
      throw new ShapeError(
        `attention: row ${r} sees ${seen[r]} entries of slot ${slots[r]}, the cache holds ${keys.length / d} entries, ${capacity} a slot.`,
        'Name a slot that exists and no more entries than it has room for.',
      );
    if (!(live[r] >= 0 && live[r] <= Math.min(r, seen[r])))
      throw new ShapeError(
        `attention: ${live[r]} of the ${seen[r]} entries that row ${r} sees are to be rows just before it.`,
        'Count the rows before it that continue the same slot.',
      );
    const first = Math.max(0, seen[r] + 1 - window);
    for (let h = 0; h < heads; h++) {
      const head = h * headDim;
      const query = r * 3 * d + head;
      const entries: Entry[] = [];
      for (let position = first; position <= seen[r]; position++) {
        const row = r - (seen[r] - position);
        if (row >= r - live[r]) {
          const key = (3 * row + 1) * d + head;
          entries.push({ keys: qkv, key, values: qkv, value: key + d, row, head });
        } else {
          const key = (slots[r] * capacity + position) * d + head;
          entries.push({ keys, key, values, value: key, head });
        }
      }
      const scores = entries.map((entry) => scale * dot(qkv, query, entry.keys, entry.key, headDim)); // (count)
      yield { at: r * d + head, query, entries, weights: softmax(scores, scores.length) };
    }
  }
}

function dot(a: ArrayLike<number>, aAt: number, b: ArrayLike<number>, bAt: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[aAt + i] * b[bAt + i];
  return sum;
}
