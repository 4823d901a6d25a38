import { FormatError, InputError } from '../errors.ts';
import type { Checkpoint } from '../io/checkpoint.ts';
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

/**
 * Reads every record of a states file: ours, or one of other software with 2-D or [1, T, d] float tensors under any names.
 * Records come in the order of their numbers, then names.
 *
 * @throws InputError when the layer is neither in the file nor given; FormatError when there is no such tensor.
 */
export async function readStates(file: Checkpoint, options: ReadStatesOptions = {}): Promise<StateRecord[]> {
  const records: StateRecord[] = [];
  const layer = options.layer ?? layerOf(file);
  const model = file.metadata.get('model');
  const collator = new Intl.Collator('en', { numeric: true });
  for (const [name, { dtype, shape }] of [...file.tensors].sort(([a], [b]) => collator.compare(a, b))) {
    const matrix = shape.length === 3 && shape[0] === 1 ? shape.slice(1) : shape;
    if (matrix.length !== 2 || !isFloat(dtype)) continue;
    records.push({ name, layer, dtype, model, width: matrix[1], values: await file.float32(name) });
  }
  if (records.length === 0) {
    const found = [...file.tensors].map(([name, { dtype, shape }]) => `${name} ${dtype} [${shape}]`).slice(0, 5);
    throw new FormatError(
      `${file.name} holds no float tensor of shape [T, d] or [1, T, d]; it has ${found.join(', ') || 'no tensors'}.`,
      'Save the residual states of one layer as one such tensor, one row for each position.',
    );
  }
  return records;
}

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
