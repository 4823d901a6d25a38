import { InputError } from '../errors.ts';
import { NOISE_FLOOR } from '../lens/lens.ts';
import { lensesOf } from '../lens/store.ts';
import type { LoadedModel } from '../model/load.ts';
import { layerLikelihoods } from './layer-likelihood.ts';
import { explain, withScorers } from './layer-trial.ts';
import { givenNoise } from './noise.ts';
import { lengthOf } from './record.ts';
import type { FileRecord, StatesFile } from './states-file.ts';
import type { InvertOptions, StateRecord } from './types.ts';

/** How well a layer and a first position explain a record. */
export interface LayerTrial {
  readonly layer: number;
  /** Position of the first row in the model's position table. */
  readonly firstPosition: number;
  /**
   * How far the nearest states found lie from the first few of the record, as a share of their norm: the second best of
   * them, which neither one that fits everywhere nor one that is spoilt decides.
   */
  readonly distance: number;
  /** Distances up to this share are explained by rounding and noise. */
  readonly radius: number;
}

/** Where a record is from. */
export interface FoundLayer extends Pick<LayerTrial, 'layer' | 'firstPosition'> {
  /** Nearest first. Once a layer fits as only the right one can, no more are tried. */
  readonly tried: readonly LayerTrial[];
}

/** What to look for, and how. */
export interface FindLayerOptions extends Pick<InvertOptions, 'noise' | 'lens'> {
  /** Called after each trial; there are at most `total`. */
  readonly onTrial?: (trial: LayerTrial, done: number, total: number) => void;
  /** Ends the search by an error, the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Positions that are looked at. */
const POSITIONS = 4;
/** A distance that only the right layer and position come to: 1 %. Others are 10 % off, mostly 50 %. */
const UNMISTAKABLE = 0.01;
/** Noise that is not told of is believed up to this share, if nothing else is nearly as near. */
const NOISY = 0.25;
const BY_FAR = 0.5;

/**
 * Finds which layer a record is of, and at which position it begins, where the file does not tell: for each layer the
 * lens proposes tokens for the first few positions, at most about a hundred each, and the model verifies them. Those
 * that the lenses find likeliest come first. Needs the lenses of all layers.
 *
 * @param record One that tells its layer, or the possible first positions, is tried for no others.
 * @throws InputError when nothing fits, with how far off each was; for states the model cannot have produced.
 */
export async function findLayer(
  model: LoadedModel,
  record: FileRecord,
  options: FindLayerOptions = {},
): Promise<FoundLayer> {
  const tried = await tryLayers(model, record, options);
  const fit = fitting(tried);
  if (!fit) throw await nothingFits(model, record, tried);
  return { layer: fit.layer, firstPosition: fit.firstPosition, tried };
}

/** The trial that explains a record; undefined when none does, or others as well. @param tried Nearest first. */
function fitting([best, second]: readonly LayerTrial[]): LayerTrial | undefined {
  const isFar = second === undefined || best.distance <= BY_FAR * second.distance;
  return best.distance <= best.radius || (best.distance <= NOISY && isFar) ? best : undefined;
}

async function tryLayers(model: LoadedModel, record: FileRecord, options: FindLayerOptions): Promise<LayerTrial[]> {
  const { config } = model;
  const { noise, lens, signal, onTrial } = options;
  checkStates(model, record);
  const { values, width } = record;
  const length = Math.min(POSITIONS, lengthOf(record));
  const head = { ...record, values: values.subarray(0, length * width) };
  const layers = record.layer === undefined ? Array.from({ length: config.layers + 1 }, (_, l) => l) : [record.layer];
  const possible = record.firstPositions ?? [record.firstPosition ?? 0];
  // Of two that place it, the table of positions may rule one out.
  const firstPositions = possible.filter((first) => first + lengthOf(record) <= config.contextLength);
  const lenses = await lensesOf(model, layers, { ...lens, signal: signal ?? lens?.signal });
  const likelihoods = await layerLikelihoods(model, values, lenses, firstPositions);
  const order = lenses
    .map((fitted, i) => ({ fitted, likelihoods: likelihoods[i], best: Math.max(...likelihoods[i]) }))
    .sort((a, b) => b.best - a.best);

  const trials: LayerTrial[] = [];
  const total = layers.length * firstPositions.length;
  const nearestFirst = () => trials.sort((a, b) => a.distance - b.distance);
  for (const { fitted, likelihoods } of order) {
    const { layer } = fitted;
    const { level, radius } = givenNoise(noise, { ...record, layer }, 0);
    const deviation = Math.max(NOISE_FLOOR, level) * fitted.rms;
    await withScorers(model, fitted, deviation, async (scorers) => {
      const positions = firstPositions
        .map((firstPosition, i) => ({ firstPosition, likelihood: likelihoods[i] }))
        .sort((a, b) => b.likelihood - a.likelihood);
      for (const { firstPosition } of positions) {
        signal?.throwIfAborted();
        const distance = await explain(model, scorers, { ...head, layer, firstPosition }, radius(1));
        const trial = { layer, firstPosition, distance, radius: radius(1) };
        trials.push(trial);
        onTrial?.(trial, trials.length, total);
        if (distance <= Math.min(radius(1), UNMISTAKABLE)) return;
      }
    });
    const [best] = nearestFirst();
    if (best.distance <= Math.min(best.radius, UNMISTAKABLE)) break;
  }
  return nearestFirst();
}

/** @throws InputError unless the model can have produced the states, whatever their layer. */
function checkStates(
  { config }: LoadedModel,
  { values, width, name = 'states', firstPosition = 0, firstPositions = [firstPosition] }: FileRecord,
): void {
  if (width !== config.width) {
    throw new InputError(
      `${name} has rows of ${width}; the states of ${config.name} have ${config.width} (${config.keys.width}).`,
      'Pass the model that made the states (--model).',
    );
  }
  const length = values.length / width;
  if (length === 0 || Math.min(...firstPositions) + length > config.contextLength) {
    throw new InputError(
      `${name} holds ${length} positions; the model has 1 to ${config.contextLength}.`,
      'Give the states of one prompt, without padding.',
    );
  }
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  throw new InputError(
    `${name} holds ${values[bad]} at position ${Math.floor(bad / width)}, dimension ${bad % width}.`,
    'States must be finite: was the model run in f16 beyond its range?',
  );
}

async function nothingFits(model: LoadedModel, record: FileRecord, tried: readonly LayerTrial[]): Promise<InputError> {
  const { name = 'The record', model: made } = record;
  const digest = await model.digest();
  const layers = [...new Set(tried.map(({ layer }) => layer))].sort((a, b) => a - b);
  const list = layers.map((of) => `layer ${of} is off by ${percent(tried.find(({ layer }) => layer === of)!)}`);
  const origin =
    made === undefined
      ? 'the file does not say which model made it'
      : made === digest
        ? 'the file says that this model made it'
        : `the file was made by ${made}`;
  return new InputError(
    `${name} fits no layer of ${model.name}: ${list.join(', ')}. The digest of the model is ${digest}; ${origin}.`,
    'Pass the model that made the states (--model), or --layer if you know it; if they are noisy, say how much (--noise).',
  );
}

const percent = ({ distance }: LayerTrial): string =>
  `${distance >= 0.1 ? (100 * distance).toFixed(0) : (100 * distance).toPrecision(1)} %`;

/**
 * Settles what a file leaves open of its records: the layer, and whether positions count left padding. One record
 * answers for all, as one run of a model made them: the longest of those that leave most open.
 *
 * @returns Records that can be inverted, and what was found, in sentences.
 * @throws InputError as `findLayer` when the layer is open and nothing fits.
 */
export async function placeRecords(
  model: LoadedModel,
  { records }: Pick<StatesFile, 'records'>,
  options: FindLayerOptions = {},
): Promise<{ readonly records: StateRecord[]; readonly notes: string[] }> {
  const notes: string[] = [];
  const openness = ({ layer, firstPositions }: FileRecord) =>
    Number(layer === undefined) + (firstPositions?.length ?? 0);
  const [open] = records.toSorted((a, b) => openness(b) - openness(a) || b.values.length - a.values.length);
  if (!open || openness(open) === 0) return { records: records as StateRecord[], notes };

  const tried = await tryLayers(model, open, options);
  const fit = fitting(tried);
  if (!fit && open.layer === undefined) throw await nothingFits(model, open, tried);
  const { layer, firstPosition } = fit ?? { layer: open.layer!, firstPosition: open.firstPosition ?? 0 };
  if (open.layer === undefined) {
    const next = tried.find((trial) => trial.layer !== layer);
    const others = next ? `; the next, layer ${next.layer}, is off by ${percent(next)}` : '';
    notes.push(`The states are of layer ${layer}: it explains the first of them up to ${percent(fit!)}${others}.`);
  }
  // What the first position is among the possible ones: the same choice for every record.
  const choice = open.firstPositions?.indexOf(firstPosition) ?? 0;
  if (open.firstPositions) {
    const counted =
      choice === 0 ? 'count the padding, as in a plain forward' : 'begin behind the padding, as in generate()';
    notes.push(
      fit ? `Positions ${counted}: that fits.` : `Positions are taken to ${counted}, but neither choice fits.`,
    );
  }
  const placed = records.map(({ firstPositions, ...record }): StateRecord => {
    const first = firstPositions?.[choice] ?? record.firstPosition;
    return { ...record, layer: record.layer ?? layer, ...(first !== undefined && { firstPosition: first }) };
  });
  return { records: placed, notes };
}
