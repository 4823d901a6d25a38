import { linearize } from '../../autograd/tape.ts';
import type { Context } from '../../gpu/context.ts';
import { appendToCache, attention, uploadVisibility } from '../../ops/attention.ts';
import { add } from '../../ops/elementwise.ts';
import * as reference from '../../reference/index.ts';
import { type Tensor, upload } from '../../tensor/tensor.ts';
import { type Case, EXACT, normal } from '../case.ts';
import { eachSet, nameOfSets } from '../sets.ts';

/** Rows over a cache: the sizes of a case, and who sees what. */
interface Scene {
  readonly heads: number;
  readonly headDim: number;
  readonly slots: readonly number[];
  readonly seen: readonly number[];
  readonly live?: readonly number[];
  readonly window?: number;
}

/** Seeded operands of a scene, on the GPU and for the reference. */
function operands({ heads, headDim, window, ...rows }: Scene) {
  const width = heads * headDim;
  const count = rows.seen.length;
  const capacity = Math.max(1, ...rows.seen.map((n) => n + 1));
  const slotCount = Math.max(...rows.slots) + 1;
  const [slots, seen, live] = [rows.slots, rows.seen, rows.live ?? rows.seen.map(() => 0)].map((n) =>
    Uint32Array.from(n),
  );
  const qkv = normal(10, count * 3 * width);
  const keys = normal(11, slotCount * capacity * width);
  const values = normal(12, slotCount * capacity * width);
  const shape = { heads, scale: 1 / Math.sqrt(headDim), window };
  const appended = Uint32Array.from(rows.seen.flatMap((position, r) => [r, slots[r] * capacity + position]));
  return {
    width,
    count,
    qkv,
    name: [
      `${count} rows`,
      `${heads} heads of ${headDim}`,
      `up to ${capacity - 1} keys`,
      `${slotCount} slots`,
      ...(rows.live ? ['appended'] : []),
      ...(window ? [`window ${window}`] : []),
    ].join(', '),
    /** Attention of the rows, as a model records it. */
    record: (c: Context) => (x: Tensor) => {
      const cache = {
        keys: upload(c, keys, [slotCount, capacity, width]),
        values: upload(c, values, [slotCount, capacity, width]),
      };
      if (rows.live) appendToCache(x, cache, upload(c, appended, [count, 2]));
      return attention(x, cache, uploadVisibility(c, { slots, seen, live }), shape);
    },
    cache: { keys, values, capacity, slots, seen, live },
    options: { ...shape, headDim },
  };
}

function attentionCase(scene: Scene): Case {
  const { count, width, qkv, name, record, cache, options } = operands(scene);
  return {
    op: 'attention',
    name,
    // Exponentials of scores of size 4 carry 4 roundings.
    bounds: { rel: 1e-5, abs: 3e-6 },
    run: (c) => record(c)(upload(c, qkv, [count, 3 * width])),
    want: () => reference.attention(qkv, cache, options),
  };
}

// Weights made again from lse do not sum to 1 exactly: twice the error of the forward pass, where they are normalised.
const DERIVATIVE_BOUNDS = { rel: 1e-5, abs: 6e-6 };

/** The gradient and the tangent along several sets of normal numbers. */
function derivativeCases(scene: Scene, sets = 1): Case[] {
  const { count, width, qkv, name, record, cache, options } = operands(scene);
  const dy = normal(41, sets * count * width);
  const dqkv = normal(42, sets * count * 3 * width);
  const at = (c: Context) => linearize(record(c), [upload(c, qkv, [count, 3 * width])]);
  return [
    {
      op: 'attention',
      name: `vjp ${name}${nameOfSets(sets)}`,
      bounds: DERIVATIVE_BOUNDS,
      run: (c) => at(c).vjp(upload(c, dy, [sets * count, width]))[0],
      want: () => eachSet(sets, (one) => reference.attentionVjp(one(dy), qkv, cache, options)),
    },
    {
      op: 'attention',
      name: `jvp ${name}${nameOfSets(sets)}`,
      bounds: DERIVATIVE_BOUNDS,
      run: (c) => at(c).jvp([upload(c, dqkv, [sets * count, 3 * width])]),
      want: () => eachSet(sets, (one) => reference.attentionJvp(one(dqkv), qkv, cache, options)),
    },
  ];
}

/** Rows that land in scattered places of a K/V cache. */
function appendCase(): Case {
  const [rows, width, slots, capacity] = [5, 6, 3, 7];
  const qkv = normal(13, rows * 3 * width);
  const at = [20, 0, 13, 7, 5, 1].map((place, i) => [i % rows, place]); // the first row goes to two places
  return {
    op: 'attention',
    name: 'append to the cache',
    bounds: EXACT,
    run(c) {
      const keys = upload(c, new Float32Array(slots * capacity * width), [slots, capacity, width]);
      const values = upload(c, new Float32Array(slots * capacity * width), [slots, capacity, width]);
      appendToCache(
        upload(c, qkv, [rows, 3 * width]),
        { keys, values },
        upload(c, Uint32Array.from(at.flat()), [at.length, 2]),
      );
      return add(keys, values, 2);
    },
    want() {
      const sum = new Float64Array(slots * capacity * width);
      at.forEach(([r, place]) => {
        for (let i = 0; i < width; i++) {
          const key = qkv[(3 * r + 1) * width + i];
          sum[place * width + i] = Math.fround(key + 2 * qkv[(3 * r + 2) * width + i]);
        }
      });
      return sum;
    },
  };
}

/** `count` rows appended behind `prefix` entries of a slot. */
const segment = (slot: number, count: number, prefix = 0) => ({
  slots: new Array<number>(count).fill(slot),
  seen: Array.from({ length: count }, (_, i) => prefix + i),
  live: Array.from({ length: count }, (_, i) => i),
});

/** Segments of several slots in one batch. */
function segments(...each: ReturnType<typeof segment>[]) {
  const all = (of: 'slots' | 'seen' | 'live') => each.flatMap((one) => one[of]);
  return { slots: all('slots'), seen: all('seen'), live: all('live') };
}

/** Candidates: rows that see `seen[r]` entries of slot `slotOf(r)` and not each other. */
const candidates = (seen: readonly number[], slotOf: (row: number) => number) => ({
  seen,
  slots: seen.map((_, r) => slotOf(r)),
});

/** Prompts, windows, candidates over shared prefixes, local attention. */
export const attentionCases = (): Case[] => [
  attentionCase({ heads: 1, headDim: 1, ...segment(0, 1) }),
  attentionCase({ heads: 3, headDim: 8, ...segment(0, 65) }),
  attentionCase({ heads: 1, headDim: 7, ...segment(0, 9, 4) }),
  attentionCase({ heads: 5, headDim: 6, ...candidates([0, 3, 1, 7, 7, 7, 7, 7, 2, 129], (r) => r % 3) }),
  attentionCase({ heads: 2, headDim: 64, ...candidates([70, 70, 70, 70, 70, 5, 0], (r) => (r < 5 ? 1 : 0)) }),
  attentionCase({ heads: 2, headDim: 80, ...segment(0, 130) }),
  attentionCase({ heads: 2, headDim: 4, ...segment(0, 20), window: 6 }),
  ...derivativeCases({ heads: 1, headDim: 1, ...segment(0, 1) }),
  ...derivativeCases({ heads: 3, headDim: 8, ...segment(0, 65) }),
  ...derivativeCases({ heads: 1, headDim: 7, ...segment(0, 9, 4) }, 3),
  ...derivativeCases({ heads: 5, headDim: 6, ...candidates([0, 3, 1, 7, 7, 7, 7, 7, 2, 129], (r) => r % 3) }, 3),
  ...derivativeCases({ heads: 2, headDim: 64, ...candidates([70, 70, 70, 70, 70, 5, 0], (r) => (r < 5 ? 1 : 0)) }),
  ...derivativeCases({ heads: 2, headDim: 80, ...segment(0, 130) }),
  ...derivativeCases({ heads: 2, headDim: 64, ...segments(segment(1, 6, 63), segment(0, 3), segment(2, 71, 130)) }),
  ...derivativeCases({ heads: 2, headDim: 4, ...segment(0, 20), window: 6 }),
  ...derivativeCases({ heads: 2, headDim: 4, ...segments(segment(0, 7, 70), segment(1, 90, 3)), window: 66 }, 3),
  ...derivativeCases({ heads: 1, headDim: 3, ...segments(segment(0, 5, 9), segment(1, 5)), window: 1 }),
  appendCase(),
];
