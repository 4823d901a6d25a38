import code from '../../shaders/dot-rows.wgsl?raw';
import { ShapeError } from '../errors.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import type { Table } from './embedding.ts';
import { elementGrid, expectSize, matrixShape } from './kernels.ts';
import { expectUntracked } from './op.ts';

const shader = { file: 'shaders/dot-rows.wgsl', code };

/**
 * Inner products of each row with the table rows picked for it, plus the bias of those: what a matrix product gives at
 * a few columns.
 * @param x [rows, width]
 * @param table [vocabulary, width]
 * @param ids [rows, picks] u32; the caller's to check.
 * @param bias [vocabulary]
 * @returns [rows, picks]
 * @throws ShapeError, and InputError where a derivative by x is being recorded.
 */
export function dotRows(x: Tensor, table: Table, ids: Tensor, bias?: Tensor): Tensor {
  expectUntracked('dotRows', x);
  const { context } = x;
  const { rows, width } = matrixShape(x);
  const { rows: idRows, width: picks } = matrixShape(ids);
  if (width !== table.width || idRows !== rows) {
    throw new ShapeError(
      `No products of [${x.shape}] with rows of [${table.rows}, ${table.width}] picked by [${ids.shape}].`,
      'Give each row its picks, and a table of its width.',
    );
  }
  if (bias) expectSize('The bias', bias, [table.rows]);
  const y = empty(context, [rows, picks], 'f32', 'dot-rows');
  let first = 0;
  for (const chunk of table.chunks) {
    const count = chunk.shape[0];
    context.run({
      kernel: { shader, entry: 'main', constants: { HAS_BIAS: Number(bias !== undefined) } },
      buffers: [x.buffer, chunk.buffer, ids.buffer, bias?.buffer, y.buffer],
      uniforms: [y.size, picks, width, first, count],
      workgroups: elementGrid(y.size),
      cost: 2 * y.size * width,
    });
    first += count;
  }
  return y;
}
