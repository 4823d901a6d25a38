import type { Matrix } from 'ml-matrix';
import type { LoadedModel } from '../model/load.ts';
import { checkLayer } from '../model/model.ts';
import { seededRandom } from '../reference/random.ts';
import { KAPPA_ROWS, measureKappa, pairRatio } from './kappa.ts';
import { embeddingLens, type LayerLens, type LinearLens } from './lens.ts';
import { type LinearFit, regress } from './moments.ts';
import { firstSamples, randomSamples, type Samples, type Sampling, selfSamples } from './samples.ts';

/** How to fit. */
export interface FitOptions {
  readonly seed?: number;
  /** Called as the work goes on, with forward passes of 128 rows. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** A pass over 128 rows is the unit of the fit's cost. */
export const UNIT = 128;

/** Rows the two lenses are fitted to: about five for each coordinate, within what 60 forward passes allow. */
const restRows = (width: number): number => clamp(5 * width, 26 * UNIT, 40 * UNIT);
const firstRows = (width: number): number => clamp(4 * width, 4 * UNIT, 12 * UNIT);
const clamp = (value: number, low: number, high: number): number => Math.max(low, Math.min(value, high));

/**
 * Fits the lenses of some layers to the model's own states, all in one set of forward passes: no text is needed.
 *
 *   1. Prompts of at most 128 tokens, half sampled from the model, half uniformly random.
 *   2. Ridge regression of each state on its input row and the state before; the first position from single tokens.
 *   3. The covariance of what that leaves, and how far true distances fall short of predicted ones (kappa).
 *
 * @param layers Which, 1 to L.
 * @throws InputError for layers the model does not have, and where its states are not finite; the signal's reason.
 */
export async function fitLens(
  model: LoadedModel,
  layers: readonly number[],
  { seed = 1, onProgress, signal }: FitOptions = {},
): Promise<LayerLens[]> {
  const { config } = model;
  const { width: d, vocabularySize } = config;
  for (const layer of layers) checkLayer(config, layer);
  const fitted = layers.filter((layer) => layer > 0);
  const length = Math.min(UNIT, config.contextLength);
  const random = Math.ceil(restRows(d) / length / 2);
  const first = Math.min(firstRows(d), vocabularySize);
  const total = 2 * random * length + first + KAPPA_ROWS;
  let done = 0;
  const onRows = (count: number) => {
    done += count;
    onProgress?.(done / UNIT, total / UNIT);
  };
  const lenses: LayerLens[] = [];
  if (fitted.length < layers.length) {
    const { rows } = await firstSamples(model, shuffled(vocabularySize, seed).subarray(0, first), {
      layers: [],
      onRows: () => {},
      signal,
    });
    lenses.push(embeddingLens(d, rootMeanSquare(rows)));
  }
  if (fitted.length === 0) return lenses;

  const sampling: Sampling = { layers: fitted, prompts: random, length, seed, onRows, signal };
  const selves = await selfSamples(model, sampling);
  const randoms = await randomSamples(model, { ...sampling, seed: seed + 1 });
  const singles = await firstSamples(model, shuffled(vocabularySize, seed).subarray(0, first), sampling);
  const kappaOf = await measureKappa(model, fitted, [selves, randoms], singles, onRows);
  for (const layer of fitted) {
    signal?.throwIfAborted();
    const state = singles.states.get(layer)!;
    const atFirst = linear(await regress(model.context, [singles.rows, d], [state, d]), d);
    const rest = length > 1 ? linear(await regressOnPrevious(model, layer, [selves, randoms]), d) : atFirst;
    lenses.push({
      layer,
      rms: rootMeanSquare(randoms.states.get(layer)!),
      first: { ...atFirst, kappa: pairRatio(singles.rows, state, atFirst.embedding, d) },
      rest: { ...rest, kappa: kappaOf(layer, rest.embedding) },
    });
  }
  return lenses;
}

/** h_t on (e_t, h_(t-1)) for every position but the first of every prompt. */
function regressOnPrevious(model: LoadedModel, layer: number, sets: readonly Samples[]): Promise<LinearFit> {
  const { context, config } = model;
  const d = config.width;
  const pairs = sets.reduce((sum, { ids, length }) => sum + (ids.length / length) * (length - 1), 0);
  const x = new Float32Array(pairs * 2 * d);
  const y = new Float32Array(pairs * d);
  let pair = 0;
  for (const { ids, length, rows, states } of sets) {
    const h = states.get(layer)!;
    const row = (of: Float32Array, r: number) => of.subarray(r * d, (r + 1) * d);
    for (let r = 0; r < ids.length; r++) {
      if (r % length === 0) continue;
      x.set(row(rows, r), pair * 2 * d);
      x.set(row(h, r - 1), pair * 2 * d + d);
      y.set(row(h, r), pair * d);
      pair++;
    }
  }
  return regress(context, [x, 2 * d], [y, d]);
}

/** The fit in the lens's terms: the first d features are the input row, the next, if any, the state before. */
function linear({ slope, intercept, covariance }: LinearFit, d: number): Omit<LinearLens, 'kappa'> {
  const block = (first: number) => flat(slope.subMatrix(first, first + d - 1, 0, d - 1));
  return {
    embedding: block(0),
    ...(slope.rows > d && { previous: block(d) }),
    intercept: Float32Array.from(intercept),
    covariance: flat(covariance),
  };
}

const flat = (matrix: Matrix): Float32Array => Float32Array.from(matrix.to1DArray());

const rootMeanSquare = (values: Float32Array): number =>
  Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);

/** All token ids in a random order. */
function shuffled(count: number, seed: number): Uint32Array {
  const { next } = seededRandom(seed);
  const ids = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    [ids[i], ids[j]] = [ids[j], ids[i]];
  }
  return ids;
}
