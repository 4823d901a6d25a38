import { FormatError, InputError, MissingTensorError } from '../errors.ts';
import type { Checkpoint, Dtype } from './checkpoint.ts';
import { isDtype, itemBytes, toFloat32, toFloat64 } from './dtype.ts';
import { quote } from './json.ts';
import { MAX_HEADER_BYTES, parseHeader, type TensorEntry } from './safetensors-header.ts';
import type { ByteSource } from './source.ts';

const PREFIX_BYTES = 8;

/**
 * Opens a safetensors file: reads and checks its header; tensors are read when asked for.
 *
 * The checkpoint's methods reject with MissingTensorError for an unknown name, FormatError for a dtype that preimage does
 * not read, InputError for elements out of range and SourceError when the bytes cannot be read. Closing the checkpoint closes `file`.
 *
 * @throws FormatError for a malformed file (`file` stays open); SourceError when it cannot be read.
 */
export async function openSafetensors(file: ByteSource): Promise<Checkpoint> {
  const headerBytes = await readHeaderBytes(file);
  const dataBegin = PREFIX_BYTES + headerBytes;
  const json = await file.read(PREFIX_BYTES, dataBegin);
  const { entries, metadata } = parseHeader(file.name, json, file.sizeBytes - dataBegin);

  function entry(tensor: string): TensorEntry & { readonly dtype: Dtype } {
    const found = entries.get(tensor);
    if (found === undefined) {
      throw new MissingTensorError(
        `${quote(tensor)} is not among the ${entries.size} tensors of ${file.name}.`,
        'Compare the name with the keys of checkpoint.tensors.',
      );
    }
    const { dtype } = found;
    if (isDtype(dtype)) return { ...found, dtype };
    throw new FormatError(
      `${quote(tensor)} in ${file.name} has the dtype ${dtype}.`,
      `Convert it to one that preimage reads: ${Object.keys(itemBytes).join(', ')}.`,
    );
  }

  async function bytes(tensor: string, begin?: number, end?: number): Promise<Uint8Array<ArrayBuffer>> {
    const { dtype, begin: first, end: last } = entry(tensor);
    const size = itemBytes[dtype];
    const count = (last - first) / size;
    const from = begin ?? 0;
    const to = end ?? count;
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || from > to || to > count) {
      throw new InputError(
        `Elements [${from}, ${to}) of ${quote(tensor)} in ${file.name} do not exist: it has ${count}.`,
        'Ask for a range of whole numbers inside the tensor.',
      );
    }
    return file.read(dataBegin + first + from * size, dataBegin + first + to * size);
  }

  return {
    name: file.name,
    tensors: entries,
    metadata,
    bytes,
    float32: async (tensor, begin, end) => toFloat32(entry(tensor).dtype, await bytes(tensor, begin, end)),
    float64: async (tensor, begin, end) => toFloat64(entry(tensor).dtype, await bytes(tensor, begin, end)),
    close: () => file.close(),
  };
}

async function readHeaderBytes(file: ByteSource): Promise<number> {
  const fail = (what: string) =>
    new FormatError(`${file.name}: ${what}.`, 'Is it a safetensors file, downloaded to the end? Fetch it again.');
  if (file.sizeBytes < PREFIX_BYTES + 2) {
    throw fail(`${file.sizeBytes} bytes are too few for a safetensors file (at least ${PREFIX_BYTES + 2})`);
  }
  const prefix = await file.read(0, PREFIX_BYTES);
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  if (length < 2n) throw fail(`the header is said to be ${length} bytes long, too short for '{}'`);
  if (length > MAX_HEADER_BYTES) throw fail(`the header is said to be ${length} bytes long, over ${MAX_HEADER_BYTES}`);
  if (Number(length) + PREFIX_BYTES > file.sizeBytes) {
    throw fail(`the header is said to be ${length} bytes long, but the file has ${file.sizeBytes}`);
  }
  return Number(length);
}
