import { dot } from '../../linalg/dense.ts';
import { expectShape } from '../../reference/shape.ts';
import type { NormBlock } from './types.ts';

/**
 * What a linear function of a LayerNorm's output depends on. The normed row z of any input has mean 0 and, with an epsilon
 * above 0, `|z|^2 = d var / (var + epsilon) < d`, and every such z occurs. So `w . (gamma z + beta) = axis . z + centre`,
 * which is below `sqrt(d) |axis| + centre`.
 */
export interface Normed {
  /** d */
  readonly width: number;
  /** sqrt(d): the normed rows fill the ball of this radius in the rows of mean 0. */
  readonly radius: number;
  /** `gamma w` without its mean. */
  axis(w: Float64Array): Float64Array;
  /** `w . beta` */
  centre(w: Float64Array): number;
}

/** @throws ShapeError when gain and bias differ in width. */
export function normed({ weight, bias }: NormBlock): Normed {
  const gamma = Float64Array.from(weight);
  const beta = Float64Array.from(bias);
  expectShape('norm: bias', beta, [gamma.length]);
  return {
    width: gamma.length,
    radius: Math.sqrt(gamma.length),
    axis(w) {
      const scaled = w.map((value, i) => value * gamma[i]);
      const mean = scaled.reduce((sum, value) => sum + value, 0) / scaled.length;
      return scaled.map((value) => value - mean);
    },
    centre: (w) => dot(w, beta),
  };
}

/** The rows of a row-major matrix. @param values `[rows, width]` */
export function rowsFrom(values: ArrayLike<number>, width: number): Float64Array[] {
  return Array.from({ length: values.length / width }, (_, r) =>
    Float64Array.from({ length: width }, (_, i) => values[r * width + i]),
  );
}

/** The columns of a row-major matrix. @param values `[rows, width]` */
export function columnsFrom(values: ArrayLike<number>, width: number): Float64Array[] {
  return Array.from({ length: width }, (_, i) =>
    Float64Array.from({ length: values.length / width }, (_, r) => values[r * width + i]),
  );
}
