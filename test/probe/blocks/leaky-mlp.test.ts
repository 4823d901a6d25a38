import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { InputError } from '../../../src/errors.ts';
import type { Context } from '../../../src/gpu/context.ts';
import {
  absoluteValueMlp,
  leakyMlp,
  leakyMlpStep,
  leakyMlpTwin,
  randomLeakyMlp,
} from '../../../src/probe/blocks/leaky-mlp.ts';
import { leakyMlpInverse } from '../../../src/probe/blocks/leaky-mlp-inverse.ts';
import { read, upload } from '../../../src/tensor/tensor.ts';
import { seededRandom, worstRow } from '../../support/agree.ts';
import { expectJacobians } from './jacobians.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const SIZES = [
  { d: 1, inner: 1 },
  { d: 3, inner: 3 },
  { d: 7, inner: 20 },
  { d: 24, inner: 24 },
  { d: 65, inner: 257 },
];
const ROWS = 5;

describe.each(SIZES)('d = $d, d_ff = $inner', ({ d, inner }) => {
  const mlp = randomLeakyMlp(d, d, inner);
  const { normal } = seededRandom(d + 1);
  const norm = { gain: normal(d).map((v) => 1 + 0.3 * v), bias: normal(d, 0.3), epsilon: 1e-5 };
  const rows = normal(ROWS * d);

  test.each([
    ['alone', () => leakyMlp(context, mlp)],
    ['with LayerNorm and residual', () => leakyMlpStep(context, mlp, norm)],
  ])('%s: values and Jacobians on the GPU are those of the twin', async (_, make) => {
    using block = make();
    const got = await read(block.states(upload(context, rows, [ROWS, d]), new Uint32Array(ROWS)));
    expect(worstRow(got, block.twin(rows), d)).toBeLessThan(1e-5);
    await expectJacobians(context, block, rows);
  });
});

describe.each([1, 3, 7, 24, 65])('the inverse at d = d_ff = %i', (d) => {
  const mlp = randomLeakyMlp(d, d);
  const inverse = leakyMlpInverse(mlp);
  const digits = 1e-14 * inverse.condition.inWeight * inverse.condition.outWeight;

  test('returns to the input, and reaches any output', () => {
    const x = seededRandom(d + 2).normal(ROWS * d, 3);
    expect(worstRow(inverse.preimages(leakyMlpTwin(mlp, x)), Float64Array.from(x), d)).toBeLessThan(digits);
    const y = seededRandom(d + 3).normal(ROWS * d, 30);
    expect(worstRow(leakyMlpTwin(mlp, inverse.preimages(y)), Float64Array.from(y), d)).toBeLessThan(digits);
  });
});

test('a singular matrix is named, with its condition number', () => {
  const mlp = randomLeakyMlp(1, 7);
  const repeated = Float32Array.from(mlp.outWeight);
  repeated.copyWithin(7, 0, 7);
  expect(() => leakyMlpInverse({ ...mlp, outWeight: repeated })).toThrow(InputError);
  expect(() => leakyMlpInverse({ ...mlp, outWeight: repeated })).toThrow(/W2 .* \(condition number/);
  expect(() => leakyMlpInverse({ ...mlp, inWeight: new Float32Array(49) })).toThrow(/W1 .*Infinity/);
});

test('more hidden units than d have no inverse by matrices', () => {
  expect(() => leakyMlpInverse(randomLeakyMlp(1, 7, 8))).toThrow(InputError);
});

test('with d_ff = 2 d it need not be onto: no coordinate becomes negative', () => {
  const x = seededRandom(5).normal(3 * 7);
  leakyMlpTwin(absoluteValueMlp(7), x).forEach((y, i) => {
    expect(y).toBeCloseTo(0.99 * Math.abs(x[i]), 12);
  });
});
