import { describe, expect, test } from 'vitest';
import { FormatError, InputError } from '../../src/errors.ts';
import { bytesFromArray } from '../../src/io/blobs.ts';
import type { Checkpoint } from '../../src/io/checkpoint.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { encodeSafetensors, type TensorToWrite } from '../../src/io/safetensors-writer.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { encodeStates, readStates } from '../../src/sipit/states-file.ts';
import type { StateRecord } from '../../src/sipit/types.ts';

/** Floats in a shape, all different. */
function floats(name: string, shape: number[], dtype: StateRecord['dtype'] = 'F32', seed = 1): TensorToWrite {
  return { name, dtype, shape, data: seededRandom(seed).normal(shape.reduce((size, n) => size * n, 1)) };
}

/** A table of whole numbers, [B, T]. */
function table(name: string, rows: readonly number[][], dtype: 'I64' | 'I32' | 'U8' | 'BOOL' = 'I64'): TensorToWrite {
  const values = rows.flat();
  const data =
    dtype === 'I64'
      ? BigInt64Array.from(values, BigInt)
      : dtype === 'I32'
        ? Int32Array.from(values)
        : Uint8Array.from(values);
  return { name, dtype, shape: [rows.length, rows[0].length], data };
}

function fileOf(tensors: readonly TensorToWrite[], metadata?: Record<string, string>): Promise<Checkpoint> {
  return openSafetensors(bytesFromArray('s.safetensors', encodeSafetensors(tensors, metadata)));
}

/** Row t of prompt b of a tensor [B, T, d]. */
const rowsOf = ({ data, shape: [, rows, d] }: TensorToWrite, b: number, begin: number, end: number) =>
  Float32Array.from((data as Float32Array).subarray((b * rows + begin) * d, (b * rows + end) * d));

describe('a file of our own', () => {
  const record = (seed: number, rows: number): StateRecord => ({
    values: Float32Array.from(seededRandom(seed).normal(rows * 5)),
    width: 5,
    layer: 3,
    dtype: 'F32',
    model: 'abc',
  });

  test('comes back as it was written, in the order of its numbers', async () => {
    const records = Array.from({ length: 12 }, (_, i) => record(i, i + 1));
    const read = await readStates(await openSafetensors(bytesFromArray('s', encodeStates(records))));
    expect(read.records).toEqual(records.map((one, i) => ({ ...one, name: `states.${i}` })));
    expect(read).toMatchObject({ skipped: [], notes: [], isCentred: false });
  });

  test.each(['F64', 'F16', 'BF16'] as const)('stored as %s', async (dtype) => {
    const bytes = encodeStates([{ ...record(1, 2), dtype }]);
    const [read] = (await readStates(await openSafetensors(bytesFromArray('s', bytes)))).records;
    expect(read).toMatchObject({ name: 'states', dtype, layer: 3, width: 5 });
    read.values.forEach((value, i) => {
      expect(value).toBeCloseTo(record(1, 2).values[i], 1);
    });
  });

  test('holds records of one layer of one model', () => {
    expect(() => encodeStates([])).toThrow(InputError);
    expect(() => encodeStates([record(1, 1), { ...record(1, 1), layer: 2 }])).toThrow(/one layer of one model/);
    expect(() => encodeStates([record(1, 1), { ...record(1, 1), model: 'def' }])).toThrow(InputError);
  });
});

describe('the layer of tensors with names of no meaning', () => {
  const some = [floats('prompt', [3, 4])];
  test('comes from the metadata, or from the caller, who comes first', async () => {
    const file = await fileOf(some, { layer: '2' });
    expect((await readStates(file)).records).toMatchObject([{ name: 'prompt', layer: 2 }]);
    expect((await readStates(file, { layer: 5 })).records).toMatchObject([{ layer: 5 }]);
    expect((await readStates(file, { layer: 'auto' })).records).toMatchObject([{ layer: 2 }]);
  });

  test.each([
    [undefined, /does not say which layer its states are of\./],
    [{ layer: 'six' }, /does not say which layer its states are of \("six"\)\..*--layer auto/],
  ])('is asked for where nobody tells: metadata %j', async (metadata, message) => {
    const failure = readStates(await fileOf(some, metadata));
    await expect(failure).rejects.toThrow(InputError);
    await expect(failure).rejects.toThrow(message);
  });

  test('is left open where it is to be searched for', async () => {
    const [record] = (await readStates(await fileOf(some), { layer: 'auto' })).records;
    expect('layer' in record).toBe(false);
    expect(record).toMatchObject({ name: 'prompt', width: 4 });
  });
});

describe('padding', () => {
  const states = floats('h', [3, 5, 2]);
  const read = async (mask: readonly number[][], more: TensorToWrite[] = [], dtype?: Parameters<typeof table>[2]) =>
    readStates(await fileOf([states, table('attention_mask', mask, dtype), ...more]), { layer: 1 });

  test.each(['I64', 'I32', 'U8', 'BOOL'] as const)('on the right is cut off by a mask of %s', async (dtype) => {
    const { records, skipped, notes } = await read(
      [
        [1, 1, 1, 1, 1],
        [1, 1, 0, 0, 0],
        [1, 0, 0, 0, 0],
      ],
      [],
      dtype,
    );
    expect(records).toEqual(
      [5, 2, 1].map((length, b) => {
        return { name: `h[${b}]`, dtype: 'F32', width: 2, values: rowsOf(states, b, 0, length), layer: 1 };
      }),
    );
    expect(skipped).toEqual([]);
    expect(notes).toEqual(['"attention_mask" shows padding on the right, which is cut off.']);
  });

  test('on the left leaves open whether positions count it', async () => {
    const { records, notes } = await read([
      [0, 0, 1, 1, 1],
      [1, 1, 1, 1, 1],
      [0, 1, 1, 0, 0],
    ]);
    expect(records).toMatchObject([
      { values: rowsOf(states, 0, 2, 5), firstPosition: 2, firstPositions: [2, 0] },
      { values: rowsOf(states, 1, 0, 5) },
      { values: rowsOf(states, 2, 1, 3), firstPosition: 1, firstPositions: [1, 0] },
    ]);
    expect(records[1].firstPositions).toBeUndefined();
    expect(notes).toEqual([expect.stringMatching(/padding on the left and the right.*generate\(\) does not/)]);
  });

  test('is settled by position ids, one row for all prompts or a row each', async () => {
    const mask = [
      [0, 0, 1, 1, 1],
      [0, 1, 1, 1, 1],
      [1, 1, 1, 1, 1],
    ];
    const plain = await read(mask, [table('position_ids', [[0, 1, 2, 3, 4]])]);
    expect(plain.records.map(({ firstPosition = 0 }) => firstPosition)).toEqual([2, 1, 0]);
    const shifted = await read(mask, [
      table('position_ids', [
        [1, 1, 0, 1, 2],
        [1, 0, 1, 2, 3],
        [7, 8, 9, 10, 11],
      ]),
    ]);
    expect(shifted.records.map(({ firstPosition = 0 }) => firstPosition)).toEqual([0, 0, 7]);
    expect(shifted.records.some(({ firstPositions }) => firstPositions)).toBe(false);
  });

  test('may hold NaN', async () => {
    const data = Float32Array.from(states.data as Float32Array).fill(Number.NaN, 4, 10);
    const file = await fileOf([
      { ...states, data },
      table('attention_mask', [
        [1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
      ]),
    ]);
    const { records } = await readStates(file, { layer: 1 });
    expect(records[0].values.every(Number.isFinite)).toBe(true);
  });

  test('alone is no prompt', async () => {
    const { records, skipped } = await read([
      [1, 1, 1, 1, 1],
      [0, 0, 0, 0, 0],
      [1, 1, 1, 1, 1],
    ]);
    expect(records.map(({ name }) => name)).toEqual(['h[0]', 'h[2]']);
    expect(skipped).toEqual([{ name: 'h[1]', reason: 'attention_mask hides all of its rows' }]);
  });

  test('that nothing tells of is taken for tokens, and said so', async () => {
    const { records, notes } = await readStates(await fileOf([states]), { layer: 1 });
    expect(records.map(({ values }) => values.length)).toEqual([10, 10, 10]);
    expect(notes).toEqual([expect.stringMatching(/"h" is taken as 3 prompts of 5 tokens: no attention_mask/)]);
  });

  test('of one prompt may have a mask without a batch', async () => {
    const one = floats('h', [5, 2]);
    const mask: TensorToWrite = { name: 'attention_mask', dtype: 'U8', shape: [5], data: Uint8Array.of(1, 1, 1, 0, 0) };
    const { records } = await readStates(await fileOf([one, mask]), { layer: 1 });
    expect(records).toMatchObject([{ name: 'h', values: (one.data as Float32Array).slice(0, 6) }]);
  });

  test('is told for each batch by the mask of its name', async () => {
    const file = await fileOf([
      floats('a.h', [2, 3, 2]),
      table('a.attention_mask', [
        [1, 1, 0],
        [1, 1, 1],
      ]),
      floats('b.h', [1, 4, 2], 'F32', 2),
      table('b.attention_mask', [[1, 0, 0, 0]]),
    ]);
    const { records } = await readStates(file, { layer: 1 });
    expect(records.map(({ name, values }) => [name, values.length])).toEqual([
      ['a.h[0]', 4],
      ['a.h[1]', 6],
      ['b.h', 2],
    ]);
  });

  test.each([
    [
      'a hole',
      [
        [1, 1, 1, 1, 1],
        [1, 0, 0, 1, 1],
        [1, 1, 1, 1, 1],
      ],
      /prompt 1, hides row 1 between rows it shows/,
    ],
    [
      'two',
      [
        [2, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
      ],
      /prompt 0, holds 2\..*1 for tokens/,
    ],
    [
      'another length',
      [
        [1, 1],
        [1, 1],
        [1, 1],
      ],
      /"attention_mask" is \[3, 2\], but "h" holds 3 x 5 states/,
    ],
    ['another batch', [[1, 1, 1, 1, 1]], /is \[1, 5\], but "h" holds 3 x 5/],
  ])('shown by a mask with %s is refused', async (_, mask, message) => {
    const failure = read(mask);
    await expect(failure).rejects.toThrow(InputError);
    await expect(failure).rejects.toThrow(message);
  });

  test('with positions that do not count up is refused', async () => {
    const mask = [
      [0, 0, 1, 1, 1],
      [1, 1, 1, 1, 1],
      [1, 1, 1, 1, 1],
    ];
    const failure = read(mask, [
      table('position_ids', [
        [0, 0, 4, 5, 7],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4],
      ]),
    ]);
    await expect(failure).rejects.toThrow(/"position_ids", prompt 0, gives row 2 of the prompt position 7 after 5/);
  });
});

describe('tensors that hold no states', () => {
  test('are skipped with the reason', async () => {
    const { records, skipped } = await readStates(
      await fileOf([
        floats('states', [4, 6]),
        floats('empty', [0, 6]),
        floats('vector', [6]),
        floats('five', [1, 1, 1, 4, 6]),
        floats('narrow', [2, 3]),
        floats('logits', [1, 4, 9]),
        floats('attentions.0', [1, 2, 4, 4]),
        table('input_ids', [[1, 2, 3, 4]]),
        table('lengths', [[4]]),
      ]),
      { layer: 2 },
    );
    expect(records.map(({ name }) => name)).toEqual(['states']);
    expect(Object.fromEntries(skipped.map(({ name, reason }) => [name, reason]))).toEqual({
      'attentions.0': 'it is not the residual stream',
      empty: 'its shape is [0,6]: it is empty',
      five: 'its shape is [1,1,1,4,6], not [T, d], [B, T, d] or [layers, B, T, d]',
      input_ids: 'it holds token ids, which an inversion does not look at',
      lengths: 'it holds I64, not floats',
      logits: 'it is not the residual stream',
      narrow: 'its rows have 3 values, those of states 6',
      vector: 'its shape is [6], not [T, d], [B, T, d] or [layers, B, T, d]',
    });
  });

  test("do not hide states of the model's width", async () => {
    const lnF = { weight: new Float32Array(6).fill(1), bias: new Float32Array(6) };
    const file = await fileOf([floats('mine', [4, 6]), floats('wide', [4, 99])]);
    expect((await readStates(file, { layer: 2, lnF })).records.map(({ name }) => name)).toEqual(['mine']);
    expect((await readStates(file, { layer: 2 })).records.map(({ name }) => name)).toEqual(['wide']);
  });

  test.each([
    ['nothing', []],
    ['only empty batches', [floats('h', [0, 3, 4]), floats('g', [2, 0, 4])]],
    ['only vectors', [floats('h', [4])]],
    ['only ids', [table('input_ids', [[1, 2]])]],
    ['only padding', [floats('h', [1, 2, 3]), table('attention_mask', [[0, 0]])]],
  ])('%s is an error', async (_, tensors) => {
    const failure = readStates(await fileOf(tensors), { layer: 1 });
    await expect(failure).rejects.toThrow(FormatError);
    await expect(failure).rejects.toThrow(/holds no states/);
  });

  test('one state is a prompt of one token', async () => {
    const { records } = await readStates(await fileOf([floats('h', [1, 1, 1])]), { layer: 1 });
    expect(records).toMatchObject([{ name: 'h', width: 1 }]);
  });
});
