import type { Tensor } from '../tensor/tensor.ts';
import { rowJacobians } from './jacobian.ts';
import { linearize } from './tape.ts';

/** A map of independent rows at B points. Derivatives may come in k sets, [k B, d]: each row k times at its point. */
export interface RowLinearization extends Disposable {
  /** [B, d] */
  readonly value: Tensor;
  /** J dx of each row. @param tangents [B, d] or k sets. */
  jvp(tangents: Tensor): Tensor;
  /** J^T dy of each row. @param cotangents [B, d] or k sets. */
  vjp(cotangents: Tensor): Tensor;
  /** The Jacobian of each row, [d, B, d]: (j, b, i) is the derivative of output j of row b by input i of row b. */
  jacobians(): Tensor;
  dispose(): void;
}

/**
 * A map of independent rows at the rows given, with what its derivatives need. It belongs to the scope it is made in.
 * @param f From rows [B, d] to rows [B, d], each of which depends on its own row alone.
 */
export function linearizeRows(f: (rows: Tensor) => Tensor, rows: Tensor): RowLinearization {
  const { context } = rows;
  const at = context.unscoped(() => linearize(f, [rows]));
  const linearization: RowLinearization = {
    value: at.value,
    jvp: (tangents) => at.jvp([tangents]),
    vjp: (cotangents) => at.vjp(cotangents)[0],
    jacobians: () => rowJacobians(at),
    dispose: at.dispose,
    [Symbol.dispose]: at.dispose,
  };
  context.track(linearization);
  return linearization;
}
