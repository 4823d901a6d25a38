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

/** A tensor to write whose data comes in pieces that together fill its shape, so that no copy of the whole is needed. */
export interface TensorToStream extends TensorInfo {
  readonly name: string;
  readonly dtype: Dtype;
  /** Called when the tensor's turn comes; each piece is as the `data` of a `TensorToWrite`. */
  pieces(): Iterable<TensorData> | AsyncIterable<TensorData>;
}

type Metadata = ReadonlyMap<string, string> | Readonly<Record<string, string>>;

/** A safetensors file that is written front to back. */
export interface SafetensorsStream {
  readonly sizeBytes: number;
  /**
   * The bytes of the file: the header, then each piece as it comes.
   * @throws FormatError for pieces of another kind, or that do not fill their tensor; what a tensor's `pieces` throws.
   */
  bytes(): AsyncGenerator<Uint8Array, void>;
}

/**
 * Lays tensors out as a safetensors file: header padded with spaces to a multiple of 8, tensors sorted by falling item
 * size, then name, so that each lies aligned.
 *
 * @throws FormatError for two tensors of one name, a shape that does not fit the data, or data of another kind.
 * Source: https://github.com/huggingface/safetensors#format
 */
export function encodeSafetensors(tensors: readonly TensorToWrite[], metadata?: Metadata): Uint8Array<ArrayBuffer> {
  const { sorted, header, sizeBytes } = layOut(tensors, metadata);
  const file = new Uint8Array(sizeBytes);
  file.set(header);
  let at = header.length;
  for (const tensor of sorted) {
    const bytes = storedBytes(tensor, tensor.data);
    checkFilled(tensor, bytes.length, tensor.data);
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}

/**
 * As `encodeSafetensors`, for tensors whose data comes one piece at a time.
 * @throws FormatError for two tensors of one name, or a shape that is none.
 */
export function streamSafetensors(tensors: readonly TensorToStream[], metadata?: Metadata): SafetensorsStream {
  const { sorted, header, sizeBytes } = layOut(tensors, metadata);
  async function* bytes(): AsyncGenerator<Uint8Array, void> {
    yield header;
    for (const tensor of sorted) {
      let filled = 0;
      for await (const piece of tensor.pieces()) {
        const stored = storedBytes(tensor, piece);
        filled += stored.length;
        yield stored;
      }
      checkFilled(tensor, filled);
    }
  }
  return { sizeBytes, bytes };
}

type Described = Pick<TensorToWrite, 'name' | 'dtype' | 'shape'>;

/** The order of the tensors, the file up to their data, and the length of the whole. */
function layOut<T extends Described>(tensors: readonly T[], metadata: Metadata = {}) {
  const sorted = [...tensors].sort(
    (a, b) => itemBytes[b.dtype] - itemBytes[a.dtype] || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
  const fields: string[] = [];
  const pairs = metadata instanceof Map ? [...metadata] : Object.entries(metadata);
  if (pairs.length > 0) {
    fields.push(`"__metadata__":{${pairs.map(([key, text]) => `${JSON.stringify(key)}:${JSON.stringify(text)}`)}}`);
  }
  const names = new Set<string>();
  let dataBytes = 0;
  for (const tensor of sorted) {
    checkDescription(tensor, names);
    names.add(tensor.name);
    const { name, dtype, shape } = tensor;
    const end = dataBytes + sizeOf(shape) * itemBytes[dtype];
    fields.push(`${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [dataBytes, end] })}`);
    dataBytes = end;
  }

  const json = new TextEncoder().encode(`{${fields}}`);
  const headerBytes = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + headerBytes).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(headerBytes), true);
  header.set(json, 8);
  return { sorted, header, sizeBytes: header.length + dataBytes };
}

const fail = ({ name }: Described, what: string, cure: string) =>
  new FormatError(`Tensor ${quote(name)} ${what}.`, cure);

function checkDescription(tensor: Described, taken: ReadonlySet<string>): void {
  const { name, shape } = tensor;
  if (taken.has(name)) throw fail(tensor, 'is given twice', 'Give each tensor its own name.');
  if (name === '__metadata__') throw fail(tensor, 'has the name of the metadata', 'Give the tensor another name.');
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw fail(tensor, `has the shape [${shape}]`, 'Every size must be a whole number >= 0.');
  }
}

/** @param data What the bytes were given as, for the message. */
function checkFilled(tensor: Described, bytes: number, data?: TensorData): void {
  const item = itemBytes[tensor.dtype];
  const want = sizeOf(tensor.shape);
  if (bytes === want * item) return;
  const [unit, size] = data === undefined || data instanceof Uint8Array ? ['bytes', 1] : ['values', item];
  throw fail(
    tensor,
    `of shape [${tensor.shape}] takes ${(want * item) / size} ${unit}, but its data has ${bytes / size}`,
    'Pass data that fills the shape.',
  );
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

/** @throws FormatError for data of another kind. */
function storedBytes(tensor: Described, data: TensorData): Uint8Array {
  const { dtype } = tensor;
  if (!accepts(dtype, data)) {
    throw fail(
      tensor,
      `is to be ${dtype}, but its data is a ${data.constructor.name}`,
      'Pass the typed array of that dtype, or the stored bytes as a Uint8Array.',
    );
  }
  let stored = data;
  if (data instanceof Float32Array || data instanceof Float64Array) {
    if (dtype === 'F64') stored = Float64Array.from(data);
    else if (dtype === 'F32') stored = data instanceof Float32Array ? data : Float32Array.from(data);
    else stored = Uint16Array.from(data, dtype === 'F16' ? encodeF16 : encodeBF16);
  }
  return new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
}
