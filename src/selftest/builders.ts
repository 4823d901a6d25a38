import type { Context } from '../gpu/context.ts';
import { activation } from '../ops/activation.ts';
import { appendToCache, attention, uploadVisibility } from '../ops/attention.ts';
import { distance } from '../ops/distance.ts';
import { add, putColumns, scale, takeColumns } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import { layernorm } from '../ops/layernorm.ts';
import { type MatmulOptions, matmul } from '../ops/matmul.ts';
import { logSoftmax, softmax } from '../ops/softmax.ts';
import { topk } from '../ops/topk.ts';
import type { ActivationName } from '../reference/activation.ts';
import type { Bounds } from '../reference/agree.ts';
import * as reference from '../reference/index.ts';
import { seededRandom } from '../reference/random.ts';
import { type Tensor, upload } from '../tensor/tensor.ts';

/** One comparison of a kernel with the float64 reference. */
export interface Case {
  /** The operation, as its file is called. */
  readonly op: string;
  /** Sizes and options. */
  readonly name: string;
  readonly bounds: Bounds;
  /** Records the kernel; f32 and u32 results alike are compared as numbers. */
  run(context: Context): Tensor;
  /** What the result should be. */
  want(): ArrayLike<number>;
}

/** The project's bound: relative 1e-5 or absolute 1e-6 per element. */
const BOUNDS: Bounds = { rel: 1e-5, abs: 1e-6 };
const EXACT: Bounds = { rel: 0, abs: 0 };

/** Seeded operands, so that a case is the same on every device. */
const normal = (seed: number, count: number, std = 1) => seededRandom(seed).normal(count, std);

/** Which operands are transposed, A then B. */
export type Transposes = 'NN' | 'NT' | 'TN' | 'TT';

/** A product of seeded normal matrices, B scaled so that the result has size 1. */
export function matmulCase(
  [m, n, k]: readonly [number, number, number],
  transposes: Transposes = 'NN',
  { batch, shared, epilogue }: { batch?: number; shared?: boolean; epilogue?: ActivationName } = {},
): Case {
  const transposeA = transposes[0] === 'T';
  const transposeB = transposes[1] === 'T';
  const copies = batch ?? 1;
  const a = normal(1, copies * m * k);
  const b = normal(2, (shared ? 1 : copies) * k * n, 1 / Math.sqrt(k));
  const bias = normal(3, n);
  const residual = normal(4, copies * m * n);
  const lead = batch === undefined ? [] : [batch];
  return {
    op: 'matmul',
    name: `${transposes} ${m}x${n}x${k}${batch ? ` batch ${batch}${shared ? ', one B' : ''}` : ''}${epilogue ? ` bias ${epilogue} residual` : ''}`,
    // A sum of k rounded products of size 1 / sqrt(k) errs by about 1e-7 sqrt(log k) where it cancels to nothing.
    bounds: { rel: 1e-5, abs: 4e-6 },
    run(context) {
      const options: MatmulOptions = {
        transposeA,
        transposeB,
        ...(epilogue && {
          bias: upload(context, bias),
          activation: epilogue,
          residual: upload(context, residual, [...lead, m, n]),
        }),
      };
      return matmul(
        upload(context, a, [...lead, ...(transposeA ? [k, m] : [m, k])]),
        upload(context, b, [...(shared ? [] : lead), ...(transposeB ? [n, k] : [k, n])]),
        options,
      );
    },
    want: () =>
      reference.matmul(a, b, {
        m,
        n,
        k,
        batch: copies,
        transposeA,
        transposeB,
        ...(epilogue && { bias, activation: epilogue, residual }),
      }),
  };
}

function rowCase(op: string, rows: number, width: number, run: Case['run'], want: Case['want'], bounds = BOUNDS): Case {
  return { op, name: `${rows}x${width}`, bounds, run, want };
}

/** Rows around `offset`: a large one is where a careless variance cancels. */
export function layernormCase(rows: number, width: number, offset = 0): Case {
  const x = normal(5, rows * width).map((v) => v + offset);
  const gain = normal(6, width);
  const bias = normal(7, width);
  const run = (c: Context) => layernorm(upload(c, x, [rows, width]), upload(c, gain), upload(c, bias), 1e-5);
  const want = () => reference.layernorm(x, gain, bias, 1e-5).y;
  const bounds = { rel: 1e-5, abs: 3e-6 };
  return {
    ...rowCase('layernorm', rows, width, run, want, bounds),
    name: `${rows}x${width}${offset ? ` around ${offset}` : ''}`,
  };
}

/** Softmax and log-softmax of normal logits of this spread. */
export function softmaxCases(rows: number, width: number, std: number): Case[] {
  const x = normal(8, rows * width, std);
  const input = (c: Context) => upload(c, x, [rows, width]);
  return [
    rowCase(
      'softmax',
      rows,
      width,
      (c) => softmax(input(c)),
      () => reference.softmax(x, width),
    ),
    {
      ...rowCase(
        'softmax',
        rows,
        width,
        (c) => logSoftmax(input(c)),
        () => reference.logSoftmax(x, width),
      ),
      name: `log ${rows}x${width}`,
      // The logarithm of a sum near 1 keeps an absolute error of one rounding of the largest exponent.
      bounds: { rel: 1e-5, abs: 4e-6 },
    },
  ];
}

/** An activation over magnitudes from 0 to 1e4, both signs, and a thousand normal values. */
export function activationCase(name: ActivationName): Case {
  const magnitudes = [0, 1e-30, 1e-6, 1e-3, 0.01, 0.1, 0.24, 0.26, 0.5, 1, 2, 3.3, 5, 8, 13, 50, 100, 1e4];
  const x = Float32Array.from([...magnitudes, ...magnitudes.map((v) => -v), ...normal(9, 1001, 2)]);
  return {
    op: 'activation',
    name,
    bounds: BOUNDS,
    run: (c) => activation(upload(c, x), name),
    want: () => reference.activation(name, x),
  };
}

/** Attention of rows that see `seen[r]` entries of slot `slotOf(r)`. */
export function attentionCase(
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
export function appendCase(): Case {
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

/** Random rows of a table that comes in chunks of `chunkRows`. */
export function embeddingCase(
  rows: number,
  count: number,
  width: number,
  chunkRows: number,
  withPositions: boolean,
): Case {
  const wte = normal(14, count * width);
  const wpe = normal(15, 9 * width);
  const random = seededRandom(16);
  const ids = Uint32Array.from({ length: rows }, () => Math.floor(random.next() * count));
  const at = Uint32Array.from({ length: rows }, (_, r) => r % 9);
  return {
    op: 'embedding',
    name: `${rows} of ${count}x${width} in chunks of ${chunkRows}${withPositions ? ' with positions' : ''}`,
    bounds: { rel: 1e-6, abs: 1e-7 },
    run(c) {
      const chunks: Tensor[] = [];
      for (let first = 0; first < count; first += chunkRows) {
        const piece = wte.slice(first * width, (first + chunkRows) * width);
        chunks.push(upload(c, piece, [piece.length / width, width]));
      }
      const added = withPositions ? { positions: upload(c, wpe, [9, width]), at } : undefined;
      return embedding(c, { rows: count, width, chunks }, ids, added);
    },
    want: () => reference.embedding(ids, wte, width, withPositions ? at : undefined, wpe),
  };
}

/** Distances of size 1, and every third of size 1e-4. */
export function distanceCase(rows: number, width: number, perRow: boolean): Case {
  const x = normal(17, rows * width);
  // Every third row lies within 1e-4 of its target, where the expanded square would be noise.
  const noise = normal(18, perRow ? rows * width : width, 1e-4);
  const targets = Float32Array.from(noise, (v, i) => (Math.floor(i / width) % 3 === 0 ? v : 1) + x[i]);
  const targetOf = perRow ? Uint32Array.from({ length: rows }, (_, r) => r) : undefined;
  return {
    op: 'distance',
    name: `${rows}x${width}${perRow ? ', a target for each row' : ''}`,
    bounds: BOUNDS,
    run: (c) => distance(upload(c, x, [rows, width]), upload(c, targets, [targets.length / width, width])),
    want: () => reference.distance(x, targets, width, targetOf),
  };
}

/** The k smallest and largest of values with many ties, and their indices. */
export function topkCases(rows: number, width: number, k: number): Case[] {
  // Few distinct values, so that ties are common.
  const x = normal(19, rows * width).map((v) => Math.round(v * 8) / 8);
  return (['smallest', 'largest'] as const).flatMap((order): Case[] => {
    const input = (c: Context) => topk(upload(c, x, [rows, width]), k, order);
    const want = () => reference.topk(x, width, k, order);
    const name = `${k} ${order} of ${rows}x${width}`;
    return [
      { op: 'topk', name, bounds: EXACT, run: (c) => input(c).values, want: () => want().values },
      { op: 'topk', name: `${name}, indices`, bounds: EXACT, run: (c) => input(c).indices, want: () => want().indices },
    ];
  });
}

/** Sums, multiples and columns of a matrix whose sizes divide nothing. */
export function elementwiseCases(): Case[] {
  const [rows, width] = [65, 257];
  const a = normal(20, rows * width);
  const b = normal(21, rows * width);
  const row = normal(22, width);
  const repeated = Float32Array.from(a, (_, i) => row[i % width]);
  const matrix = (c: Context, values: Float32Array) => upload(c, values, [rows, width]);
  const inside = (i: number) => i % width >= 3 && i % width < 8;
  const bounds = { rel: 1e-6, abs: 1e-7 };
  return [
    {
      op: 'elementwise',
      name: 'add',
      bounds,
      run: (c) => add(matrix(c, a), matrix(c, b)),
      want: () => reference.add(a, b),
    },
    {
      op: 'elementwise',
      name: 'add a row',
      bounds,
      run: (c) => add(matrix(c, a), upload(c, row)),
      want: () => reference.add(a, repeated),
    },
    {
      op: 'elementwise',
      name: 'scale',
      bounds,
      run: (c) => scale(matrix(c, a), -2.5),
      want: () => reference.scale(a, -2.5),
    },
    {
      op: 'elementwise',
      name: 'take columns',
      bounds: EXACT,
      run: (c) => takeColumns(matrix(c, a), 3, 5),
      want: () => a.filter((_, i) => inside(i)),
    },
    {
      op: 'elementwise',
      name: 'put columns',
      bounds: EXACT,
      run(c) {
        const y = matrix(c, b);
        putColumns(y, 3, takeColumns(matrix(c, a), 3, 5));
        return y;
      },
      want: () => b.map((v, i) => (inside(i) ? a[i] : v)),
    },
  ];
}
