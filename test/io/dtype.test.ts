import { describe, expect, test } from 'vitest';
import { decodeBF16, decodeF16, encodeBF16, encodeF16, toFloat32, toFloat64 } from '../../src/io/dtype.ts';

const formats = [
  { name: 'F16', encode: encodeF16, decode: decodeF16, infinity: 0x7c00, largest: 65504 },
  { name: 'BF16', encode: encodeBF16, decode: decodeBF16, infinity: 0x7f80, largest: 2 ** 127 * (2 - 2 ** -7) },
] as const;

describe.each(formats)('$name', ({ name, encode, decode, infinity, largest }) => {
  test('all 65536 patterns survive the way to a number and back', () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < 65536; bits++) {
      const isNan = (bits & 0x7fff) > infinity;
      const back = encode(decode(bits));
      if (isNan ? !Number.isNaN(decode(bits)) || (back & 0x7fff) <= infinity : back !== bits) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  test('a number between two neighbours goes to the nearer, halfway to the even one', () => {
    const wrong: number[] = [];
    for (let bits = 0; bits < infinity - 1; bits++) {
      const [low, high] = [decode(bits), decode(bits + 1)];
      const half = (low + high) / 2;
      const even = bits % 2 === 0 ? bits : bits + 1;
      const just = (high - low) * 2 ** -30;
      const right = encode(half) === even && encode(half - just) === bits && encode(half + just) === bits + 1;
      if (!right || encode(-half) !== (even | 0x8000)) wrong.push(bits);
    }
    expect(wrong).toEqual([]);
  });

  test('overflow, infinity, zeros and NaN', () => {
    expect(decode(infinity - 1)).toBe(largest);
    const step = largest - decode(infinity - 2);
    expect(encode(largest + step * 0.49)).toBe(infinity - 1);
    for (const huge of [largest + step / 2, largest * 2, 1e300, Infinity]) expect(encode(huge)).toBe(infinity);
    expect(encode(-Infinity)).toBe(infinity | 0x8000);
    expect(encode(0)).toBe(0);
    expect(encode(-0)).toBe(0x8000);
    expect(encode(Number.MIN_VALUE)).toBe(0);
    expect(decode(encode(Number.NaN))).toBeNaN();
  });

  test('arrays decode as single values do', () => {
    const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const expected = Float64Array.from(patterns, decode);
    const bytes = new Uint8Array(patterns.buffer);
    expect(toFloat64(name, bytes)).toEqual(expected);
    expect(toFloat32(name, bytes)).toEqual(Float32Array.from(expected));
  });
});

test('bytes at an odd offset are copied into line', () => {
  const shifted = new Uint8Array(17);
  shifted.set(new Uint8Array(Float64Array.of(Math.PI, -1e-300).buffer), 1);
  expect(toFloat64('F64', shifted.subarray(1))).toEqual(Float64Array.of(Math.PI, -1e-300));
});

test('wide numbers round to nearest', () => {
  const i64 = new Uint8Array(BigInt64Array.of(-(2n ** 53n) - 1n, 7n).buffer);
  expect(toFloat64('I64', i64)).toEqual(Float64Array.of(-(2 ** 53), 7));
  expect(toFloat32('U64', new Uint8Array(BigUint64Array.of(2n ** 64n - 1n).buffer))).toEqual(Float32Array.of(2 ** 64));
  expect(toFloat32('F64', new Uint8Array(Float64Array.of(0.1).buffer))).toEqual(Float32Array.of(0.1));
});
