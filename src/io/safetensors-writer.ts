import { FormatError } from '../errors.ts';
import { sizeOf } from '../reference/shape.ts';
import type { Dtype, TensorInfo } from './checkpoint.ts';
import { encodeBF16, encodeF16, itemBytes } from './dtype.ts';
import { quote } from './json.ts';

/** Typed arrays a tensor can be written from. */
export type TensorData =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | BigUint64Array
  | Uint32Array
  | Uint16Array
  | Uint8Array;

/**
 * A tensor to write. `data` holds the values row-major: floats of either width for F64, F32, F16 and BF16 (rounded to
 * nearest, ties to even), the array of the same kind for integers, Uint8Array for BOOL. For any dtype a Uint8Array may
 * hold the stored bytes as they are, as `Checkpoint.bytes` returns them.
 */
export interface TensorToWrite extends TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  readonly data: TensorData;
}

/**
 * Lays tensors out as a safetensors file: header padded with spaces to a multiple of 8, tensors sorted by falling item
 * size, then name, so that each lies aligned.
 *
 * @throws FormatError for two tensors of one name, a shape that does not fit the data, or data of another kind.
 * Source: https://github.com/huggingface/safetensors#format
 */
export function encodeSafetensors(
  tensors: readonly TensorToWrite[],
  metadata?: ReadonlyMap<string, string> | Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  const sorted = [...tensors].sort(
    (a, b) => itemBytes[b.dtype] - itemBytes[a.dtype] || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
  const fields: string[] = [];
  const pairs = metadata instanceof Map ? [...metadata] : Object.entries(metadata ?? {});
  if (pairs.length > 0) {
    fields.push(`"__metadata__":{${pairs.map(([key, text]) => `${JSON.stringify(key)}:${JSON.stringify(text)}`)}}`);
  }
  const names = new Set<string>();
  let dataBytes = 0;
  for (const tensor of sorted) {
    checkTensor(tensor, names);
    names.add(tensor.name);
    const { name, dtype, shape } = tensor;
    const end = dataBytes + sizeOf(shape) * itemBytes[dtype];
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [dataBytes, end] })}`);
    dataBytes = end;
  }

  const json = new TextEncoder().encode(`{${fields}}`);
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const file = new Uint8Array(8 + headerBytes + dataBytes);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerBytes), true);
  file.fill(0x20, 8, 8 + headerBytes);
  file.set(json, 8);
  let at = 8 + headerBytes;
  for (const { dtype, data } of sorted) {
    const bytes = storedBytes(dtype, data);
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}

function checkTensor({ name, dtype, shape, data }: TensorToWrite, taken: ReadonlySet<string>): void {
  const fail = (what: string, cure: string) => new FormatError(`Tensor ${quote(name)} ${what}.`, cure);
  if (taken.has(name)) throw fail('is given twice', 'Give each tensor its own name.');
  if (name === '__metadata__') throw fail('has the name of the metadata', 'Give the tensor another name.');
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw fail(`has the shape [${shape}]`, 'Every size must be a whole number >= 0.');
  }
  if (!accepts(dtype, data)) {
    throw fail(
      `is to be ${dtype}, but its data is a ${data.constructor.name}`,
      'Pass the typed array of that dtype, or the stored bytes as a Uint8Array.',
    );
  }
  const raw = data instanceof Uint8Array;
  const want = sizeOf(shape) * (raw ? itemBytes[dtype] : 1);
  if (data.length !== want) {
    throw fail(
      `of shape [${shape}] takes ${want} ${raw ? 'bytes' : 'values'}, but its data has ${data.length}`,
      'Pass data that fills the shape.',
    );
  }
}

const integerArrays = {
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U64: BigUint64Array,
  U32: Uint32Array,
  U16: Uint16Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;

function accepts(dtype: Dtype, data: TensorData): boolean {
  if (data instanceof Uint8Array) return true;
  if (dtype === 'F64' || dtype === 'F32' || dtype === 'F16' || dtype === 'BF16') {
    return data instanceof Float32Array || data instanceof Float64Array;
  }
  return data instanceof integerArrays[dtype];
}

function storedBytes(dtype: Dtype, data: TensorData): Uint8Array {
  let stored = data;
  if (data instanceof Float32Array || data instanceof Float64Array) {
    if (dtype === 'F64') stored = Float64Array.from(data);
    else if (dtype === 'F32') stored = Float32Array.from(data);
    else stored = Uint16Array.from(data, dtype === 'F16' ? encodeF16 : encodeBF16);
  }
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
}
