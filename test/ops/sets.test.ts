import { afterAll, beforeAll, expect, test } from 'vitest';
import { testContext } from '#context';
import { linearize } from '../../src/autograd/tape.ts';
import { InputError, ShapeError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { distance } from '../../src/ops/distance.ts';
import { layernorm } from '../../src/ops/layernorm.ts';
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
