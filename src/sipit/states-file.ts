import { FormatError, InputError } from '../errors.ts';
import type { Checkpoint } from '../io/checkpoint.ts';
import { quote } from '../io/json.ts';
import { encodeSafetensors } from '../io/safetensors-writer.ts';
import type { StateRecord } from './types.ts';

/**
 * Writes states as safetensors: `states` for one record, `states.0`, `states.1`, ... for more; metadata `layer` and
 * `model` (the digest of the weights). No token ids: the file holds nothing but what an inversion may use.
 *
 * @param records All of one layer; their dtype says how they are stored.
 * @throws InputError when the records are of several layers, or none.
 */
export function encodeStates(records: readonly StateRecord[]): Uint8Array<ArrayBuffer> {
  const [first] = records;
  if (!first || records.some(({ layer, model }) => layer !== first.layer || model !== first.model)) {
    throw new InputError(
      'A states file holds one or more records of one layer of one model.',
      'Write a file for each layer.',
    );
  }
  const tensors = records.map(({ values, width, dtype }, i) => ({
    name: records.length === 1 ? 'states' : `states.${i}`,
    dtype,
    shape: [values.length / width, width],
    data: dtype === 'F64' ? Float64Array.from(values) : values,
  }));
  return encodeSafetensors(tensors, { layer: String(first.layer), ...(first.model && { model: first.model }) });
}

/** Choices where a file leaves them open. */
export interface ReadStatesOptions {
  /** Takes the place of the metadata `layer`. */
  readonly layer?: number;
}

/** The records of a states file, and what else it holds. */
export interface StatesFile {
  readonly records: readonly StateRecord[];
  /** Tensors that are no records, and why. */
  readonly skipped: readonly { readonly name: string; readonly reason: string }[];
}

/**
 * Reads every record of a states file: ours, or one of other software with [T, d] or [1, T, d] float tensors under any
 * names. Records come in the order of their numbers, then names. Where the matrices differ in width (attention masks,
 * positions), those of the largest matrix's width are taken.
 *
 * @throws InputError when the layer is neither in the file nor given; FormatError when there is no such tensor.
 */
export async function readStates(file: Checkpoint, options: ReadStatesOptions = {}): Promise<StatesFile> {
  const layer = options.layer ?? layerOf(file);
  const model = file.metadata.get('model');
  const skipped: { name: string; reason: string }[] = [];
  const matrices: Matrix[] = [];
  for (const [name, { dtype, shape }] of [...file.tensors].sort(([a], [b]) => byNumber.compare(a, b))) {
    const matrix = shape.length === 3 && shape[0] === 1 ? shape.slice(1) : shape;
    if (!isFloat(dtype)) skipped.push({ name, reason: `it holds ${dtype}, not floats` });
    else if (matrix.length !== 2) skipped.push({ name, reason: `its shape is [${shape}], not [T, d] or [1, T, d]` });
    else matrices.push({ name, dtype, rows: matrix[0], width: matrix[1] });
  }
  const [largest] = [...matrices].sort((a, b) => b.rows * b.width - a.rows * a.width);
  if (!largest) {
    const some = skipped.slice(0, 5).map(({ name, reason }) => `; ${quote(name)}: ${reason}`);
    throw new FormatError(
      `${file.name} holds no states${some.join('')}.`,
      'Save the residual states of one layer as one float tensor [T, d], one row for each position.',
    );
  }
  const records: StateRecord[] = [];
  for (const { name, dtype, width } of matrices) {
    if (width === largest.width) records.push({ name, layer, dtype, model, width, values: await file.float32(name) });
    else skipped.push({ name, reason: `its rows have ${width} values, those of ${largest.name} ${largest.width}` });
  }
  return { records, skipped };
}

interface Matrix {
  readonly name: string;
  readonly dtype: StateRecord['dtype'];
  readonly rows: number;
  readonly width: number;
}

const byNumber = new Intl.Collator('en', { numeric: true });

function isFloat(dtype: string): dtype is StateRecord['dtype'] {
  return ['F64', 'F32', 'F16', 'BF16'].includes(dtype);
}

function layerOf(file: Checkpoint): number {
  const text = file.metadata.get('layer');
  if (text !== undefined && /^\d+$/.test(text)) return Number(text);
  throw new InputError(
    `${file.name} does not say which layer its states are of${text === undefined ? '' : ` ("${text}")`}.`,
    'Pass --layer N (0 = embedding, L = after the last block, before the final LayerNorm).',
  );
}
