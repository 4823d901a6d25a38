import code from '../../shaders/embedding.wgsl?raw';
import vjpCode from '../../shaders/embedding-vjp.wgsl?raw';
import type { Context } from '../gpu/context.ts';
import { empty, type Tensor, upload } from '../tensor/tensor.ts';
import { elementGrid } from './kernels.ts';
import { apply, expectOneSet, type Op, type PerInput } from './op.ts';

const shader = { file: 'shaders/embedding.wgsl', code };
const vjpShader = { file: 'shaders/embedding-vjp.wgsl', code: vjpCode };

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

/** Which rows are read. */
interface Reading {
  readonly context: Context;
  readonly ids: Uint32Array;
  /** Rows of the positions; left out without them. */
  readonly at?: Uint32Array;
  readonly width: number;
  /** Rows of each chunk of the table. */
  readonly counts: readonly number[];
}

type Tables = readonly [positions: Tensor | undefined, ...chunks: (Tensor | undefined)[]];

/** The rows read of tables, of which those left out count as zero. */
function readRows(tables: PerInput<Tables>, { context, ids, at, width, counts }: Reading): Tensor {
  const [positions, ...chunks] = tables;
  const y = empty(context, [ids.length, width], 'f32', 'embedding');
  if (y.size === 0) return y;
  const idTensor = upload(context, ids);
  const atTensor = positions && upload(context, at!);
  let first = 0;
  counts.forEach((count, i) => {
    const constants = { ADD_TABLE: Number(chunks[i] !== undefined), ADD_POSITION: Number(positions !== undefined) };
    context.run({
      kernel: { shader, entry: 'main', constants },
      buffers: [idTensor.buffer, chunks[i]?.buffer, atTensor?.buffer, positions?.buffer, y.buffer],
      uniforms: [ids.length, width, first, count],
      workgroups: elementGrid(y.size),
      cost: 2 * y.size,
    });
    first += count;
  });
  idTensor.dispose();
  atTensor?.dispose();
  return y;
}

/** Rows sorted by the row of a table that each reads. */
interface SortedRows {
  /** [rows of the table + 1]: rows that read v are order[starts[v]] .. order[starts[v + 1] - 1]. */
  readonly starts: Uint32Array;
  readonly order: Uint32Array;
}

/** A counting sort, stable: rows that read the same keep their order. */
function sortRows(indices: Uint32Array, counts: readonly number[]): SortedRows {
  const tableRows = counts.reduce((sum, count) => sum + count, 0);
  const starts = new Uint32Array(tableRows + 1);
  for (const index of indices) starts[index + 1]++;
  for (let v = 0; v < tableRows; v++) starts[v + 1] += starts[v];
  const next = starts.slice();
  const order = new Uint32Array(indices.length);
  indices.forEach((index, row) => {
    order[next[index]++] = row;
  });
  return { starts, order };
}

/** The gradient of each wanted chunk of a table, of which row `indices[r]` was read into row r. */
function gradients(
  dy: Tensor,
  indices: Uint32Array,
  { width, counts, wants }: { width: number; counts: readonly number[]; wants: readonly boolean[] },
): (Tensor | undefined)[] {
  if (!wants.includes(true)) return [];
  const { context } = dy;
  const sorted = sortRows(indices, counts);
  const order = upload(context, sorted.order);
  const starts = upload(context, sorted.starts);
  let end = 0;
  return counts.map((count, i) => {
    const first = end;
    end += count;
    if (!wants[i]) return undefined;
    const dtable = empty(context, [count, width], 'f32', 'embedding-vjp');
    context.run({
      kernel: { shader: vjpShader, entry: 'main' },
      buffers: [dy.buffer, order.buffer, starts.buffer, dtable.buffer],
      uniforms: [count, width, first],
      workgroups: elementGrid(dtable.size),
      cost: dtable.size + dy.size,
    });
    return dtable;
  });
}

const reading: Op<Tables, Reading> = {
  name: 'embedding',
  forward: (tables, options) => ({ value: readRows(tables, options) }),
  vjp(dy, { inputs: [positions], value }, [wantsPositions, ...wants], { ids, at, width, counts }) {
    expectOneSet(dy, value);
    const added = positions && { width, counts: [positions.shape[0]], wants: [wantsPositions] };
    const [dpositions] = added ? gradients(dy, at!, added) : [];
    return [dpositions, ...gradients(dy, ids, { width, counts, wants })];
  },
  jvp(tangents, { inputs }, options) {
    tangents.forEach((tangent, i) => {
      if (tangent) expectOneSet(tangent, inputs[i]!);
    });
    return readRows(tangents, options);
  },
};

/**
 * Rows of a table by index, plus rows of another where asked for. Indices are the caller's to check.
 * @returns [ids.length, width]
 */
export function embedding(context: Context, table: Table, ids: Uint32Array, added?: AddedRows): Tensor {
  const { width, chunks } = table;
  const counts = chunks.map(({ shape }) => shape[0]);
  // Copies, as a recording may outlive what the caller does with its arrays.
  const indices = { ids: ids.slice(), at: added?.at.slice() };
  return apply(reading, [added?.positions, ...chunks], { context, ...indices, width, counts });
}
