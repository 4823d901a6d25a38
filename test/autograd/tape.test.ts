import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { grad, jvp, valueAndGrad, vjp } from '../../src/autograd/grad.ts';
import { jacobian, rowJacobians } from '../../src/autograd/jacobian.ts';
import { linearize } from '../../src/autograd/tape.ts';
import { InputError, ShapeError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { activation } from '../../src/ops/activation.ts';
import { add, multiply, scale } from '../../src/ops/elementwise.ts';
import { matmul } from '../../src/ops/matmul.ts';
import { noGrad } from '../../src/ops/op.ts';
import { sum } from '../../src/ops/reduce.ts';
import { softmax } from '../../src/ops/softmax.ts';
import { topk } from '../../src/ops/topk.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { sizeOf } from '../../src/reference/shape.ts';
import { read, readAll, type Tensor, upload } from '../../src/tensor/tensor.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const normal = (seed: number, ...shape: number[]): Tensor =>
  upload(context, seededRandom(seed).normal(sizeOf(shape)), shape);

describe('bad input', () => {
  test('a gradient of more than one number', () => {
    const x = normal(1, 3, 4);
    expect(() => grad(softmax, [x])).toThrow(ShapeError);
    expect(() => grad(softmax, [x])).toThrow(/gradient of \[3,4\].*one number\..*Reduce it to a scalar/);
  });

  test('no inputs', () => {
    const f = () => normal(1, 1);
    expect(() => linearize(f, [])).toThrow(/Nothing to differentiate by/);
    expect(() => valueAndGrad(f, [])).toThrow(InputError);
    expect(() => vjp(f, [], normal(1, 1))).toThrow(InputError);
    expect(() => jvp(f, [], [])).toThrow(InputError);
  });

  test('a tensor used after dispose, as an input and inside', () => {
    const [x, gone] = [normal(1, 3), normal(2, 3)];
    gone.dispose();
    expect(() => grad(sum, [gone])).toThrow(/\[3\] is used after dispose/);
    expect(() => grad((x) => sum(multiply(x, gone)), [x])).toThrow(ShapeError);
  });

  test('a derivative after dispose of the linearization', () => {
    const x = normal(1, 3);
    const at = linearize(sum, [x]);
    expect(at.vjp(normal(2, 1))).toHaveLength(1);
    at.dispose();
    at.dispose();
    expect(() => at.vjp(normal(2, 1))).toThrow(InputError);
    expect(() => at.jvp([x])).toThrow(/disposed linearization/);
  });

  test('cotangents and tangents of other shapes, with both shapes', () => {
    const x = normal(1, 3, 4);
    expect(() => vjp(softmax, [x], normal(2, 3, 3))).toThrow(/cotangent \[3,3\].*tensor \[3,4\]/);
    expect(() => jvp(softmax, [x], [normal(2, 5)])).toThrow(/tangent \[5\].*tensor \[3,4\]/);
    expect(() => grad((x) => sum(matmul(x, x)), [x])).toThrow(/A \[3,4\] by B \[3,4\]/);
  });

  test('a derivative inside another, unless it is meant as a constant', async () => {
    const x = upload(context, Float32Array.of(3));
    const inner = (x: Tensor) => grad((x) => sum(multiply(x, x)), [x])[0]; // 2 x
    expect(() => grad((x) => sum(multiply(inner(x), x)), [x])).toThrow(InputError);
    const [gradient] = grad(
      (x) =>
        multiply(
          noGrad(() => inner(x)),
          x,
        ),
      [x],
    );
    expect([...(await read(gradient))]).toEqual([6]);
  });

  test('a tensor given as two inputs, and a function that returns no tensor', () => {
    const x = upload(context, Float32Array.of(1, 2));
    expect(() => grad((a, b) => sum(multiply(a, b)), [x, x])).toThrow(/given as two inputs/);
    expect(() => linearize((async (a: Tensor) => a) as never, [x])).toThrow(/returned a promise/);
  });

  test('the derivative of a derivative taken before', () => {
    const x = upload(context, Float32Array.of(1, 2));
    using at = linearize((a) => multiply(a, a), [x]);
    expect(() => grad((y) => sum(at.vjp(y)[0]), [x])).toThrow(/derivative of a linearization has no derivative/);
  });

  test('top-k, which has no derivative, of what one is recorded of', () => {
    expect(() => grad((x) => sum(topk(x, 1, 'largest').values), [normal(1, 2, 3)])).toThrow(/topk has no derivative/);
  });

  test('leaves no buffers and no recording behind', () => {
    const x = normal(1, 3);
    const { liveBytes } = context.pool.statistics;
    const fail = (x: Tensor): Tensor => {
      multiply(x, x);
      throw new Error('of the user');
    };
    expect(() => grad(fail, [x])).toThrow('of the user');
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
    expect(grad(sum, [x])).toHaveLength(1);
  });
});

describe('gradients', () => {
  const dispatches = (work: () => unknown): number => {
    const before = context.recorder.statistics.dispatches;
    work();
    return context.recorder.statistics.dispatches - before;
  };

  test('of a frozen weight cost nothing', () => {
    const [x, w, dy] = [normal(1, 5, 4), normal(2, 4, 3), normal(3, 5, 3)];
    using frozen = linearize((x) => matmul(x, w), [x]);
    using trained = linearize((x, w) => matmul(x, w), [x, w]);
    expect(dispatches(() => frozen.vjp(dy))).toBe(1);
    expect(dispatches(() => trained.vjp(dy))).toBe(2);
  });

  test('of what leads to no input cost nothing', () => {
    const [x, w] = [normal(1, 5, 4), normal(2, 4, 3)];
    using at = linearize(
      (x) =>
        add(
          scale(matmul(x, w), 2),
          matmul(
            noGrad(() => scale(x, 3)),
            w,
          ),
        ),
      [x],
    );
    // scale and the first matmul: add hands its cotangent on
    expect(dispatches(() => at.vjp(normal(3, 5, 3)))).toBe(2);
  });

  test('add up where a tensor is used twice', async () => {
    const x = upload(context, Float32Array.of(1, 2, 3));
    const [gradient] = grad((x) => sum(add(multiply(x, x), x)), [x]);
    expect([...(await read(gradient))]).toEqual([3, 5, 7]);
  });

  test('are zero in an input that is not used, and one where the input is the value', async () => {
    const [x, unused] = [upload(context, Float32Array.of(5)), normal(1, 2, 3)];
    const [ofX, ofUnused] = grad((x) => x, [x, unused]);
    expect([...(await read(ofX))]).toEqual([1]);
    expect(ofUnused.shape).toEqual([2, 3]);
    expect([...(await read(ofUnused))]).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test('have the same bits when taken twice', async () => {
    const inputs = [normal(1, 65, 63), normal(2, 63, 7)];
    const once = async () => {
      const { value, gradients } = valueAndGrad((x, w) => sum(activation(matmul(x, w), 'gelu')), inputs);
      return (await readAll([value, ...gradients])).map((each) => new Uint32Array(each.buffer));
    };
    expect(await once()).toEqual(await once());
  });

  test('of several sets of cotangents are those of each', async () => {
    const [x, w] = [normal(1, 3, 5), normal(2, 5, 7)];
    using at = linearize((x) => softmax(activation(matmul(x, w), 'tanh')), [x]);
    const sets = seededRandom(3).normal(4 * 21);
    const together = await read(at.vjp(upload(context, sets, [12, 7]))[0]);
    for (let k = 0; k < 4; k++) {
      const [alone] = at.vjp(upload(context, sets.slice(21 * k, 21 * (k + 1)), [3, 7]));
      const part = together.slice(15 * k, 15 * (k + 1));
      (await read(alone)).forEach((value, i) => {
        expect(part[i]).toBeCloseTo(value, 5);
      });
    }
  });
});

test('10,000 steps leave nothing behind and, after the first few, make no buffer', async () => {
  const [x, w] = [normal(1, 3, 4), normal(2, 4, 1)];
  const { statistics } = context.pool;
  const steps = async (count: number) => {
    for (let step = 1; step <= count; step++) {
      context.scope(() => void valueAndGrad((w) => sum(activation(matmul(x, w), 'tanh')), [w]));
      if (step % 100 === 0) await context.finish();
    }
  };
  await steps(200);
  const { buffersCreated, liveBytes } = { ...statistics };
  await steps(9800);
  expect(statistics).toMatchObject({ buffersCreated, liveBytes });
});

describe('Jacobians', () => {
  test('of a linear map are its matrix', async () => {
    const w = normal(1, 3, 5);
    const j = jacobian((x) => matmul(w, x), normal(2, 5, 1));
    expect(j.shape).toEqual([3, 5]);
    expect(await read(j)).toEqual(await read(w));
  });

  test('of rows that are independent: (output, row, input)', async () => {
    const [x, w] = [normal(1, 2, 3), normal(2, 3, 4)];
    const { liveBytes } = context.pool.statistics;
    using at = linearize((x) => matmul(multiply(x, x), w), [x]);
    const j = rowJacobians(at);
    expect(j.shape).toEqual([4, 2, 3]);
    const [entries, xs, ws] = await readAll([j, x, w]);
    for (const [o, b, i] of [...entries.keys()].map((at) => [Math.trunc(at / 6), Math.trunc(at / 3) % 2, at % 3])) {
      expect(entries[(o * 2 + b) * 3 + i]).toBeCloseTo(2 * xs[3 * b + i] * ws[4 * i + o], 5);
    }
    j.dispose();
    at.dispose();
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
  });
});
