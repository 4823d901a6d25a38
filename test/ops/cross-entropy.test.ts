import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { linearize } from '../../src/autograd/tape.ts';
import { InputError, ShapeError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { crossEntropy } from '../../src/ops/cross-entropy.ts';
import { read, readAll, upload } from '../../src/tensor/tensor.ts';
import { expectAgree } from '../support/agree.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const logits = () => upload(context, Float32Array.of(0, Math.log(3), 9, 1), [2, 2]);

describe('crossEntropy', () => {
  test('leaves out rows whose label is -100, also in a Uint32Array, or the one named', async () => {
    const losses = await readAll([
      crossEntropy(logits(), Int32Array.of(0, -100)),
      crossEntropy(logits(), Uint32Array.of(0, -100)),
      crossEntropy(logits(), Uint32Array.of(0, 1), { ignoreIndex: 1 }),
    ]);
    for (const loss of losses) expectAgree(loss, [Math.log(4)], { rel: 1e-6, abs: 0 });
  });

  test('keeps its labels for the derivative, which is zero in rows left out', async () => {
    using at = linearize((z) => crossEntropy(z, Int32Array.of(0, -100)), [logits()]);
    const [gradient] = at.vjp(upload(context, Float32Array.of(2)));
    expectAgree(await read(gradient), [-1.5, 1.5, 0, 0], { rel: 1e-6, abs: 0 });
  });

  test('is finite however sure the logits are', async () => {
    const sure = upload(context, Float32Array.of(3e38, -3e38, 0, -1e4), [2, 2]);
    using at = linearize((z) => crossEntropy(z, Int32Array.of(0, 0)), [sure]);
    const [gradient] = at.vjp(upload(context, Float32Array.of(1)));
    expect([...(await read(at.value))]).toEqual([0]);
    expect((await read(gradient)).every((v) => v === 0)).toBe(true);
  });

  test('refuses labels that do not fit, and says which', () => {
    expect(() => crossEntropy(logits(), Int32Array.of(0, 2))).toThrow(/Row 1 has the label 2 in a vocabulary of 2/);
    expect(() => crossEntropy(logits(), Int32Array.of(-1, 0))).toThrow(InputError);
    expect(() => crossEntropy(logits(), Int32Array.of(-100, -100))).toThrow(/None of 2 rows has a label that counts/);
    expect(() => crossEntropy(logits(), Int32Array.of(0))).toThrow(ShapeError);
  });
});
