import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { testContext } from '#context';
import { ShapeError } from '../../src/errors.ts';
import { type Context, createContext } from '../../src/gpu/context.ts';
import { attention, uploadVisibility } from '../../src/ops/attention.ts';
import { distance } from '../../src/ops/distance.ts';
import { add } from '../../src/ops/elementwise.ts';
import { layernorm } from '../../src/ops/layernorm.ts';
import { matmul } from '../../src/ops/matmul.ts';
import { replaceColumns, sliceRows, takeColumns } from '../../src/ops/slice.ts';
import { logSoftmax, softmax } from '../../src/ops/softmax.ts';
import { topk } from '../../src/ops/topk.ts';
import * as reference from '../../src/reference/index.ts';
import { read, readAll, readIndices, type Tensor, upload } from '../../src/tensor/tensor.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';

let own: Context;
beforeAll(async () => {
  own = await testContext();
});
afterAll(() => own.destroy());

describe.each(['cpu', 'hardware'] as const)('kernels for %s adapters', (kind) => {
  let context: Context;
  beforeAll(async () => {
    context = await createContext({ device: own.device, kind });
  });
  const rowsOf = (width: number, ...values: number[]) =>
    upload(context, Float32Array.from(values), [values.length / width, width]);

  test('softmax keeps its sum whatever the size of the logits', async () => {
    const rows = [
      [1e38, -1e38, 0, 1e38],
      [-3e38, -3e38, -3e38, -3e38],
      [1e4, 1e4 - 1, -1e4, 0],
      [0, -200, -200, -200],
    ];
    const x = rowsOf(4, ...rows.flat());
    const [p, log] = await readAll([softmax(x), logSoftmax(x)]);
    expectAgree(p!, reference.softmax(Float32Array.from(rows.flat()), 4), { rel: 1e-5, abs: 1e-7 });
    expectAgree(log!, reference.logSoftmax(Float32Array.from(rows.flat()), 4), { rel: 1e-5, abs: 1e-6 });
  });

  test('attention stays finite under scores that overflow exp', async () => {
    const qkv = Float32Array.of(300, 300, 1, 300, 0, 1); // q, k, v of two rows, width 1
    const cache = { keys: Float32Array.of(-300, 301), values: Float32Array.of(7, 9) };
    const [slots, seen] = [new Uint32Array(2), Uint32Array.of(1, 2)];
    const got = attention(
      upload(context, qkv, [2, 3]),
      { keys: upload(context, cache.keys, [1, 2, 1]), values: upload(context, cache.values, [1, 2, 1]) },
      uploadVisibility(context, { slots, seen }),
      { heads: 1, scale: 1 },
    );
    const want = reference.attention(
      qkv,
      { ...cache, capacity: 2, slots, seen: [1, 2] },
      { heads: 1, headDim: 1, scale: 1 },
    );
    expectAgree(await read(got), want, { rel: 1e-6, abs: 0 });
  });

  test('attention serves rows that change slots and sight at every turn', async () => {
    const random = seededRandom(7);
    const pick = (from: number, to: number) => from + Math.floor(random.next() * (to - from + 1));
    for (let round = 0; round < 12; round++) {
      const [heads, headDim, rows, slotCount, capacity] = [
        pick(1, 3),
        [1, 7, 66][round % 3],
        pick(1, 23),
        pick(1, 3),
        pick(1, 140),
      ];
      const window = round % 4 === 0 ? pick(1, capacity) : undefined;
      const width = heads * headDim;
      let slot = 0;
      const slots = Uint32Array.from({ length: rows }, () => {
        if (random.next() < 0.3) slot = pick(0, slotCount - 1);
        return slot;
      });
      const seen = Uint32Array.from({ length: rows }, () => pick(0, capacity));
      const qkv = random.normal(rows * 3 * width);
      const [keys, values] = [random.normal(slotCount * capacity * width), random.normal(slotCount * capacity * width)];
      const shape = { heads, scale: 1 / Math.sqrt(headDim), window };
      const got = context.scope(() =>
        attention(
          upload(context, qkv, [rows, 3 * width]),
          {
            keys: upload(context, keys, [slotCount, capacity, width]),
            values: upload(context, values, [slotCount, capacity, width]),
          },
          uploadVisibility(context, { slots, seen }),
          shape,
        ),
      );
      const want = reference.attention(qkv, { keys, values, capacity, slots, seen }, { ...shape, headDim });
      expectAgree(await read(got), want, { rel: 1e-5, abs: 3e-6 }, `round ${round}`);
    }
  });

  test('attention takes more rows, each with a slot of its own, than a grid has columns', async () => {
    const rows = 65_600;
    const ones = new Float32Array(rows);
    const numbers = Float32Array.from({ length: 3 * rows }, (_, i) => (i % 3 === 2 ? Math.floor(i / 3) : 0));
    const dispatch = vi.spyOn(context.recorder, 'dispatch');
    // On a CPU adapter the kernel for GPUs takes 12 s here: its grid is looked at, and not computed.
    if (kind === 'hardware') dispatch.mockImplementation(() => {});
    const got = attention(
      upload(context, numbers, [rows, 3]),
      { keys: upload(context, ones, [rows, 1, 1]), values: upload(context, ones, [rows, 1, 1]) },
      uploadVisibility(context, { slots: Uint32Array.from(ones, (_, r) => r), seen: new Uint32Array(rows) }),
      { heads: 1, scale: 1 },
    );
    const [x, y = 1] = dispatch.mock.lastCall![0].workgroups;
    dispatch.mockRestore();
    expect(Math.max(x, y)).toBeLessThanOrEqual(65535);
    if (kind === 'hardware') expect(x * y).toBeGreaterThanOrEqual(rows);
    else expect((await read(got)).every((v, r) => v === r)).toBe(true);
  });

  test('top-k passes over infinities, and says so where too few values are left', async () => {
    const { values, indices } = topk(rowsOf(4, Infinity, 3, Infinity, 1), 3, 'smallest');
    expect([...(await readIndices(indices))]).toEqual([3, 1, 0xffffffff]);
    expect([...(await read(values))].slice(0, 2)).toEqual([1, 3]);
  });

  test('layernorm of a constant row is its bias, of a huge one still normal', async () => {
    const [gain, bias] = [rowsOf(4, 1, 2, 3, 4), rowsOf(4, 5, 6, 7, 8)];
    const y = await read(layernorm(rowsOf(4, 9, 9, 9, 9, 1e15, -1e15, 1e15, -1e15), gain, bias, 1e-5));
    expectAgree(y, [5, 6, 7, 8, 6, 4, 10, 4], { rel: 1e-6, abs: 0 });
  });

  test('distance is exact where the expanded square would vanish, and zero for equal rows', async () => {
    const [a, b] = [rowsOf(2, 1000, 1000, 1, 2), rowsOf(2, 1000, 1000.0001, 1, 2)];
    const step = Math.fround(1000.0001) - 1000;
    expectAgree(await read(distance(a, b)), [step, 0], { rel: 1e-6, abs: 0 });
  });

  test.each([
    [1, 17, 20_000],
    [20, 64, 20_000],
  ])('a product %i x %i summed over %i terms keeps its digits', async (m, n, k) => {
    const [a, b] = [seededRandom(1).normal(m * k), seededRandom(2).normal(k * n, 1 / Math.sqrt(k))];
    const got = await read(matmul(upload(context, a, [m, k]), upload(context, b, [k, n])));
    expectAgree(got, reference.matmul(a, b, { m, n, k }), { rel: 1e-5, abs: 2e-5 });
  });
});

describe('operands that do not fit are a ShapeError with their shapes', () => {
  const of = (...shape: number[]): Tensor => upload(own, new Float32Array(shape.reduce((a, b) => a * b, 1)), shape);

  test.each<[string, () => unknown, RegExp]>([
    ['inner sizes', () => matmul(of(2, 3), of(4, 5)), /A \[2,3\] by B \[4,5\]/],
    ['a transposed operand', () => matmul(of(2, 3), of(3, 5), { transposeB: true }), /B \[3,5\] \(transposed\)/],
    ['batches', () => matmul(of(2, 2, 3), of(3, 3, 4)), /\[2,2,3\] by B \[3,3,4\]/],
    ['more than three dimensions', () => matmul(of(2, 2, 2, 3), of(3, 4)), /\[2,2,2,3\]/],
    ['one dimension', () => matmul(of(3), of(3, 4)), /\[3\]/],
    ['a bias', () => matmul(of(2, 3), of(3, 4), { bias: of(5) }), /bias of a matmul is \[5\]; \[4\]/],
    ['a residual', () => matmul(of(2, 3), of(3, 4), { residual: of(4) }), /residual .* \[1,2,4\]/],
    ['a sum', () => add(of(2, 3), of(4)), /add \[2,3\] and \[4\]/],
    ['columns', () => takeColumns(of(2, 3), 1, 3), /1..4 of \[2,3\] are not in a matrix of width 3/],
    ['columns put back', () => replaceColumns(of(2, 3), 0, of(3, 2)), /\[2,2\] is needed/],
    ['rows', () => sliceRows(of(2, 3), 1, 2), /1\.\.3 are not in \[2,3\]/],
    ['targets', () => distance(of(4, 3), of(2, 3)), /\[4,3\] to \[2,3\]/],
    ['top-k', () => topk(of(2, 3), 4, 'largest'), /4 largest of \[2,3\].*1 to 3/],
    ['a gain', () => layernorm(of(2, 3), of(2), of(3), 1e-5), /gain of a LayerNorm is \[2\]/],
    ['an upload', () => upload(own, new Float32Array(5), [2, 3]), /5 values do not fill \[2,3\]/],
  ])('%s', (_, run, message) => {
    expect(run).toThrow(ShapeError);
    expect(run).toThrow(message);
  });
});
