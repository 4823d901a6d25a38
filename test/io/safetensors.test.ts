import { describe, expect, test } from 'vitest';
import { FormatError, InputError, MissingTensorError } from '../../src/errors.ts';
import { bytesFromArray } from '../../src/io/blobs.ts';
import type { Dtype } from '../../src/io/checkpoint.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { encodeSafetensors, type TensorData } from '../../src/io/safetensors-writer.ts';

const open = (bytes: Uint8Array) => openSafetensors(bytesFromArray('some.safetensors', bytes));

/** A file from a header, written as it stands, and data. */
function file(header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array {
  const json = typeof header === 'string' ? new TextEncoder().encode(header) : header;
  const bytes = new Uint8Array(8 + json.length + dataBytes);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}
const tensor = (dtype: unknown, shape: unknown, offsets: unknown) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });
const one = (dtype: unknown, shape: unknown, offsets: unknown, dataBytes: number) =>
  file(`{"wte":${tensor(dtype, shape, offsets)}}`, dataBytes);

describe('a hostile file is refused with a message that names it', () => {
  test.each<[string, Uint8Array, RegExp]>([
    ['empty', new Uint8Array(), /0 bytes are too few/],
    ['nine bytes', file('{'), /9 bytes are too few/],
    ['header length 1', file('{}', 0, 1n), /said to be 1 bytes/],
    ['header longer than the file', file('{}', 0, 3n), /3 bytes long, but the file has 10/],
    ['header over 100 MB', file('{}', 0, 100_000_001n), /over 100000000/],
    ['header of 2^64 - 1 bytes', file('{}', 0, 2n ** 64n - 1n), /18446744073709551615/],
    ['header that begins with a blank', file(' {}'), /does not begin with '\{'/],
    ['header that is an array', file('[]'), /does not begin with '\{'/],
    ['header that is not UTF-8', file(Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x30, 0x7d)), /UTF-8/],
    ['header that is not JSON', file('{"a":}'), /not valid JSON/],
    ['header nested a million deep', file(`{"a":${'['.repeat(1e6)}`), /not valid JSON/],
    [
      'one name twice',
      file(`{"a":${tensor('U8', [0], [0, 0])},"\\u0061":${tensor('U8', [0], [0, 0])}}`),
      /"a" occurs twice/,
    ],
    ['one field twice', file('{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'), /"dtype" occurs/],
    ['tensor that is null', file('{"wte":null}'), /"wte" is not described/],
    ['tensor that is an array', file('{"wte":[]}'), /"wte" is not described/],
    ['dtype that is no name', one('F8 \u001b[2J', [4], [0, 4], 4), /dtype "F8 \\u001b\[2J"/],
    ['dtype that is long', one('F'.repeat(33), [4], [0, 4], 4), /dtype "F{33}"/],
    ['unlisted dtype beyond the data', one('F8_E4M3', [4], [0, 8], 4), /ends at byte 8 of 4/],
    ['unlisted dtype with a hole in front', one('F8_E4M3', [4], [1, 5], 5), /leaves a hole/],
    ['dtype that is missing', one(undefined, [4], [0, 4], 4), /dtype "undefined"/],
    ['shape that is missing', one('U8', undefined, [0, 4], 4), /shape missing/],
    ['shape that is a number', one('U8', 4, [0, 4], 4), /shape 4/],
    ['negative size', one('U8', [-1, -4], [0, 4], 4), /shape \[-1,-4\]/],
    ['fractional size', one('U8', [1.5], [0, 4], 4), /shape \[1.5\]/],
    ['size that is text', one('U8', ['4'], [0, 4], 4), /shape \["4"\]/],
    ['2^60 elements', one('F32', [2 ** 30, 2 ** 30], [0, 4], 4), /too large to address/],
    ['size beyond exact integers', one('U8', [2 ** 60], [0, 4], 4), /shape \[1152921504606847000\]/],
    ['sizes whose product wraps to 4', one('U8', [2 ** 33, 2 ** 33], [0, 4], 4), /too large/],
    ['one offset', one('U8', [4], [0], 4), /data_offsets \[0\]/],
    ['three offsets', one('U8', [4], [0, 4, 4], 4), /data_offsets \[0,4,4\]/],
    ['negative offset', one('U8', [4], [-4, 0], 4), /data_offsets \[-4,0\]/],
    ['offsets that run backwards', one('U8', [4], [4, 0], 4), /backwards: \[4, 0\]/],
    ['tensor beyond the data', one('U8', [8], [0, 8], 4), /ends at byte 8 of 4.*truncated/],
    ['too few bytes for the shape', one('F32', [2], [0, 4], 4), /has 4 bytes, but F32 \[2\] takes 8/],
    ['bytes for an empty shape', one('F32', [0, 3], [0, 4], 4), /has 4 bytes, but F32 \[0,3\] takes 0/],
    ['trailing bytes', one('U8', [4], [0, 4], 5), /end at byte 4, the data at 5/],
    ['bytes without a tensor', file('{}', 1), /end at byte 0, the data at 1/],
    ['hole in front', one('U8', [3], [1, 4], 4), /leaves a hole.*begins at byte 1/],
    [
      'hole between two',
      file(`{"a":${tensor('U8', [1], [0, 1])},"b":${tensor('U8', [1], [2, 3])}}`, 3),
      /"b" leaves a hole/,
    ],
    [
      'overlap',
      file(`{"a":${tensor('U8', [3], [0, 3])},"b":${tensor('U8', [2], [2, 4])}}`, 4),
      /"b" overlaps.*begins at byte 2, the tensor before it ends at 3/,
    ],
    [
      'same bytes twice',
      file(`{"a":${tensor('U8', [4], [0, 4])},"b":${tensor('U8', [4], [0, 4])}}`, 4),
      /"b" overlaps/,
    ],
    ['metadata that is a list', file('{"__metadata__":[]}'), /__metadata__ is not/],
    ['metadata that is a number', file('{"__metadata__":{"format":1}}'), /"format" is number/],
  ])('%s', async (_, bytes, message) => {
    const error = await open(bytes).then(
      () => undefined,
      (e) => e,
    );
    expect(error).toBeInstanceOf(FormatError);
    expect(error.message).toMatch(/^some\.safetensors: /);
    expect(error.message).toMatch(message);
    expect(error.message.endsWith(error.cure)).toBe(true);
  });

  test('a hostile name cannot flood the message', async () => {
    await expect(open(file(`{"${'x'.repeat(1e6)}":0}`))).rejects.toSatisfy((e: Error) => e.message.length < 1000);
  });
});

test.each(['F8_E4M3', 'C64', 'F4', 'constructor'])('a tensor of dtype %s is listed but not read', async (dtype) => {
  const bytes = file(`{"a":${tensor('U8', [1], [0, 1])},"b":${tensor(dtype, [2, 4], [1, 5])}}`, 5);
  const checkpoint = await open(bytes);
  expect(checkpoint.tensors.get('b')).toMatchObject({ dtype, shape: [2, 4] });
  expect(await checkpoint.float32('a')).toEqual(Float32Array.of(0));
  for (const method of ['bytes', 'float32', 'float64'] as const) {
    const error = await checkpoint[method]('b').catch((e: unknown) => e);
    expect(error).toBeInstanceOf(FormatError);
    expect(String(error)).toMatch(`"b" in some.safetensors has the dtype ${dtype}. Convert it`);
    expect((error as FormatError).cure).toContain('F64, F32, F16, BF16');
  }
});

test('names from the prototype are names like others', async () => {
  const data = Float32Array.of(1, 2);
  const names = ['__proto__', 'constructor', 'toString', 'ünï ☃', ''];
  const bytes = encodeSafetensors(
    names.map((name) => ({ name, dtype: 'F32', shape: [2], data })),
    new Map([['__proto__', 'odd']]),
  );
  const checkpoint = await open(bytes);
  expect([...checkpoint.tensors.keys()].sort()).toEqual([...names].sort());
  expect(await checkpoint.float32('__proto__')).toEqual(data);
  expect(checkpoint.metadata).toEqual(new Map([['__proto__', 'odd']]));
});

test('an empty file, scalars and empty tensors are fine', async () => {
  expect((await open(encodeSafetensors([]))).tensors.size).toBe(0);
  const checkpoint = await open(
    encodeSafetensors([
      { name: 'scalar', dtype: 'F64', shape: [], data: Float64Array.of(0.1) },
      { name: 'empty', dtype: 'F32', shape: [0, 2 ** 40, 2 ** 40], data: new Float32Array() },
    ]),
  );
  expect(await checkpoint.float64('scalar')).toEqual(Float64Array.of(0.1));
  expect(await checkpoint.float32('empty')).toEqual(new Float32Array());
});

describe('what is written is read back', () => {
  const numbers = [0, 1, 2, 3, 100, 127];
  test.each<[Dtype, TensorData, number[]]>([
    ['F64', Float64Array.of(0.1, -1e300, Infinity), [0.1, -1e300, Infinity]],
    ['F64', Float32Array.of(0.5), [0.5]],
    ['F32', Float32Array.of(0.5, -3e38, Number.NaN), [0.5, Math.fround(-3e38), Number.NaN]],
    ['F32', Float64Array.of(0.1), [Math.fround(0.1)]],
    ['F16', Float32Array.of(0.1, 65504, 1e9, 2 ** -24), [0.0999755859375, 65504, Infinity, 2 ** -24]],
    ['F16', Float64Array.of(1 + 2 ** -11 + 2 ** -40), [1 + 2 ** -10]],
    ['BF16', Float32Array.of(0.1, -1), [0.10009765625, -1]],
    ['I64', BigInt64Array.of(-5n, 2n ** 52n), [-5, 2 ** 52]],
    ['U64', BigUint64Array.of(5n, 2n ** 52n), [5, 2 ** 52]],
    ['I32', Int32Array.of(-(2 ** 31), 7), [-(2 ** 31), 7]],
    ['U32', Uint32Array.of(2 ** 32 - 1), [2 ** 32 - 1]],
    ['I16', Int16Array.of(-32768, 7), [-32768, 7]],
    ['U16', Uint16Array.of(65535), [65535]],
    ['I8', Int8Array.of(-128, 7), [-128, 7]],
    ['U8', Uint8Array.from(numbers), numbers],
    ['BOOL', Uint8Array.of(1, 0, 1), [1, 0, 1]],
  ])('%s', async (dtype, data, expected) => {
    // The odd byte in front would leave the tensor unaligned, were the writer not to sort.
    const odd = { name: 'a', dtype: 'U8', shape: [1], data: Uint8Array.of(9) } as const;
    const bytes = encodeSafetensors([odd, { name: 'x', dtype, shape: [data.length], data }]);
    const checkpoint = await open(bytes);
    expect(checkpoint.tensors.get('x')).toMatchObject({ dtype, shape: [data.length] });
    expect(await checkpoint.float64('x')).toEqual(Float64Array.from(expected));
    expect(await checkpoint.float32('x')).toEqual(Float32Array.from(expected));
    const stored = { name: 'x', dtype, shape: [data.length], data: await checkpoint.bytes('x') };
    expect(encodeSafetensors([stored, odd])).toEqual(bytes);
  });

  test('headers are padded to 8 bytes, tensors sorted by item size, then name', async () => {
    const data = Float32Array.of(1);
    const bytes = encodeSafetensors([
      { name: 'b', dtype: 'F16', shape: [1], data },
      { name: 'z', dtype: 'F32', shape: [1], data },
      { name: 'a', dtype: 'F16', shape: [1], data },
    ]);
    expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0);
    expect([...(await open(bytes)).tensors.keys()]).toEqual(['z', 'a', 'b']);
  });

  test('a file whose tensors lie unaligned is read all the same', async () => {
    const bytes = file(`{"a":${tensor('U8', [1], [0, 1])},"b":${tensor('F32', [1], [1, 5])}}`, 5);
    bytes.set(new Uint8Array(Float32Array.of(Math.E).buffer), bytes.length - 4);
    expect(await (await open(bytes)).float32('b')).toEqual(Float32Array.of(Math.E));
  });
});

describe('reading', () => {
  const data = Float32Array.from({ length: 10 }, (_, i) => i);
  const bytes = encodeSafetensors([{ name: 'x', dtype: 'F16', shape: [5, 2], data }], { format: 'pt' });

  test('a range of elements', async () => {
    const checkpoint = await open(bytes);
    expect(await checkpoint.float32('x', 3, 5)).toEqual(Float32Array.of(3, 4));
    expect(await checkpoint.float64('x', 8)).toEqual(Float64Array.of(8, 9));
    expect(await checkpoint.float32('x', 10)).toEqual(new Float32Array());
    expect((await checkpoint.bytes('x', 0, 3)).length).toBe(6);
    expect(checkpoint.metadata.get('format')).toBe('pt');
  });

  test.each([
    [-1, 2],
    [3, 2],
    [0, 11],
    [0.5, 2],
    [Number.NaN, 2],
  ])('elements [%d, %d) are refused', async (begin, end) => {
    await expect((await open(bytes)).float32('x', begin, end)).rejects.toThrow(InputError);
  });

  test('an unknown name is refused', async () => {
    await expect((await open(bytes)).bytes('y')).rejects.toThrow(MissingTensorError);
    await expect((await open(bytes)).float32('__proto__')).rejects.toThrow(/"__proto__" is not among the 1 tensors/);
  });

  test('what a caller does with the values leaves the file as it is', async () => {
    const checkpoint = await open(encodeSafetensors([{ name: 'x', dtype: 'F32', shape: [10], data }]));
    (await checkpoint.float32('x')).fill(0);
    expect(await checkpoint.float32('x')).toEqual(data);
  });

  test('only the header is read at opening', async () => {
    const inner = bytesFromArray('some.safetensors', bytes);
    const reads: [number, number][] = [];
    await openSafetensors({
      ...inner,
      read: (begin, end) => {
        reads.push([begin, end]);
        return inner.read(begin, end);
      },
    });
    expect(reads).toEqual([
      [0, 8],
      [8, bytes.length - 20],
    ]);
  });
});

describe('writing refuses', () => {
  const x = { name: 'x', dtype: 'F32', shape: [2], data: Float32Array.of(1, 2) } as const;
  test.each<[string, Parameters<typeof encodeSafetensors>[0], RegExp]>([
    ['one name twice', [x, { ...x, dtype: 'F16' }], /"x" is given twice/],
    ['the name of the metadata', [{ ...x, name: '__metadata__' }], /name of the metadata/],
    ['data too short for the shape', [{ ...x, shape: [3] }], /takes 3 values, but its data has 2/],
    ['stored bytes of another size', [{ ...x, data: new Uint8Array(7) }], /takes 8 bytes, but its data has 7/],
    ['a negative size', [{ ...x, shape: [-2] }], /shape \[-2\]/],
    ['an array of another kind', [{ ...x, data: Int32Array.of(1, 2) }], /F32, but its data is a Int32Array/],
    ['floats as integers', [{ ...x, dtype: 'I32' }], /I32, but its data is a Float32Array/],
  ])('%s', (_, tensors, message) => {
    expect(() => encodeSafetensors(tensors)).toThrow(FormatError);
    expect(() => encodeSafetensors(tensors)).toThrow(message);
  });
});
