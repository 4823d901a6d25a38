import { Matrix } from 'ml-matrix';
import { type LayerLens, type LinearLens, NOISE_FLOOR } from '../lens/lens.ts';
import { matrixFrom, product } from '../linalg/dense.ts';
import { whitener } from '../linalg/positive.ts';
import { countFrom, type LanguageModel } from '../model/model.ts';
import { embedding } from '../ops/embedding.ts';
import { seededRandom } from '../reference/random.ts';
import { readAll } from '../tensor/tensor.ts';

/** Random directions that states are looked at along, tokens that stand for the vocabulary, and positions looked at. */
const DIRECTIONS = 32;
const TOKENS = 256;
const POSITIONS = 16;

/**
 * How well each layer's lens explains states, without asking which tokens they are of: mean log-density of
 *
 *     h_t - h_(t-1) C - c - wpe_t B  ~  N(mean of w B, covariance of w B + S),   w over the vocabulary,
 *
 * along random directions; of the first position only where there is no other. So cheap that layers can be tried in the
 * order of it.
 *
 * @param values States [T, d].
 * @param firstPositions Where the first of them may stand in the model's position table, all of them within it.
 * @returns For each lens, and for each first position.
 */
export async function layerLikelihoods(
  model: LanguageModel,
  values: Float32Array,
  lenses: readonly LayerLens[],
  firstPositions: readonly number[],
): Promise<number[][]> {
  const { context, config, weights, tokenTable } = model;
  const { width: d, vocabularySize } = config;
  const length = Math.min(POSITIONS, values.length / d);
  const count = Math.min(TOKENS, vocabularySize);
  const spread = Uint32Array.from({ length: count }, (_, i) => Math.floor((i * vocabularySize) / count));
  const wpe = weights.table('wpe.weight');
  const tables = context.scope(() => [
    embedding(context, tokenTable, spread),
    ...firstPositions.map((first) => embedding(context, wpe, countFrom(first, length))),
  ]);
  const read = await readAll(tables).finally(() => {
    for (const table of tables) table.dispose();
  });
  const [tokens, ...positions] = read.map((rows) => matrixFrom(rows, d));
  const states = matrixFrom(values.subarray(0, length * d), d);
  const random = seededRandom(1);
  const directions = matrixFrom(random.normal(d * Math.min(d, DIRECTIONS)), Math.min(d, DIRECTIONS)); // P, (d, R)
  const own = product(states, directions); // (T, R)

  return lenses.map((lens) => {
    const noise = (NOISE_FLOOR * lens.rms) ** 2;
    // The first row is unlike the others, and behind padding unlike those the lens was fitted to.
    const from = Math.min(1, length - 1);
    const { b, previous, intercept, density } = projected(
      from === 0 ? lens.first : lens.rest,
      directions,
      tokens,
      noise,
    );
    return positions.map((rows) => {
      const at = product(rows, b); // (T, R)
      const before = previous && product(states, previous);
      const densities = Array.from({ length: length - from }, (_, i) => {
        const x = own
          .getRowVector(from + i)
          .sub(intercept)
          .sub(at.getRowVector(from + i));
        return density(before ? x.sub(before.getRowVector(from + i - 1)) : x);
      });
      return densities.reduce((sum, value) => sum + value, 0) / densities.length;
    });
  });
}

/** A lens along the directions P. */
interface Projected {
  /** B P, [d, R] */
  readonly b: Matrix;
  /** C P, [d, R] */
  readonly previous?: Matrix;
  /** c P, [1, R] */
  readonly intercept: Matrix;
  /** Log-density of x P, [1, R], up to a constant. */
  density(x: Matrix): number;
}

/** @param tokens Rows of the vocabulary, [n, d]. @param noise Variance of the states' elements besides the lens's. */
function projected(lens: LinearLens, directions: Matrix, tokens: Matrix, noise: number): Projected {
  const d = directions.rows;
  const b = product(matrixFrom(lens.embedding, d), directions);
  const mapped = product(tokens, b); // (n, R)
  const mean = mapped.mean('column');
  mapped.subRowVector(mean);
  const rest = matrixFrom(lens.covariance, d).add(Matrix.eye(d).mul(noise));
  const covariance = product(directions.transpose(), product(rest, directions));
  covariance.add(product(mapped.transpose(), mapped).div(tokens.rows)); // (R, R)
  const white = whitener(covariance); // L, triangular
  const logRoot = white.diagonal().reduce((sum, value) => sum + Math.log(value), 0);
  return {
    b,
    previous: lens.previous && product(matrixFrom(lens.previous, d), directions),
    intercept: product(matrixFrom(lens.intercept, d), directions),
    density: (x) => logRoot - 0.5 * product(x.subRowVector(mean), white).norm('frobenius') ** 2,
  };
}
