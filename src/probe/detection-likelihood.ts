import { Matrix } from 'ml-matrix';
import { type LayerLens, type LinearLens, NOISE_FLOOR } from '../lens/lens.ts';
import { addRows, dot, matrixFrom, product, type Rows, rowsOf } from '../linalg/dense.ts';
import { whitener } from '../linalg/positive.ts';
import { difference } from '../linalg/vector.ts';
import { expectShape } from '../reference/shape.ts';
import type { Vector } from './requests.ts';

/** The rows of a model's input. */
export interface InputTables {
  /** wte, [V, d] */
  readonly vocabulary: ArrayLike<number>;
  /** wpe, [positions, d] */
  readonly positions: ArrayLike<number>;
}

/**
 * log p(h_t | h_(t-1)), in nats.
 * @param state h_t, [d]
 * @param position t
 * @param previous h_(t-1), [d]; none at the first position.
 */
export type StateLikelihood = (state: Vector, position: number, previous?: Vector) => number;

/**
 * How likely a state is as one that *some* token left behind the state before it, by the generative lens of the layer
 * (`LinearLens`): the mixture of its Gaussians over the vocabulary, every token as likely as any other,
 *
 *     p(h_t | h_(t-1)) = 1/V  sum over v of  N(h_t; (w_v + p_t) B + h_(t-1) C + c, S).
 *
 * The language model's opinion of the token is left out on purpose: odd text is still text. Gaussian and linear, this
 * measures how far a state is from what the lens expects, and is no density of true states.
 * @throws ShapeError for tables of another width.
 */
export function stateLikelihood({ first, rest, rms }: LayerLens, tables: InputTables): StateLikelihood {
  const noise = NOISE_FLOOR * rms;
  const atFirst = mixture(first, tables, noise);
  const atRest = mixture(rest, tables, noise);
  return (state, position, previous) => (previous ? atRest : atFirst)(state, position, previous);
}

function mixture(lens: LinearLens, { vocabulary, positions }: InputTables, noise: number): StateLikelihood {
  const d = lens.intercept.length;
  expectShape('stateLikelihood: vocabulary', vocabulary, [Math.floor(vocabulary.length / d), d]);
  expectShape('stateLikelihood: positions', positions, [Math.floor(positions.length / d), d]);
  const covariance = matrixFrom(lens.covariance, d).add(Matrix.eye(d).mul(noise ** 2));
  const white = whitener(covariance); // L, L L^T = S^-1
  const b = matrixFrom(lens.embedding, d);
  const embedding = rowsOf(b);
  const previousRows: Rows | undefined = lens.previous && rowsOf(matrixFrom(lens.previous, d));
  const rows = rowsOf(white);
  const means = rowsOf(product(matrixFrom(vocabulary, d), product(b, white))); // w_v B L, (V, d)
  const squares = Float64Array.from(means, (mean) => dot(mean, mean));
  const volume = white.diagonal().reduce((sum, value) => sum + Math.log(Math.abs(value)), 0); // -1/2 log det S
  const constant = volume - (d / 2) * Math.log(2 * Math.PI) - Math.log(means.length);
  return (state, position, previous) => {
    const expected = Float64Array.from(lens.intercept);
    const row = Float64Array.from({ length: d }, (_, i) => positions[position * d + i]);
    addRows(expected, row, embedding);
    if (previous && previousRows) addRows(expected, previous, previousRows);
    const x = addRows(new Float64Array(d), difference(state, expected), rows); // x L
    const square = dot(x, x);
    const exponents = means.map((mean, v) => dot(x, mean) - (square + squares[v]) / 2);
    const most = exponents.reduce((a, e) => Math.max(a, e), Number.NEGATIVE_INFINITY);
    return constant + most + Math.log(exponents.reduce((sum, e) => sum + Math.exp(e - most), 0));
  };
}
