import { dot } from '../linalg/dense.ts';
import { norm as length } from '../linalg/vector.ts';
import { expectShape } from '../reference/shape.ts';
import { spectralNorm } from './certificates/bound.ts';
import { columnsFrom, normed, rowsFrom } from './certificates/normed.ts';

import type { AttentionBlock, MlpBlock, NormBlock } from './certificates/types.ts';

/** Inner width above which a spectral norm, of d^3 operations, gives way to Frobenius' norm, which is above it. */
const WIDEST = 512;

/**
 * M >= sup |f(LN x)|, f the MLP of a pre-LN block: every preimage x of y under x + f(LN x) lies within M of y
 * (papers.md, section 2, point 1). With `LN x = gamma z + beta`, |z| < sqrt(d), and |activation(a)| <= |a|,
 *
 *     M = |b2| + |W2| (sqrt(d) |gamma W1| + |beta W1 + b1|),
 *
 * norms of matrices from above, gamma W1 taken on rows of mean 0.
 * @throws ShapeError
 */
export function mlpBound({ norm, inWeight, inBias, outWeight, outBias }: Required<MlpBlock>): number {
  const d = outBias.length;
  const inner = inBias.length;
  expectShape('mlpBound: inWeight', inWeight, [d, inner]);
  expectShape('mlpBound: outWeight', outWeight, [inner, d]);
  const hidden = imageOf(norm, columnsFrom(inWeight, inner), inBias);
  return length(Float64Array.from(outBias)) + normOf(rowsFrom(outWeight, d)) * hidden;
}

/**
 * The same for attention, behind any prefix: each head returns a mixture of the values it sees, and so no more than the
 * longest of them; `M = |bo| + sum over heads of |Wo_h| max(longest value in the prefix, longest own value)`.
 * @returns M as a function of the values of the prefix, [n, d].
 * @throws ShapeError
 */
export function attentionBound(block: Omit<AttentionBlock, 'values'>): (values: ArrayLike<number>) => number {
  const { norm, heads, valueWeight, valueBias, outWeight, outBias } = block;
  const d = outBias.length;
  const headDim = d / heads;
  expectShape('attentionBound: valueWeight', valueWeight, [d, d]);
  expectShape('attentionBound: outWeight', outWeight, [d, d]);
  const columns = columnsFrom(valueWeight, d);
  const out = rowsFrom(outWeight, d);
  const parts = Array.from({ length: heads }, (_, head) => {
    const [begin, end] = [head * headDim, (head + 1) * headDim];
    const bias = Array.from({ length: headDim }, (_, i) => valueBias[begin + i]);
    return { begin, own: imageOf(norm, columns.slice(begin, end), bias), factor: normOf(out.slice(begin, end)) };
  });
  const offset = length(Float64Array.from(outBias));
  return (values) => {
    let total = offset;
    for (const { begin, own, factor } of parts) {
      let longest = own;
      for (let row = begin; row < values.length; row += d) {
        let square = 0;
        for (let i = 0; i < headDim; i++) square += values[row + i] ** 2;
        longest = Math.max(longest, Math.sqrt(square));
      }
      total += factor * longest;
    }
    return total;
  };
}

/** The longest that `W^T LN(x) + b` can be. @param columns W by columns. */
function imageOf(norm: NormBlock, columns: readonly Float64Array[], bias: ArrayLike<number>): number {
  const { radius, axis } = normed(norm);
  const beta = Float64Array.from(norm.bias);
  const centre = Float64Array.from(columns, (column, j) => dot(column, beta) + bias[j]);
  return radius * normOf(columns.map(axis)) + length(centre);
}

/** A matrix's spectral norm, or more. */
function normOf(rows: readonly Float64Array[]): number {
  if (Math.min(rows.length, rows[0].length) <= WIDEST) return spectralNorm(rows);
  return Math.sqrt(rows.reduce((sum, row) => sum + dot(row, row), 0));
}
