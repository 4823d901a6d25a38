import { expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { bytesFromArray } from '../../src/io/blobs.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { encodeVectors } from '../../src/probe/vectors-file.ts';

const facts = { layer: 2, from: 0, width: 3, free: 1, model: '0123456789abcdef' };
const rows = (first: number) => Float32Array.from({ length: 6 }, (_, i) => first + i);

test('the vectors of every solve, their targets, and what they are', async () => {
  const bytes = encodeVectors(
    [
      { inputs: rows(0), targets: rows(10) },
      { inputs: rows(20), targets: rows(30) },
    ],
    facts,
  );
  const file = await openSafetensors(bytesFromArray('vectors', bytes));
  expect([...file.tensors.keys()].sort()).toEqual(['inputs.0', 'inputs.1', 'targets.0', 'targets.1']);
  for (const { dtype, shape } of file.tensors.values())
    expect({ dtype, shape }).toEqual({ dtype: 'F32', shape: [2, 3] });
  expect(await file.float32('inputs.1')).toEqual(rows(20));
  expect(await file.float32('targets.0')).toEqual(rows(10));
  expect(Object.fromEntries(file.metadata)).toMatchObject({ layer: '2', from: '0', free: '1', model: facts.model });
  expect(file.metadata.get('rows')).toContain('inputs_embeds');
});

test('vectors behind the input say where they stand', async () => {
  const bytes = encodeVectors([{ inputs: rows(0), targets: rows(1) }], { ...facts, from: 1.5, free: 0 });
  const { metadata } = await openSafetensors(bytesFromArray('vectors', bytes));
  expect(metadata.get('rows')).toBe('residual states at place 1.5');
});

test('no solves, and rows that do not fit, are refused', () => {
  expect(() => encodeVectors([], facts)).toThrow(InputError);
  expect(() => encodeVectors([{ inputs: rows(0), targets: rows(0).subarray(3) }], facts)).toThrow(/6 numbers.*3/);
  expect(() => encodeVectors([{ inputs: rows(0), targets: rows(0) }], { ...facts, width: 4 })).toThrow(/4 wide/);
});
