import code from '../../shaders/embedding.wgsl?raw';
import type { Context } from '../gpu/context.ts';
import { empty, type Tensor, upload } from '../tensor/tensor.ts';
import { elementGrid } from './kernels.ts';

const shader = { file: 'shaders/embedding.wgsl', code };

/** A table of rows, whole or in chunks that each fit one binding. */
export interface Table {
  readonly rows: number;
  readonly width: number;
  /** Consecutive pieces [count, width], in order. */
  readonly chunks: readonly Tensor[];
}

/** Rows that are added to those of the table: positions[at_r]. */
export interface AddedRows {
  /** [n, width] */
  readonly positions: Tensor;
  readonly at: Uint32Array;
}

/**
 * Rows of a table by index, plus rows of another where asked for. Indices are the caller's to check.
 * @returns [ids.length, width]
 */
export function embedding(context: Context, table: Table, ids: Uint32Array, added?: AddedRows): Tensor {
  const y = empty(context, [ids.length, table.width], 'f32', 'embedding');
  if (y.size === 0) return y;
  const idTensor = upload(context, ids);
  const at = added && upload(context, added.at);
  let first = 0;
  for (const chunk of table.chunks) {
    const count = chunk.shape[0];
    context.run({
      kernel: { shader, entry: 'main', constants: { ADD_POSITION: Number(added !== undefined) } },
      buffers: [idTensor.buffer, chunk.buffer, at?.buffer, added?.positions.buffer, y.buffer],
      uniforms: [ids.length, table.width, first, count],
      workgroups: elementGrid(y.size),
      cost: 2 * y.size,
    });
    first += count;
  }
  idTensor.dispose();
  at?.dispose();
  return y;
}
