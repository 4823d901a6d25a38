import { afterAll, beforeAll, expect, test } from 'vitest';
import { testContext } from '#context';
import { linearize } from '../../src/autograd/tape.ts';
import { InputError, ShapeError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { distance } from '../../src/ops/distance.ts';
import { add, multiply } from '../../src/ops/elementwise.ts';
import { layernorm } from '../../src/ops/layernorm.ts';
import { matmul } from '../../src/ops/matmul.ts';
import { repeat, sumOfSquares } from '../../src/ops/reduce.ts';
import { replaceColumns } from '../../src/ops/slice.ts';
import { topk } from '../../src/ops/topk.ts';
import { read, type Tensor, upload } from '../../src/tensor/tensor.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const ones = (...shape: number[]): Tensor =>
  upload(context, new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(1), shape);

test('tangents of different numbers of sets are refused', () => {
  using at = linearize(distance, [ones(4, 3), ones(1, 3)]);
  expect(() => at.jvp([ones(8, 3), ones(1, 3)])).toThrow(ShapeError);
  expect(() => at.jvp([ones(8, 3), ones(1, 3)])).toThrow(/\[8,3\], \[1,3\] of tensors \[4,3\], \[1,3\]/);
});

test('several sets of cotangents are refused only where a gradient sums over the rows', () => {
  const [gain, bias] = [ones(3), ones(3)];
  using frozen = linearize((x) => layernorm(x, gain, bias, 1e-5), [ones(4, 3)]);
  expect(frozen.vjp(ones(8, 3))[0].shape).toEqual([8, 3]);
  using trained = linearize((x, g) => layernorm(x, g, bias, 1e-5), [ones(4, 3), gain]);
  expect(() => trained.vjp(ones(8, 3))).toThrow(/rows are summed/);
});

test('a single row has a target of its own, and takes several sets', async () => {
  using at = linearize(distance, [
    upload(context, Float32Array.of(3, 4), [1, 2]),
    upload(context, new Float32Array(2)),
  ]);
  const [, dtargets] = at.vjp(upload(context, Float32Array.of(5, 10)));
  expect([...(await read(dtargets))]).toEqual([-3, -4, -6, -8]);
});

test('top-k, which has no derivative, refuses a tensor that one is recorded of', () => {
  expect(() => linearize((x) => topk(x, 1, 'largest').values, [ones(2, 3)])).toThrow(InputError);
});

test('several sets of tangents are refused where operands would mix them up', () => {
  using product = linearize((a, b) => matmul(a, b, { transposeB: true }), [ones(4, 3), ones(5, 3)]);
  expect(() => product.jvp([undefined, ones(10, 3)])).toThrow(/rows are summed/);
  using biased = linearize((bias) => matmul(ones(4, 3), ones(3, 2), { bias }), [ones(2)]);
  expect(() => biased.jvp([ones(4)])).toThrow(/rows are summed/);
  using transposed = linearize((a) => matmul(a, ones(4, 3), { transposeA: true }), [ones(4, 6)]);
  expect(() => transposed.vjp(ones(12, 3))).toThrow(ShapeError);
  for (const op of [add, multiply]) {
    using repeated = linearize((a, row) => op(a, row), [ones(2, 3), ones(3)]);
    expect(() => repeated.jvp([undefined, ones(6)]), op.name).toThrow(ShapeError);
    using both = linearize((a, b) => op(a, b), [ones(2, 3), ones(2, 3)]);
    expect(() => both.jvp([ones(4, 3), ones(2, 3)]), op.name).toThrow(ShapeError);
  }
  using replaced = linearize((b, a) => replaceColumns(b, 1, a), [ones(2, 3), ones(2, 1)]);
  expect(() => replaced.jvp([ones(4, 3), ones(2, 1)])).toThrow(ShapeError);
});

test('a row repeated has a derivative, and a sum of squares for counting refuses to give none', async () => {
  using at = linearize((row) => repeat(row, [4, 3]), [ones(3)]);
  expect([...(await read(at.vjp(ones(4, 3))[0]))]).toEqual([4, 4, 4]);
  expect(() => linearize(sumOfSquares, [ones(3)])).toThrow(/sumOfSquares has no derivative/);
});
