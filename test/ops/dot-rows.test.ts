import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { linearize } from '../../src/autograd/tape.ts';
import { InputError, ShapeError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { dotRows } from '../../src/ops/dot-rows.ts';
import { upload } from '../../src/tensor/tensor.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const ones = (...shape: number[]) => upload(context, new Float32Array(shape[0] * shape[1]).fill(1), shape);
const ids = (...shape: number[]) => upload(context, new Uint32Array(shape[0] * shape[1]), shape);
const table = (rows: number, width: number) => ({ rows, width, chunks: [ones(rows, width)] });

describe('operands that do not fit are refused with their shapes', () => {
  test.each([
    ['rows of another width', () => dotRows(ones(3, 5), table(4, 2), ids(3, 1)), /\[3,5\] with rows of \[4, 2\]/],
    ['picks for other rows', () => dotRows(ones(3, 2), table(4, 2), ids(2, 1)), /\[3,2\].*picked by \[2,1\]/],
    ['a bias of another vocabulary', () => dotRows(ones(3, 2), table(4, 2), ids(3, 1), ones(1, 3)), /bias.*3.*4/],
  ])('%s', (_, run, message) => {
    expect(run).toThrow(ShapeError);
    expect(run).toThrow(message);
  });
});

test('a derivative is refused rather than wrong', () => {
  expect(() => linearize((x) => dotRows(x, table(4, 2), ids(3, 1)), [ones(3, 2)])).toThrow(InputError);
});
