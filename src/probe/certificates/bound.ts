import { CholeskyDecomposition, Matrix } from 'ml-matrix';
import { InputError } from '../../errors.ts';
import { addRows, dot, matrixFrom, product, rowsOf } from '../../linalg/dense.ts';
import { solvePositive } from '../../linalg/positive.ts';
import { norm as length } from '../../linalg/vector.ts';
import { type ActivationName, activations } from '../../reference/activation.ts';
import { expectShape } from '../../reference/shape.ts';
import { columnsFrom, normed, rowsFrom } from './normed.ts';

import type { MlpBlock, Region, Subject } from './types.ts';

const ROUNDING = 1e-12;
/** Of the mean energy of an output, what is added to all in the search for a direction with little of it. */
const RIDGES = [0.1, 1e-3];

/** Activations that fall to a lowest point and then rise: below what they stay above, and about where that is. */
const DIPS: Partial<Record<ActivationName, { readonly floor: number; readonly at: number }>> = {
  gelu: { floor: -0.17, at: -0.7518 }, // -0.16997...
  gelu_new: { floor: -0.1701, at: -0.7525 }, // -0.17004...
  gelu_fast: { floor: -0.1701, at: -0.7525 },
  silu: { floor: -0.2785, at: -1.2785 }, // -0.27846...
};

/** The least value of an activation from `low` to `high`, or a little less. */
function least(name: ActivationName, low: number, high: number): number {
  const f = activations[name];
  const dip = DIPS[name];
  if (!dip) return f(low); // it rises throughout
  if (high < dip.at - 0.01) return f(high);
  return low > dip.at + 0.01 ? f(low) : dip.floor;
}

/**
 * How far the outputs of an MLP after a LayerNorm reach in a direction u. With `c = W2 u` (a number for each hidden unit)
 * and `a_j = axis_j . z + bias_j` what the units see of the normed row z, |z| < sqrt(d), a_j stays within
 * `bias_j -+ sqrt(d) |axis_j|`, and `u . y = u . b2 + sum of c_j f(a_j)`.
 *
 *   - Units with c_j < 0 add at most c_j times the least value of f in their interval.
 *   - Units with c_j > 0: *box*: c_j times the greatest, which lies at an end, as f rises, or falls and then rises. Or
 *     *split*: every activation here has f(a) <= max(a, 0) = (a + |a|) / 2, where
 *     `sum of c_j a_j <= sqrt(d) |sum of c_j axis_j| + c . bias`, and by Cauchy and Schwarz for any weights w_j > 0
 *     `sum of c_j |a_j| <= sqrt(sum of c_j^2 / w_j) sqrt(sum of w_j a_j^2)`, the last at most
 *     `sqrt(d) |diag(sqrt w) axes| + |sqrt(w) bias|` in the spectral norm; w = c and w = 1 are tried.
 *
 * The target's own direction is tried, then those that turn away from where the outputs are large: (E + ridge)^-1 (y - b2),
 * `E = sum of |axis_j|^2 w_j w_j^T`, w_j the rows of W2. They exclude targets up to several times nearer.
 * @throws InputError for an MLP without LayerNorm: nothing bounds its outputs. ShapeError.
 */
export function bound(block: MlpBlock, subject: Subject = { block }): Region {
  if (!block.norm) {
    throw new InputError('The outputs of an MLP without LayerNorm have no bound.', 'Ask for a cone instead.');
  }
  const norm = normed(block.norm);
  const { width, radius } = norm;
  const { activation } = block;
  const f = activations[activation];
  const inner = block.inBias.length;
  expectShape('bound: inWeight', block.inWeight, [width, inner]);
  expectShape('bound: outWeight', block.outWeight, [inner, width]);
  expectShape('bound: outBias', block.outBias, [width]);
  const columns = columnsFrom(block.inWeight, inner);
  const axes = columns.map(norm.axis); // (inner, d)
  const bias = Float64Array.from(columns, (column, j) => norm.centre(column) + block.inBias[j]); // (inner)
  const out = rowsFrom(block.outWeight, width); // (inner, d)
  const offset = Float64Array.from(block.outBias);
  const reach = Float64Array.from(axes, (axis) => radius * length(axis)); // (inner)
  const [lows, highs] = [bias.map((b, j) => b - reach[j]), bias.map((b, j) => b + reach[j])];
  const size = length(offset) + out.reduce((sum, row, j) => sum + length(row) * (Math.abs(bias[j]) + reach[j]), 0);
  let evenly: number | undefined;
  let energy: Matrix | undefined;

  /** sqrt(sum of w_j a_j^2) at most. */
  function spread(w: Float64Array): number {
    const root = w.map(Math.sqrt);
    return (
      radius * spectralNorm(axes.map((axis, j) => axis.map((value) => root[j] * value))) + length(multiply(root, bias))
    );
  }

  return {
    kind: 'bound',
    subject,
    width,
    offset,
    support(u) {
      const c = Float64Array.from(out, (row) => dot(row, u)); // (inner)
      const up = c.map((value) => Math.max(value, 0));
      let negative = 0;
      let box = 0;
      c.forEach((factor, j) => {
        if (factor < 0) negative += factor * least(activation, lows[j], highs[j]);
        else box += factor * Math.max(f(lows[j]), f(highs[j]));
      });
      const total = up.reduce((sum, value) => sum + value, 0);
      evenly ??= spread(new Float64Array(inner).fill(1));
      const sizes = Math.min(Math.sqrt(total) * spread(up), length(up) * evenly);
      const along = radius * length(addRows(new Float64Array(width), up, axes)) + dot(up, bias);
      return dot(u, offset) + negative + Math.min(box, (along + sizes) / 2) + ROUNDING * size;
    },
    *directions(target) {
      const rest = target.map((value, i) => value - offset[i]);
      yield rest;
      // Where the outputs are not round, a direction in which they reach less far.
      energy ??= energyOf(out.map((row, j) => row.map((value) => reach[j] * value)));
      for (const share of RIDGES) {
        const ridge = Matrix.eye(width).mul((share * energy.trace()) / width || 1);
        yield Float64Array.from(solvePositive(energy.clone().add(ridge), matrixFrom(rest, 1)).to1DArray());
      }
    },
  };
}

/** A^T A */
function energyOf(rows: readonly Float64Array[]): Matrix {
  const a = new Matrix(rows as Float64Array[]);
  return product(a.transpose(), a);
}

const multiply = (a: Float64Array, b: Float64Array): Float64Array => a.map((value, i) => value * b[i]);

/** Rounds of the power method: an estimate from below. */
const ROUNDS = 40;
const SLACK = 1e-9;

/**
 * An upper bound, within a percent or so, of the spectral norm of a matrix: what the power method suggests is proved by a
 * Cholesky factor of `t I - A^T A`, which exists only for t above all squared singular values.
 * @param rows A
 * @returns Infinity for numbers too large to square.
 */
export function spectralNorm(rows: readonly Float64Array[]): number {
  const a = new Matrix(rows as Float64Array[]);
  const gram = a.rows < a.columns ? product(a, a.transpose()) : product(a.transpose(), a);
  const gramRows = rowsOf(gram);
  let v = Float64Array.from(gramRows, (_, i) => 2 + Math.cos(i));
  let estimate = 0;
  for (let round = 0; round < ROUNDS && length(v) > 0; round++) {
    const next = addRows(new Float64Array(v.length), v, gramRows);
    estimate = length(next) / length(v);
    v = next.map((value) => value / (estimate || 1));
  }
  let t = estimate || gram.norm();
  if (t === 0) return 0;
  for (let step = 1.005; Number.isFinite(t); step *= step) {
    t *= step;
    if (new CholeskyDecomposition(Matrix.eye(gram.rows).mul(t).sub(gram)).isPositiveDefinite()) break;
  }
  return Number.isFinite(t) ? Math.sqrt(t) * (1 + SLACK) : Number.POSITIVE_INFINITY;
}
