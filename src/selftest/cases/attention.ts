import { appendToCache, attention, uploadVisibility } from '../../ops/attention.ts';
import { add } from '../../ops/elementwise.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { type Case, EXACT, normal } from '../case.ts';

/** Attention of rows that see `seen[r]` entries of slot `slotOf(r)`. */
function attentionCase(
  heads: number,
  headDim: number,
  seen: readonly number[],
  slotOf: (row: number) => number,
  window?: number,
): Case {
  const width = heads * headDim;
  const rows = seen.length;
  const capacity = Math.max(1, ...seen);
  const slots = Uint32Array.from(seen, (_, r) => slotOf(r));
  const slotCount = Math.max(...slots) + 1;
  const qkv = normal(10, rows * 3 * width);
  const keys = normal(11, slotCount * capacity * width);
  const values = normal(12, slotCount * capacity * width);
  const shape = { heads, scale: 1 / Math.sqrt(headDim), window };
  return {
    op: 'attention',
    name: `${rows} rows, ${heads} heads of ${headDim}, up to ${capacity} keys, ${slotCount} slots${window ? `, window ${window}` : ''}`,
    // Exponentials of scores of size 4 carry 4 roundings.
    bounds: { rel: 1e-5, abs: 3e-6 },
    run: (c) =>
      attention(
        upload(c, qkv, [rows, 3 * width]),
        {
          keys: upload(c, keys, [slotCount, capacity, width]),
          values: upload(c, values, [slotCount, capacity, width]),
        },
        uploadVisibility(c, { slots, seen: Uint32Array.from(seen) }),
        shape,
      ),
    want: () =>
      reference.attention(qkv, { keys, values, capacity, slots, seen }, { heads, headDim, scale: shape.scale, window }),
  };
}

/** Rows that land in scattered places of a K/V cache. */
function appendCase(): Case {
  const [rows, width, slots, capacity] = [5, 6, 3, 7];
  const qkv = normal(13, rows * 3 * width);
  const at = Uint32Array.of(20, 0, 13, 7, 5);
  return {
    op: 'attention',
    name: 'append to the cache',
    bounds: EXACT,
    run(c) {
      const keys = upload(c, new Float32Array(slots * capacity * width), [slots, capacity, width]);
      const values = upload(c, new Float32Array(slots * capacity * width), [slots, capacity, width]);
      appendToCache(upload(c, qkv, [rows, 3 * width]), { keys, values }, upload(c, at));
      return add(keys, values, 2);
    },
    want() {
      const sum = new Float64Array(slots * capacity * width);
      at.forEach((entry, r) => {
        for (let i = 0; i < width; i++) {
          const key = qkv[(3 * r + 1) * width + i];
          sum[entry * width + i] = Math.fround(key + 2 * qkv[(3 * r + 2) * width + i]);
        }
      });
      return sum;
    },
  };
}

const causal = (n: number) => Array.from({ length: n }, (_, t) => t);

/** Prompts, windows, candidates over shared prefixes, local attention. */
export const attentionCases = (): Case[] => [
  attentionCase(1, 1, [0], () => 0),
  attentionCase(3, 8, causal(65), () => 0),
  attentionCase(1, 7, causal(9), () => 0),
  attentionCase(5, 6, [0, 3, 1, 7, 7, 7, 7, 7, 2, 129], (r) => r % 3),
  attentionCase(2, 64, [70, 70, 70, 70, 70, 5, 0], (r) => (r < 5 ? 1 : 0)),
  attentionCase(2, 80, causal(130), () => 0),
  attentionCase(2, 4, causal(20), () => 0, 6),
  appendCase(),
];
