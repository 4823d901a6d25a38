import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import type { Differentiable } from '../../src/autograd/grad.ts';
import { gradcheck } from '../../src/autograd/gradcheck.ts';
import { InputError } from '../../src/errors.ts';
import { type Context, createContext } from '../../src/gpu/context.ts';
import { ACTIVATIONS, activation } from '../../src/ops/activation.ts';
import { appendToCache, attention, uploadVisibility } from '../../src/ops/attention.ts';
import { crossEntropy } from '../../src/ops/cross-entropy.ts';
import { distance } from '../../src/ops/distance.ts';
import { add, multiply, scale } from '../../src/ops/elementwise.ts';
import { embedding } from '../../src/ops/embedding.ts';
import { layernorm } from '../../src/ops/layernorm.ts';
import { matmul } from '../../src/ops/matmul.ts';
import { apply, type Op } from '../../src/ops/op.ts';
import { columnSums, sum } from '../../src/ops/reduce.ts';
import { placeColumns, replaceColumns, sliceRows, takeColumns } from '../../src/ops/slice.ts';
import { logSoftmax, softmax } from '../../src/ops/softmax.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { sizeOf } from '../../src/reference/shape.ts';
import { reshape, type Tensor, upload } from '../../src/tensor/tensor.ts';

let own: Context;
beforeAll(async () => {
  own = await testContext();
});
afterAll(() => own.destroy());

type Shape = readonly number[];

interface Scene {
  readonly f: Differentiable;
  /** Shapes of inputs with normal elements. */
  readonly of: readonly Shape[];
  /** Elements at least this far from zero, where a kink is. */
  readonly awayFromZero?: number;
}

const inputsOf = (context: Context, { of, awayFromZero = 0 }: Pick<Scene, 'of' | 'awayFromZero'>): Tensor[] => {
  const random = seededRandom(7);
  return of.map((shape) => {
    const normal = random.normal(sizeOf(shape));
    return upload(
      context,
      normal.map((x) => x + awayFromZero * (x < 0 ? -1 : 1)),
      shape,
    );
  });
};

/** Rows of slot 0 behind `prefix` entries of a constant cache of two heads of 3. */
function attentionScene(rows: number, { prefix, live, window }: { prefix: number; live: boolean; window?: number }) {
  const capacity = prefix + rows;
  const [slots, seen] = [new Uint32Array(rows), Uint32Array.from({ length: rows }, (_, r) => prefix + (live ? r : 0))];
  const cached = seededRandom(3).normal(2 * capacity * 6);
  const f = (qkv: Tensor) => {
    const { context } = qkv;
    const [keys, values] = [0, 1].map((i) => {
      return upload(context, cached.slice(i * capacity * 6, (i + 1) * capacity * 6), [1, capacity, 6]);
    });
    const at = Uint32Array.from([...seen].flatMap((position, r) => [r, position]));
    if (live) appendToCache(qkv, { keys, values }, upload(context, at, [rows, 2]));
    const visibility = { slots, seen, live: live ? seen.map((_, r) => r) : undefined };
    return attention(qkv, { keys, values }, uploadVisibility(context, visibility), { heads: 2, scale: 0.6, window });
  };
  return { f, of: [[rows, 18]] };
}

const transposes = (transposeA: boolean, transposeB: boolean): Scene => ({
  f: (a, b) => matmul(a, b, { transposeA, transposeB }),
  of: [transposeA ? [65, 17] : [17, 65], transposeB ? [7, 65] : [65, 7]],
});

const scenes: Record<string, Scene> = {
  'matmul NN': transposes(false, false),
  'matmul NT': transposes(false, true),
  'matmul TN': transposes(true, false),
  'matmul TT': transposes(true, true),
  'matmul, a matrix of its own for each of a batch': {
    f: (a, b) => matmul(a, b, { transposeB: true }),
    of: [
      [3, 5, 7],
      [3, 9, 7],
    ],
  },
  'matmul, one matrix for a batch': {
    f: (a, b) => matmul(a, b, { transposeA: true }),
    of: [
      [3, 7, 5],
      [7, 9],
    ],
  },
  'matmul with bias, activation and residual': {
    f: (a, b, bias, residual) => matmul(a, b, { bias, residual, activation: 'gelu_new' }),
    of: [[3, 7], [7, 5], [5], [3, 5]],
  },
  layernorm: { f: (x, gain, bias) => layernorm(x, gain, bias, 1e-5), of: [[7, 65], [65], [65]] },
  'attention of a prompt': attentionScene(7, { prefix: 0, live: true }),
  'attention through a window, behind a prefix': attentionScene(6, { prefix: 5, live: true, window: 3 }),
  'attention of candidates': attentionScene(5, { prefix: 4, live: false }),
  softmax: { f: softmax, of: [[3, 65]] },
  'softmax of rows of one': { f: softmax, of: [[3, 1]] },
  logSoftmax: { f: logSoftmax, of: [[3, 65]] },
  'crossEntropy, some rows ignored': {
    f: (logits) => crossEntropy(logits, Int32Array.of(3, -100, 0, 64, -100)),
    of: [[5, 65]],
  },
  ...Object.fromEntries(
    ACTIVATIONS.map((name) => {
      const awayFromZero = name.endsWith('relu') ? 0.5 : 0;
      return [`activation ${name}`, { f: (x: Tensor) => activation(x, name), of: [[7, 63]], awayFromZero }];
    }),
  ),
  'embedding, a table in chunks and positions': {
    f: (first, second, positions) => {
      const table = { rows: 8, width: 7, chunks: [first, second] };
      const added = { positions, at: Uint32Array.of(0, 1, 2, 0, 1) };
      return embedding(first.context, table, Uint32Array.of(7, 2, 7, 0, 5), added);
    },
    of: [
      [3, 7],
      [5, 7],
      [4, 7],
    ],
  },
  add: {
    f: (a, b) => add(a, b, -1.5),
    of: [
      [3, 7],
      [3, 7],
    ],
  },
  'add, a row to every row': { f: (a, b) => add(a, b, 2), of: [[65, 7], [7]] },
  'a tensor with itself': { f: (a) => add(multiply(a, a), a), of: [[63]] },
  scale: { f: (a) => scale(a, -3), of: [[257]] },
  multiply: {
    f: multiply,
    of: [
      [3, 7],
      [3, 7],
    ],
  },
  'multiply by a row': { f: multiply, of: [[65, 7], [7]] },
  columnSums: { f: (x) => columnSums(x), of: [[257, 3]] },
  sum: { f: sum, of: [[65]] },
  takeColumns: { f: (x) => takeColumns(x, 2, 3), of: [[3, 7]] },
  placeColumns: { f: (x) => placeColumns(x, 2, 11), of: [[3, 7]] },
  replaceColumns: {
    f: (b, a) => replaceColumns(b, 1, a),
    of: [
      [3, 7],
      [3, 2],
    ],
  },
  sliceRows: { f: (x) => sliceRows(x, 2, 3), of: [[7, 5]] },
  'distance, a target for each row': {
    f: distance,
    of: [
      [7, 65],
      [7, 65],
    ],
  },
  'distance, one target': {
    f: distance,
    of: [
      [7, 65],
      [1, 65],
    ],
  },
  'a composition with a reshape in the middle': {
    f: (x, w) => {
      const h = activation(matmul(x, w), 'gelu'); // (6, 10)
      const folded = reshape(h, [4, 15]);
      return sum(multiply(softmax(folded), reshape(takeColumns(h, 0, 10), [4, 15])));
    },
    of: [
      [6, 7],
      [7, 10],
    ],
  },
};

describe.each(['cpu', 'hardware'] as const)('derivatives of operations with the kernels for %s adapters', (kind) => {
  let context: Context;
  beforeAll(async () => {
    context = await createContext({ device: own.device, kind });
  });
  afterAll(() => context.destroy());

  test.each(Object.entries(scenes))('%s', async (_, scene) => {
    const inputs = inputsOf(context, scene);
    const { liveBytes } = context.pool.statistics;
    const { ok, ...errors } = await gradcheck(scene.f, inputs);
    expect(ok, JSON.stringify(errors)).toBe(true);
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
    for (const input of inputs) input.dispose();
  });
});

/** a^2, its derivatives times these factors. */
const square = (inVjp: number, inJvp: number): Op<[a: Tensor]> => ({
  name: 'square',
  forward: ([a]) => ({ value: multiply(a, a) }),
  vjp: (dy, { inputs: [a] }) => [scale(multiply(dy, a), inVjp)],
  jvp: ([da], { inputs: [a] }) => scale(multiply(da!, a), inJvp),
});

describe('gradcheck', () => {
  const check = (op: Op<[a: Tensor]>) => gradcheck((a) => apply(op, [a], undefined), inputsOf(own, { of: [[3, 7]] }));

  test('finds right derivatives right', async () => {
    expect(await check(square(2, 2))).toMatchObject({ ok: true });
  });

  test('finds a wrong vjp', async () => {
    const { ok, jvpError, innerProductError } = await check(square(2.01, 2));
    expect(ok).toBe(false);
    expect(jvpError).toBeLessThan(1e-4);
    expect(innerProductError).toBeGreaterThan(1e-4);
  });

  test('finds a wrong jvp, and one that is wrong together with its vjp', async () => {
    const wrong = await check(square(2, 2.01));
    expect(wrong.ok).toBe(false);
    expect(wrong.jvpError).toBeCloseTo(0.005, 4);
    const both = await check(square(2.01, 2.01));
    expect(both.ok).toBe(false);
    expect(both.innerProductError).toBeLessThan(1e-5);
  });

  test('finds a derivative that is no number', async () => {
    expect(await check(square(Number.NaN, 2))).toMatchObject({ ok: false, innerProductError: Number.NaN });
  });

  test('finds a wrong derivative in an input that hardly counts beside another', async () => {
    const wrong: Op<[a: Tensor, b: Tensor]> = {
      name: 'sum',
      forward: ([a, b]) => ({ value: add(a, b) }),
      vjp: (dy) => [dy, scale(dy, 0.5)],
      jvp: ([da, db], { inputs: [a] }) => add(da ?? scale(a, 0), db ?? scale(a, 0), 0.5),
    };
    const [large, small] = inputsOf(own, { of: [[7], [7]] });
    const inputs = [scale(large, 100), scale(small, 0.01)];
    expect(await gradcheck((a, b) => apply(wrong, [a, b], undefined), inputs)).toMatchObject({ ok: false });
  });

  test('hands indices to the function as they are, and says the same twice', async () => {
    const [x] = inputsOf(own, { of: [[3, 7]] });
    const indices = upload(own, Uint32Array.of(1, 2));
    const f = (given: Tensor, x: Tensor) => {
      expect(given).toBe(indices);
      return softmax(x);
    };
    const first = await gradcheck(f, [indices, x]);
    expect(first.ok).toBe(true);
    expect(await gradcheck(f, [indices, x])).toEqual(first);
    await expect(gradcheck((x) => x, [indices])).rejects.toThrow(InputError);
  });

  test('leaves a constant that the function returns to its owner', async () => {
    const [x, constant] = inputsOf(own, { of: [[3], [5]] });
    expect(await gradcheck(() => constant, [x])).toEqual({ ok: true, jvpError: 0, innerProductError: 0 });
    expect(constant.buffer).toBeDefined();
  });
});
