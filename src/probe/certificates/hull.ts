import { inverse } from 'ml-matrix';
import { ShapeError } from '../../errors.ts';
import { addRows, dot, matrixFrom, type Rows, rowsOf } from '../../linalg/dense.ts';
import { norm as length } from '../../linalg/vector.ts';
import { countRows, expectShape } from '../../reference/shape.ts';
import { type Atom, nearestPoint } from './nearest-point.ts';
import { columnsFrom, normed, rowsFrom } from './normed.ts';

import type { AttentionBlock, Region, Subject } from './types.ts';

const ROUNDING = 1e-13;
/** A head's output this near to its hull, relative to itself, counts as inside. */
const INSIDE = 1e-9;

/**
 * Where the outputs of softmax attention alone lie. A head returns a mixture of the prefix's values and of the row's own
 * value, which is the image of the LayerNorm's ellipsoid under W_v: so o_h stays in the hull C_h of their union, with the
 * support function `max(max_t c . V_t, c . b + sqrt(d) |sum of c_i axis_i|)`. The outputs are `y = b_o + sum of o_h W_h`, so
 * `u . y <= u . b_o + sum over h of support(C_h, W_h u)`.
 *
 * The search goes head by head: `o = (y - b_o) W_o^-1`, and c from the point of C_h nearest to o_h. The direction in the
 * residual stream is `u = W_o^-1 c`, which the other heads do not move along. As the bound is taken there, the condition
 * of W_o (1000 and more) costs margin, never truth. Windowed attention sees fewer values: the bound holds for it too.
 * @throws ShapeError when the matrices do not fit together.
 */
export function hull(block: AttentionBlock, subject: Subject = { block }): Region {
  const norm = normed(block.norm);
  const { width, radius } = norm;
  const { heads } = block;
  expectShape('hull: valueWeight', block.valueWeight, [width, width]);
  expectShape('hull: outWeight', block.outWeight, [width, width]);
  expectShape('hull: outBias', block.outBias, [width]);
  expectShape('hull: valueBias', block.valueBias, [width]);
  countRows('hull: values', block.values, width);
  if (!Number.isInteger(width / heads)) {
    throw new ShapeError(`hull: ${heads} heads do not divide a width of ${width}.`, 'Give the heads of the block.');
  }
  const headDim = width / heads;
  const columns = columnsFrom(block.valueWeight, width); // a column for each coordinate of the values
  const axes = columns.map(norm.axis);
  const centres = Float64Array.from(columns, (column, i) => norm.centre(column) + block.valueBias[i]); // (d)
  const prefix = rowsFrom(block.values, width); // (n, d)
  const out = rowsFrom(block.outWeight, width); // row i: what coordinate i of the heads adds
  const offset = Float64Array.from(block.outBias);
  let inverted: Rows | undefined;

  const outSize = Math.sqrt(out.reduce((sum, row) => sum + dot(row, row), 0));
  const ownSize = length(centres) + radius * Math.sqrt(axes.reduce((sum, axis) => sum + dot(axis, axis), 0));
  const size = length(offset) + outSize * prefix.reduce((most, values) => Math.max(most, length(values)), ownSize);

  /** The farthest point of a head's hull in a direction, `[headDim]` both. */
  function farthest(head: number, c: Float64Array): { value: number; point: Float64Array } {
    const [begin, end] = [head * headDim, (head + 1) * headDim];
    const axis = addRows(new Float64Array(width), c, axes.slice(begin, end)); // (d)
    const reach = radius * length(axis);
    let value = dot(c, centres.subarray(begin, end)) + reach;
    let values: Float64Array | undefined;
    for (const row of prefix) {
      const along = dot(c, row.subarray(begin, end));
      if (along > value) [value, values] = [along, row];
    }
    if (values) return { value, point: values.slice(begin, end) };
    const step = reach > 0 ? (radius * radius) / reach : 0;
    const own = (_: number, i: number) => centres[begin + i] + step * dot(axes[begin + i], axis);
    return { value, point: new Float64Array(headDim).map(own) };
  }

  /** A direction along which o lies outside of the head's hull, if it does. @param o `[headDim]` */
  function away(head: number, o: Float64Array): Float64Array {
    const atom = (c: Float64Array): Atom => ({
      vector: farthest(head, c).point.map((value, i) => value - o[i]),
      isRay: false,
    });
    const { point } = nearestPoint(atom(o), (x) => {
      const next = atom(x.map((value) => -value));
      const square = dot(x, x);
      const isDone = square < (INSIDE * length(o)) ** 2 || dot(x, next.vector) > square / 2;
      return isDone ? undefined : next;
    });
    return point.map((value) => -value);
  }

  return {
    kind: 'hull',
    subject,
    width,
    offset,
    support(u) {
      let bound = dot(u, offset) + ROUNDING * width * size;
      const c = Float64Array.from(out, (row) => dot(row, u)); // (d)
      for (let h = 0; h < heads; h++) bound += farthest(h, c.subarray(h * headDim, (h + 1) * headDim)).value;
      return bound;
    },
    detail(u) {
      const parts = Array.from({ length: heads }, (_, h) => out.slice(h * headDim, (h + 1) * headDim));
      const sizes = parts.map((rows) => length(Float64Array.from(rows, (row) => dot(row, u))));
      return `head ${sizes.indexOf(Math.max(...sizes))}`;
    },
    *directions(target) {
      inverted ??= rowsOf(inverse(matrixFrom(Float64Array.from(block.outWeight), width)));
      const back = inverted;
      const rest = target.map((value, i) => value - offset[i]);
      const o = addRows(new Float64Array(width), rest, back); // (d)
      for (let h = 0; h < heads; h++) {
        const begin = h * headDim;
        const c = away(h, o.slice(begin, begin + headDim));
        yield Float64Array.from(back, (row) => dot(c, row.subarray(begin)));
      }
    },
  };
}
