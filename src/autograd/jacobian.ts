import { ShapeError } from '../errors.ts';
import { replaceColumns } from '../ops/slice.ts';
import { empty, reshape, type Tensor, upload } from '../tensor/tensor.ts';
import type { Differentiable } from './grad.ts';
import { type Linearization, linearize } from './tape.ts';

/**
 * The whole Jacobian of a function, a column for each element of its input. For functions of any kind; where the rows
 * of a matrix are independent, `rowJacobians` costs far less.
 * @param x n elements of any shape.
 * @returns [m, n] for a value of m elements.
 */
export function jacobian(f: Differentiable, x: Tensor): Tensor {
  const { context, shape, size: n } = x;
  return context.scope(() => {
    const at = linearize(f, [x]);
    const m = at.value.size;
    let columns = empty(context, [m, n], 'f32', 'jacobian');
    for (let i = 0; i < n; i++) {
      const next = context.scope(() => {
        const column = reshape(at.jvp([upload(context, unit(n, i), shape)]), [m, 1]);
        return replaceColumns(columns, i, column);
      });
      columns.dispose();
      columns = next;
    }
    return columns;
  });
}

function unit(n: number, i: number): Float32Array {
  const e = new Float32Array(n);
  e[i] = 1;
  return e;
}

/**
 * The Jacobian of each row of a map that treats rows independently, by one batch of cotangents: set j asks for output j
 * of every row. Costs about m row evaluations for each row, in memory too.
 * @param at A linearization in one input x [B, n] with value [B, m].
 * @returns [m, B, n]: entry (j, b, i) is the derivative of output j of row b by input i of row b.
 * @throws ShapeError for a value that is no matrix.
 */
export function rowJacobians(at: Linearization): Tensor {
  const { value } = at;
  const [rows = 0, m = 0] = value.shape;
  if (value.shape.length !== 2) {
    throw new ShapeError(`The Jacobian of each row is asked of a value [${value.shape}].`, 'It must be rows [B, m].');
  }
  return value.context.scope(() => {
    const sets = new Float32Array(m * rows * m); // (m, B, m)
    for (let j = 0; j < m; j++) for (let b = 0; b < rows; b++) sets[(j * rows + b) * m + j] = 1;
    const [gradient] = at.vjp(upload(value.context, sets, [m * rows, m])); // (m B, n)
    return reshape(gradient, [m, rows, gradient.size / (m * rows)]);
  });
}
