import type { Dtype } from './checkpoint.ts';

/** Bytes per element of each stored type. */
export const itemBytes: Readonly<Record<Dtype, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

/** Whether a value from a file names an element type that preimage reads and writes. */
export function isDtype(value: unknown): value is Dtype {
  return typeof value === 'string' && Object.hasOwn(itemBytes, value);
}

/** A sixteen-bit IEEE 754 format: `mantissa` stored bits, smallest normal 2^minExponent, bit patterns of infinity and NaN. */
interface HalfFormat {
  readonly mantissa: number;
  readonly minExponent: number;
  readonly infinity: number;
  readonly nan: number;
}
const F16: HalfFormat = { mantissa: 10, minExponent: -14, infinity: 0x7c00, nan: 0x7e00 };
const BF16: HalfFormat = { mantissa: 7, minExponent: -126, infinity: 0x7f80, nan: 0x7fc0 };

const float64Scratch = new Float64Array(1);
// Typed arrays use the platform's byte order, files are little-endian: preimage assumes a little-endian machine, as
// every engine with WebGPU runs on.
const uint32Scratch = new Uint32Array(float64Scratch.buffer);

function encode(value: number, { mantissa, minExponent, infinity, nan }: HalfFormat): number {
  float64Scratch[0] = value;
  const high = uint32Scratch[1];
  const sign = (high >>> 16) & 0x8000;
  if (Number.isNaN(value)) return sign | nan;
  // Clamped from below where subnormals begin, from above where both formats have long overflowed.
  const exponent = Math.min(Math.max(((high >>> 20) & 0x7ff) - 1023, minExponent), 128);
  // Scaling by a power of two is exact, so the addition of 2^52 is the only rounding: to nearest, ties to even.
  const steps = Math.abs(value) * 2 ** (mantissa - exponent) + 2 ** 52 - 2 ** 52;
  // `steps` holds the implicit bit, so a carry out of the mantissa moves into the exponent by itself.
  const bits = (exponent - minExponent) * 2 ** mantissa + steps;
  return sign | Math.min(bits, infinity);
}

function decode(bits: number, { mantissa, minExponent, infinity }: HalfFormat): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const magnitude = bits & 0x7fff;
  if (magnitude >= infinity) return magnitude === infinity ? sign * Infinity : Number.NaN;
  const exponent = magnitude >> mantissa;
  const fraction = magnitude & ((1 << mantissa) - 1);
  const steps = exponent === 0 ? fraction : fraction + (1 << mantissa);
  return sign * steps * 2 ** (Math.max(exponent, 1) - 1 + minExponent - mantissa);
}

/** The 16 bits of the binary16 number nearest to `value` (ties to even; overflow to infinity; NaN to a quiet NaN). */
export const encodeF16 = (value: number): number => encode(value, F16);
/** The number that 16 bits of binary16 stand for. */
export const decodeF16 = (bits: number): number => decode(bits, F16);
/** The 16 bits of the bfloat16 number nearest to `value` (ties to even; overflow to infinity; NaN to a quiet NaN). */
export const encodeBF16 = (value: number): number => encode(value, BF16);
/** The number that 16 bits of bfloat16 stand for. */
export const decodeBF16 = (bits: number): number => decode(bits, BF16);

function aligned(bytes: Uint8Array<ArrayBuffer>, size: number): [ArrayBuffer, number, number] {
  const copy = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  return [copy.buffer, copy.byteOffset, copy.byteLength / size];
}

/** The stored numbers as a typed array; 16-bit floats are widened, 64-bit integers become the nearest f64. */
function numbers(dtype: Dtype, bytes: Uint8Array<ArrayBuffer>): ArrayLike<number> {
  const where = aligned(bytes, itemBytes[dtype]);
  switch (dtype) {
    case 'F64':
      return new Float64Array(...where);
    case 'F32':
      return new Float32Array(...where);
    case 'F16':
      return widenF16(new Uint16Array(...where));
    case 'BF16':
      return widenBF16(new Uint16Array(...where));
    case 'I64':
      return Float64Array.from(new BigInt64Array(...where) as Iterable<bigint>, Number);
    case 'U64':
      return Float64Array.from(new BigUint64Array(...where) as Iterable<bigint>, Number);
    case 'I32':
      return new Int32Array(...where);
    case 'U32':
      return new Uint32Array(...where);
    case 'I16':
      return new Int16Array(...where);
    case 'U16':
      return new Uint16Array(...where);
    case 'I8':
      return new Int8Array(...where);
    case 'U8':
    case 'BOOL':
      return bytes;
  }
}

let f16Values: Float32Array | undefined;

function widenF16(bits: Uint16Array): Float32Array {
  f16Values ??= Float32Array.from({ length: 65536 }, (_, pattern) => decodeF16(pattern));
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) values[i] = f16Values[bits[i]];
  return values;
}

function widenBF16(bits: Uint16Array): Float32Array {
  const patterns = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) patterns[i] = bits[i] << 16;
  return new Float32Array(patterns.buffer);
}

/**
 * Values of stored little-endian bytes as f32 (F64 and wide integers round to nearest).
 *
 * @param bytes A whole number of elements; F32 bytes may be returned as a view of themselves.
 */
export function toFloat32(dtype: Dtype, bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  const values = numbers(dtype, bytes);
  return values instanceof Float32Array ? (values as Float32Array<ArrayBuffer>) : new Float32Array(values);
}

/** Values of stored little-endian bytes as f64, exact but for 64-bit integers beyond 2^53. */
export function toFloat64(dtype: Dtype, bytes: Uint8Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const values = numbers(dtype, bytes);
  return values instanceof Float64Array ? (values as Float64Array<ArrayBuffer>) : new Float64Array(values);
}
