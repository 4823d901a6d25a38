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
  const { keys, values, capacity, slots, seen } = cache;
  const { heads, headDim, scale, window = Infinity } = options;
  const rows = slots.length;
  const d = heads * headDim;
  expectShape('attention: qkv', qkv, [rows, 3 * d]);
  expectShape('attention: seen', seen, [rows]);
  expectShape('attention: values', values, [keys.length]);
  const slotCount = capacity === 0 ? Infinity : countRows('attention: keys', keys, capacity * d);

  const out = new Float64Array(rows * d); // (rows, d)
  for (let r = 0; r < rows; r++) {
    if (!(slots[r] >= 0 && slots[r] < slotCount && seen[r] >= 0 && seen[r] <= capacity))
      throw new ShapeError(
        `attention: row ${r} sees ${seen[r]} entries of slot ${slots[r]}, the cache holds ${keys.length / d} entries, ${capacity} a slot.`,
        'Name a slot that exists and no more entries than it has room for.',
      );
    const first = Math.max(0, seen[r] + 1 - window);
    const count = seen[r] + 1 - first;
    for (let h = 0; h < heads; h++) {
      const cached = (j: number) => (slots[r] * capacity + first + j) * d + h * headDim;
      const query = r * 3 * d + h * headDim;
      const ownKey = query + d;
      const ownValue = query + 2 * d;
      const scores = new Float64Array(count); // (count)
      for (let j = 0; j < count - 1; j++) scores[j] = scale * dot(qkv, query, keys, cached(j), headDim);
      scores[count - 1] = scale * dot(qkv, query, qkv, ownKey, headDim);
      const weights = softmax(scores, count); // (count)
      for (let c = 0; c < headDim; c++) {
        let sum = weights[count - 1] * qkv[ownValue + c];
        for (let j = 0; j < count - 1; j++) sum += weights[j] * values[cached(j) + c];
        out[r * d + h * headDim + c] = sum;
      }
    }
  }
  return out;
}

function dot(a: ArrayLike<number>, aAt: number, b: ArrayLike<number>, bAt: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[aAt + i] * b[bAt + i];
  return sum;
}
