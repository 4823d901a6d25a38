import { Matrix } from 'ml-matrix';
import type { Kernel } from '../gpu/shader.ts';
import { matrixFrom, product } from '../linalg/dense.ts';
import { principalAxes, whitener } from '../linalg/positive.ts';
import type { LanguageModel } from '../model/model.ts';
import { distance } from '../ops/distance.ts';
import { dotRows } from '../ops/dot-rows.ts';
import { add, multiply, scale } from '../ops/elementwise.ts';
import { embedding, type Table } from '../ops/embedding.ts';
import { matmul } from '../ops/matmul.ts';
import { takeColumns } from '../ops/slice.ts';
import { topk } from '../ops/topk.ts';
import { type Tensor, upload } from '../tensor/tensor.ts';
import type { LinearLens } from './lens.ts';
import { mapVocabulary, vocabularyCovariance } from './vocabulary.ts';

/**
 * Whitened axes that order the shortlist, and the first of them, which pick it: so many, and more (to a multiple of the
 * latter) until the variance of the vocabulary along them is enough. Two tokens lie sqrt(2 variance) noise deviations
 * apart on average: at 200, a wrong one among 50,257 beats the true one in one of 10^18 rows; at 100 in one of 10^7.
 * Trained embeddings need no more than these; random ones, which spread evenly, a few times as many.
 */
const AXES = { least: 96, most: 256, variance: 200 };
const SCREEN_AXES = { least: 16, variance: 100 };
/** Tokens of a shortlist, at least. */
const SHORTLIST = 64;

/** Tokens in order of their score. */
export interface Ranked {
  /** Best first, [n, count], or fewer where the vocabulary is smaller. */
  readonly ids: Uint32Array;
  /** How likely the best of each row is not the true one, as the lens sees it: that of the second best, 0 to 1/2, [n]. */
  readonly doubts: Float32Array;
}

/** A ranking that is still on the GPU. */
export interface Ranking {
  /** Shortlisted ids [n, K], the places of the best among them [n, count], and their scores. */
  readonly tensors: readonly [shortlist: Tensor, places: Tensor, scores: Tensor];
  decode(shortlist: ArrayBuffer, places: ArrayBuffer, scores: ArrayBuffer): Ranked;
}

/**
 * Scores the whole vocabulary by the Gaussian log-likelihood of a lens. With x what a state holds besides what the lens
 * predicts without a token, and L L^T = (S + noise)^-1:
 *
 *     log p(token) = -1/2 |x L - w B L|^2 + constant,
 *
 * along the principal axes of w B L over the vocabulary: the first few, mostly 16, pick a shortlist, 96 or more order it.
 */
export interface Scorer {
  /**
   * The likeliest tokens of states.
   * @param states [n, d]
   * @param previous The states before, [n, d]; absent for a lens of the first position.
   * @param positions Of the states in the model's position table.
   * @param count Tokens of each row; at least 2 for doubts.
   */
  propose(states: Tensor, previous: Tensor | undefined, positions: Uint32Array, count: number): Ranking;
  /**
   * The chord: the likeliest tokens, given how far another token's state is from the observed one. What the lens gets
   * wrong about the prefix, it gets equally wrong about both.
   * @param residuals Observed state minus that of the token tried, [n, d].
   * @param tokens The tokens tried, [n].
   */
  correct(residuals: Tensor, tokens: Uint32Array, count: number): Ranking;
  /** Work of a row proposed or corrected. */
  readonly flopsPerRow: number;
  dispose(): void;
}

/**
 * Prepares the scores of a lens: one product with the vocabulary on the GPU, some linear algebra on the CPU.
 * @param noise Standard deviation of the states' elements that is not the lens's: rounding, or given noise.
 */
export async function createScorer(model: LanguageModel, lens: LinearLens, noise: number): Promise<Scorer> {
  const { width: d } = model.config;
  const b = matrixFrom(lens.embedding, d);
  const covariance = matrixFrom(lens.covariance, d).add(Matrix.eye(d).mul(noise ** 2));
  const white = whitener(covariance); // L
  const mapped = product(b, white);
  const vocabulary = await vocabularyCovariance(model);
  const spread = product(product(mapped.transpose(), vocabulary), mapped);
  const { axes, screenAxes } = tellingAxes(spread);
  return scorerAlong(model, lens, product(white, axes), screenAxes);
}

/** As many principal axes as tell tokens apart. @param spread Covariance of the whitened vocabulary. */
function tellingAxes(spread: Matrix): { axes: Matrix; screenAxes: number } {
  const d = spread.rows;
  let [axes, variances] = principal(AXES.least);
  if (told(variances.length) < AXES.variance && AXES.least < d) [axes, variances] = principal(AXES.most);
  const count = least(AXES.least, AXES.variance);
  return { axes: axes.subMatrix(0, d - 1, 0, count - 1), screenAxes: least(SCREEN_AXES.least, SCREEN_AXES.variance) };

  function principal(most: number): [Matrix, number[]] {
    const found = principalAxes(spread, Math.min(most, d));
    const image = product(found.transpose(), product(spread, found));
    return [found, image.diagonal()];
  }
  function told(columns: number): number {
    return variances.slice(0, columns).reduce((sum, variance) => sum + variance, 0);
  }
  function least(columns: number, variance: number): number {
    let enough = columns;
    while (enough < variances.length && told(enough) < variance) enough += SCREEN_AXES.least;
    return Math.min(enough, variances.length);
  }
}

/** The kernels that scoring runs, for `pipelines.warmUp`. */
export function scorerKernels(model: LanguageModel): Kernel[] {
  const { context, config } = model;
  const d = config.width;
  const square = new Float32Array(d * d);
  const lens: LinearLens = {
    embedding: square,
    previous: square,
    intercept: new Float32Array(d),
    covariance: square,
    kappa: 1,
  };
  return context.plan(() => {
    const scorer = scorerAlong(model, lens, Matrix.zeros(d, Math.min(AXES.least, d)), Math.min(SCREEN_AXES.least, d));
    for (const rows of [1, 8, 20]) {
      const states = upload(context, new Float32Array(rows * d), [rows, d]);
      scorer.propose(states, states, new Uint32Array(rows), 2);
    }
    scorer.dispose();
  });
}

/** @param axes Whitened principal axes, [d, r], of which the first `screenAxes` pick the shortlist. */
function scorerAlong(model: LanguageModel, lens: LinearLens, axes: Matrix, screenAxes: number): Scorer {
  const { context, config, weights } = model;
  const { width: d, vocabularySize } = config;
  const r = axes.columns;

  const matrix = (values: ArrayLike<number>) => upload(context, Float32Array.from(values), [d, values.length / d]);
  const kept = context.unscoped(() =>
    context.scope(() => {
      const table = mapVocabulary(model, product(matrixFrom(lens.embedding, d), axes)); // (V, r)
      const screen = takeColumns(table, 0, screenAxes); // (V, 16)
      return {
        axes: matrix(axes.to1DArray()),
        embedding: matrix(lens.embedding),
        minusPrevious: lens.previous && matrix(lens.previous.map((value) => -value)),
        // What the lens predicts of a position alone, [positions, d].
        expected: matmul(weights.tensor('wpe.weight'), matrix(lens.embedding), {
          bias: upload(context, lens.intercept),
        }),
        table,
        bias: minusHalfSquares(table),
        screen,
        screenBias: minusHalfSquares(screen),
      };
    }),
  );
  const table: Table = { rows: vocabularySize, width: r, chunks: [kept.table] };
  const expected: Table = { rows: config.contextLength, width: d, chunks: [kept.expected] };

  /** @param x [n, d] */
  function rank(x: Tensor, count: number): Ranking {
    const along = matmul(x, kept.axes); // (n, r)
    const short = Math.min(vocabularySize, Math.max(SHORTLIST, 2 * count), 256);
    const scores = matmul(takeColumns(along, 0, screenAxes), kept.screen, {
      transposeB: true,
      bias: kept.screenBias,
    }); // (n, V)
    const { indices } = topk(scores, short, 'largest'); // (n, K)
    const exact = dotRows(along, table, indices, kept.bias); // (n, K)
    const few = Math.min(count, short);
    const { indices: places, values } = topk(exact, few, 'largest'); // (n, count)
    return {
      tensors: [indices, places, values],
      decode(shortlist, placeBytes, scoreBytes) {
        const listed = new Uint32Array(shortlist);
        const likelihoods = new Float32Array(scoreBytes);
        return {
          ids: new Uint32Array(placeBytes).map((place, i) => listed[Math.floor(i / few) * short + place]),
          doubts: Float32Array.from({ length: likelihoods.length / few }, (_, row) =>
            few > 1 ? 1 / (1 + Math.exp(likelihoods[row * few] - likelihoods[row * few + 1])) : 0,
          ),
        };
      },
    };
  }

  return {
    propose(states, previous, positions, count) {
      return context.scope(() => {
        const own = add(states, embedding(context, expected, positions), -1); // (n, d)
        const x = previous && kept.minusPrevious ? matmul(previous, kept.minusPrevious, { residual: own }) : own; // (n, d)
        return rank(x, count);
      });
    },
    correct(residuals, tokens, count) {
      return context.scope(() => {
        const rows = embedding(context, model.tokenTable, tokens); // (n, d)
        return rank(matmul(rows, kept.embedding, { residual: residuals }), count);
      });
    },
    flopsPerRow: 2 * (d * d + d * r + vocabularySize * screenAxes + SHORTLIST * r),
    dispose() {
      for (const tensor of Object.values(kept)) tensor?.dispose();
    },
  };
}

/** -1/2 |row|^2 of each row, [rows]. */
function minusHalfSquares(rows: Tensor): Tensor {
  const norms = distance(rows, upload(rows.context, new Float32Array(rows.shape[1]), [1, rows.shape[1]]));
  return scale(multiply(norms, norms), -0.5);
}
