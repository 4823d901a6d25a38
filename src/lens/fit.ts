import type { Matrix } from 'ml-matrix';
import type { ModelConfig } from '../model/config.ts';
import type { LoadedModel } from '../model/load.ts';
import { checkLayer } from '../model/model.ts';
import { permutation } from '../reference/random.ts';
import { take } from '../tensor/tensor.ts';
import { kappaRows, measureKappa, pairRatio } from './kappa.ts';
import { embeddingLens, type LayerLens, type LinearLens } from './lens.ts';
import { type LinearFit, regress } from './moments.ts';
import { expectFinite, firstSamples, randomSamples, type Samples, type Sampling, selfSamples } from './samples.ts';

/** How to fit. */
export interface FitOptions {
  readonly seed?: number;
  /** Called as the work goes on, with forward passes of 128 rows. */
  readonly onProgress?: (done: number, total: number) => void;
  readonly signal?: AbortSignal;
}

/** A pass over 128 rows is the unit of the fit's cost. */
export const UNIT = 128;

/** Rows with a state before them, and rows of the first position: several for each coordinate, within 60 passes. */
const restRows = (width: number): number => clamp(4 * width, 38 * UNIT, 41 * UNIT);
const firstRows = (width: number): number => clamp(2 * width, 6 * UNIT, 9 * UNIT);
const clamp = (value: number, low: number, high: number): number => Math.max(low, Math.min(value, high));
/** The model's own text is what states are mostly of; random tokens reach the rest of the vocabulary. */
const SELF_SAMPLED = 0.63;

/** What a fit of a model runs, whatever the layers. */
export interface FitPlan {
  /** Tokens of a prompt. */
  readonly length: number;
  /** Prompts sampled from the model, and uniformly random ones. */
  readonly own: number;
  readonly random: number;
  /** Tokens run at the first position. */
  readonly singles: number;
  /** Rows of all forward passes. */
  readonly rows: number;
}

/** The plan for a model: within 60 passes of 128 rows. */
export function planFit(config: ModelConfig): FitPlan {
  const length = Math.min(UNIT, config.contextLength);
  const prompts = Math.ceil(restRows(config.width) / length);
  const own = Math.ceil(SELF_SAMPLED * prompts);
  const singles = Math.min(firstRows(config.width), config.vocabularySize);
  const rows = prompts * length + singles + kappaRows(length);
  return { length, own, random: prompts - own, singles, rows };
}

/**
 * Fits the lenses of some layers to the model's own states, all in one set of forward passes: no text is needed.
 *
 *   1. Prompts of at most 128 tokens, most sampled from the model, the others uniformly random.
 *   2. Ridge regression of each state on its input row and the state before; the first position from single tokens.
 *   3. The covariance of what that leaves, and how far true distances fall short of predicted ones (kappa).
 *
 * @param layers Which, 0 to L; 0, the embedding, needs no forward pass.
 * @returns One for each, in rising order.
 * @throws InputError for layers the model does not have, and where its states are not finite; the signal's reason.
 */
export async function fitLens(
  model: LoadedModel,
  layers: readonly number[],
  { seed = 1, onProgress, signal }: FitOptions = {},
): Promise<LayerLens[]> {
  const { config } = model;
  const d = config.width;
  for (const layer of layers) checkLayer(config, layer);
  signal?.throwIfAborted();
  const { length, own, random, singles: count, rows: total } = planFit(config);
  const tokens = permutation(config.vocabularySize, seed).subarray(0, count);
  const lenses = layers.includes(0) ? [await embeddingLensOf(model, tokens)] : [];
  const fitted = [...new Set(layers)].filter((layer) => layer > 0).sort((a, b) => a - b);
  if (fitted.length === 0) return lenses;

  let done = 0;
  const onRows = (rows: number) => {
    done += rows;
    onProgress?.(done / UNIT, total / UNIT);
  };
  const sampling: Sampling = { layers: fitted, prompts: own, length, seed, onRows, signal };
  const selves = await selfSamples(model, sampling);
  const randoms = await randomSamples(model, { ...sampling, prompts: random, seed: seed + 1 });
  const singles = await firstSamples(model, tokens, sampling);
  // A model of a single position has no others.
  const kappaOf = length > 1 && (await measureKappa(model, fitted, [selves, randoms], singles));
  onRows(total - done);
  for (const layer of fitted) {
    signal?.throwIfAborted();
    const state = singles.states.get(layer)!;
    const atFirst = linear(await regress(model.context, [singles.rows, d], [state, d]), d);
    const first = { ...atFirst, kappa: pairRatio(singles.rows, state, atFirst.embedding, d) };
    if (!kappaOf) {
      lenses.push({ layer, rms: rootMeanSquare(state), first, rest: first });
      continue;
    }
    const { features, states } = pairsOf([selves, randoms], layer, d);
    const atRest = linear(await regress(model.context, [features, 2 * d], [states, d]), d);
    const rest = { ...atRest, kappa: kappaOf(layer, atRest.embedding) };
    lenses.push({ layer, rms: rootMeanSquare(behindFirst(randoms, layer)), first, rest });
  }
  return lenses;
}

/** The lens of layer 0, whose states are the input rows. */
async function embeddingLensOf(model: LoadedModel, tokens: Uint32Array): Promise<LayerLens> {
  const { width, contextLength } = model.config;
  const rows = await take(
    model.embed(
      tokens,
      tokens.map((_, i) => i % contextLength),
    ),
  );
  expectFinite(rows, 0);
  return embeddingLens(width, rootMeanSquare(rows));
}

/** Every position but the first of every prompt: features (e_t, h_(t-1)) [n, 2 d], and states h_t [n, d]. */
function pairsOf(sets: readonly Samples[], layer: number, d: number): { features: Float32Array; states: Float32Array } {
  const n = sets.reduce((sum, { ids, length }) => sum + (ids.length / length) * (length - 1), 0);
  const features = new Float32Array(n * 2 * d);
  const states = new Float32Array(n * d);
  let pair = 0;
  for (const { ids, length, rows, states: all } of sets) {
    const h = all.get(layer)!;
    const row = (of: Float32Array, r: number) => of.subarray(r * d, (r + 1) * d);
    for (let r = 0; r < ids.length; r++) {
      if (r % length === 0) continue;
      features.set(row(rows, r), pair * 2 * d);
      features.set(row(h, r - 1), pair * 2 * d + d);
      states.set(row(h, r), pair * d);
      pair++;
    }
  }
  return { features, states };
}

/** States of every position but the first, which are hundreds of times as large in some models. */
function behindFirst({ ids, length, states }: Samples, layer: number): Float32Array {
  const values = states.get(layer)!;
  const d = values.length / ids.length;
  return values.filter((_, i) => Math.floor(i / d) % length > 0);
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

/** In f32, as files keep it: a lens that was read is the one that was fitted. */
const rootMeanSquare = (values: Float32Array): number =>
  Math.fround(Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length));
