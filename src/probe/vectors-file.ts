import { InputError } from '../errors.ts';
import { encodeSafetensors } from '../io/safetensors-writer.ts';
import type { Span } from './signs.ts';

/** The rows of one solve. */
export interface VectorsRecord {
  /** Rows before the position row is added, [n, d]: the prefix's, then the free vectors. */
  readonly inputs: Float32Array;
  /** States at the target's place, [n, d]: the prefix's own, then the targets. */
  readonly targets: Float32Array;
}

/** What all solves of a file share. */
export interface VectorsFacts extends Span {
  readonly width: number;
  /** Rows of the prefix: the index of the first free row. */
  readonly free: number;
  /** Digest of the weights. */
  readonly model: string;
}

/**
 * Writes found vectors as safetensors in F32: `inputs.i` and `targets.i` of solve i. Metadata: `layer`, where the targets
 * stand (n + 0.5: behind the attention of block n); `from`, where the inputs stand, 0 for the input; `free`, the index of
 * the first free row; `rows`, what the inputs are; `model`, the digest of the weights. With `from` 0 the inputs are what
 * transformers takes as `inputs_embeds`; else they are residual states, of the free rows only, and `free` is 0.
 * @throws InputError without a solve, or for rows of another width.
 */
export function encodeVectors(records: readonly VectorsRecord[], facts: VectorsFacts): Uint8Array<ArrayBuffer> {
  const { layer, from, width, free, model } = facts;
  if (records.length === 0) throw new InputError('There are no vectors to write.', 'Give at least one solve.');
  const tensors = records.flatMap(({ inputs, targets }, i) => {
    if (inputs.length !== targets.length || inputs.length % width !== 0) {
      throw new InputError(
        `Solve ${i} has ${inputs.length} numbers of inputs and ${targets.length} of targets; rows are ${width} wide.`,
        'Give as many target rows as input rows.',
      );
    }
    const shape = [inputs.length / width, width];
    return [
      { name: `inputs.${i}`, dtype: 'F32' as const, shape, data: inputs },
      { name: `targets.${i}`, dtype: 'F32' as const, shape, data: targets },
    ];
  });
  const rows =
    from === 0 ? 'token rows, before the position row is added (inputs_embeds)' : `residual states at place ${from}`;
  return encodeSafetensors(tensors, { layer: String(layer), from: String(from), free: String(free), rows, model });
}
