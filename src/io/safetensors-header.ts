import { FormatError } from '../errors.ts';
import { sizeOf } from '../reference/shape.ts';
import type { TensorInfo } from './checkpoint.ts';
import { isDtype, itemBytes } from './dtype.ts';
import { isObject, parseJson, quote } from './json.ts';

/** A tensor and where its bytes lie: [begin, end) of the data, which follows the header. */
export interface TensorEntry extends TensorInfo {
  readonly begin: number;
  readonly end: number;
}

/** A checked header. Maps, because a tensor may have any name, `__proto__` too. */
export interface SafetensorsHeader {
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly metadata: ReadonlyMap<string, string>;
}

/** Largest header that is read, in bytes: the limit of the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000;

const CURE = 'Download the file again, or convert the checkpoint to safetensors anew.';

/**
 * Parses and checks the JSON header of a safetensors file: sane shapes, bytes that match the shapes where the type is
 * known, and tensors that fill the data without overlap, hole or trailing byte.
 *
 * @param file What to call the file in messages.
 * @param json The header's bytes, without the length in front.
 * @param dataBytes How many bytes follow the header in the file.
 * @throws FormatError naming the file, the tensor and the values that disagree.
 * Source: https://github.com/huggingface/safetensors#format
 */
export function parseHeader(file: string, json: Uint8Array, dataBytes: number): SafetensorsHeader {
  if (json[0] !== 0x7b) throw new FormatError(`${file}: the header does not begin with '{'.`, CURE);
  const header = parseJson(file, json);
  if (!isObject(header)) throw new FormatError(`${file}: the header is not a JSON object.`, CURE);

  const entries = new Map<string, TensorEntry>();
  let metadata: ReadonlyMap<string, string> = new Map();
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') metadata = parseMetadata(file, value);
    else entries.set(name, parseEntry(`${file}: tensor ${quote(name)}`, value, dataBytes));
  }
  checkCoverage(file, entries, dataBytes);
  return { entries, metadata };
}

function parseMetadata(file: string, value: unknown): Map<string, string> {
  if (!isObject(value)) throw new FormatError(`${file}: __metadata__ is not a JSON object.`, CURE);
  const metadata = new Map<string, string>();
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      throw new FormatError(`${file}: __metadata__ ${quote(key)} is ${typeof text}, not a string.`, CURE);
    }
    metadata.set(key, text);
  }
  return metadata;
}

function parseEntry(where: string, value: unknown, dataBytes: number): TensorEntry {
  const fail = (what: string) => new FormatError(`${where} ${what}.`, CURE);
  if (!isObject(value)) throw fail('is not described by a JSON object');
  const { dtype, shape, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !/^\w{1,32}$/.test(dtype)) throw fail(`has the dtype ${quote(String(dtype))}`);
  if (!isSizes(shape)) throw fail(`has the shape ${show(shape)}, not an array of whole numbers >= 0`);
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw fail(`has the data_offsets ${show(offsets)}, not two whole numbers >= 0`);
  }
  const [begin, end] = offsets;
  if (begin > end) throw fail(`has data_offsets that run backwards: [${begin}, ${end}]`);
  if (end > dataBytes) throw fail(`ends at byte ${end} of ${dataBytes} bytes of data (is the file truncated?)`);

  if (!isDtype(dtype)) return { dtype, shape, begin, end };

  // A zero makes the tensor empty whatever the other sizes are, so it must not hide behind an overflowing product.
  const count = shape.includes(0) ? 0 : sizeOf(shape);
  if (!Number.isSafeInteger(count * itemBytes[dtype])) throw fail(`has the shape ${show(shape)}, too large to address`);
  if (end - begin !== count * itemBytes[dtype]) {
    throw fail(`has ${end - begin} bytes, but ${dtype} ${show(shape)} takes ${count * itemBytes[dtype]}`);
  }
  return { dtype, shape, begin, end };
}

function checkCoverage(file: string, entries: ReadonlyMap<string, TensorEntry>, dataBytes: number): void {
  let covered = 0;
  for (const [name, { begin, end }] of [...entries].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== covered) {
      const what = begin < covered ? 'overlaps the tensor before it' : 'leaves a hole before it';
      const values = `it begins at byte ${begin}, the tensor before it ends at ${covered}`;
      throw new FormatError(`${file}: tensor ${quote(name)} ${what} (${values}).`, CURE);
    }
    covered = end;
  }
  if (covered !== dataBytes) {
    throw new FormatError(`${file}: the tensors end at byte ${covered}, the data at ${dataBytes}.`, CURE);
  }
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? 'missing';
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}
