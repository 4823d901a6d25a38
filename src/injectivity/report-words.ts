/** What came of a test of collisions and of margins, in words. */

import { tickText } from '../report/axis.ts';
import { count, counted, significant } from '../report/text.ts';
import type { PrefixMargins } from './margins.ts';
import type { Precision } from './quantise.ts';
import type { CollisionResult, ExhaustiveResult, FoundPair, ResultLayer, ResultPair } from './result.ts';

/** Something about the weights that makes prompts collide, or may. */
export interface Told {
  /** In a sentence. */
  readonly what: string;
}

/** The layers of a result at one precision. */
export interface Stored {
  readonly precision: Precision;
  readonly layers: readonly ResultLayer[];
  /** Pairs nearer than the bound, over all layers. */
  readonly collisions: number;
}

/** A result by precision: the states as computed first, if they were compared. */
export function storedOf({ layers }: CollisionResult): [Stored, ...Stored[]] {
  const names = [...new Set(layers.map(({ precision }) => precision))];
  const all = names.map((precision): Stored => {
    const own = layers.filter((layer) => layer.precision === precision);
    return { precision, layers: own, collisions: own.reduce((sum, layer) => sum + collisionsIn(layer), 0) };
  });
  const [first = { precision: 'f32', layers: [], collisions: 0 }, ...others] = all.toSorted(
    (a, b) => Number(b.precision === 'f32') - Number(a.precision === 'f32'),
  );
  return [first, ...others];
}

/** Pairs below the bound. */
export const collisionsIn = ({ below }: Pick<ResultLayer, 'below'>): number =>
  Object.values(below).reduce((sum, pairs) => sum + pairs, 0);

/** The distance below which two states collide. */
export const boundOf = ({ layers }: CollisionResult): number => Number(Object.keys(layers[0]?.below ?? {})[0]);

/** The bound as it is written: `1e-6`. */
export const boundText = (result: CollisionResult): string => tickText(boundOf(result));

/** Layers by name: `layer 3`, `layers 1 to 6`, `layers 1, 3, 6`. */
export function layerNames(layers: readonly number[]): string {
  if (layers.length === 1) return `layer ${layers[0]}`;
  const isRun = layers.length > 2 && layers.every((layer, i) => layer === layers[0] + i);
  return `layers ${isRun ? `${layers[0]} to ${layers[layers.length - 1]}` : layers.join(', ')}`;
}

/** The layer with the pair that is nearest relative to its states, or nearest, of a shard; undefined without pairs. */
export function nearestLayer(layers: readonly ResultLayer[]): ResultLayer | undefined {
  const far = ({ closest: [pair] }: ResultLayer) => pair.relative ?? pair.distance;
  return layers.filter(({ closest }) => closest.length > 0).toSorted((a, b) => far(a) - far(b))[0];
}

/** How far apart two are, relative to their states where that is known: `, 0.1 of the RMS length`. */
export const relativeText = ({ relative }: Pick<ResultPair, 'relative'>): string =>
  relative === undefined ? '' : `, ${significant(relative)} of the RMS length`;

/** What all pairs came to, in sentences. */
export function collisionText(result: CollisionResult): string {
  const { prompts, shard } = result;
  const [{ layers }] = storedOf(result);
  const pairs = layers[0]?.pairs ?? 0;
  const compared = [
    counted(prompts, 'distinct prompt'),
    `${counted(pairs, 'pair')} at ${layers.length === 1 ? layerNames([layers[0].layer]) : `each of ${count(layers.length)} layers`}`,
  ].join(', ');
  const sentences = [
    `${compared}: ${foundText(result)}.`,
    nearestText(layers),
    shard && `This is shard ${shard.index}/${shard.count}: the pairs of the others are not in it.`,
  ];
  return sentences.filter((sentence) => sentence).join(' ');
}

function foundText(result: CollisionResult): string {
  const [{ layers, collisions, precision }] = storedOf(result);
  const stored = precision === 'f32' ? '' : ` in ${precision}`;
  if (collisions === 0) return `none is nearer than ${boundText(result)}${stored}`;
  const where = layers.filter((layer) => collisionsIn(layer) > 0).map(({ layer }) => layer);
  const most = layers.map(collisionsIn).reduce((a, b) => Math.max(a, b));
  const [upTo, each] = where.length === 1 ? ['', ''] : ['up to ', ' at a layer'];
  const number = most === 1 ? `one${each} is` : `${upTo}${count(most)}${each} are`;
  return `${number} nearer than ${boundText(result)}${stored}, at ${layerNames(where)}`;
}

function nearestText(layers: readonly ResultLayer[]): string {
  const [least] = layers.filter(({ minimum }) => minimum !== undefined).toSorted((a, b) => a.minimum! - b.minimum!);
  if (!least) return '';
  const { minimum, closest, layer } = least;
  if (minimum === 0) return `At layer ${layer} the nearest two are the same, number for number.`;
  return `The nearest two of all lie ${significant(minimum!)} apart${relativeText(closest[0])}, at layer ${layer}.`;
}

/** From which precision on states collide; empty where only the states as computed were compared. */
export function precisionText(result: CollisionResult): string {
  const [, ...others] = storedOf(result);
  if (others.length === 0) return '';
  const clear = others.filter(({ collisions }) => collisions === 0).map(({ precision }) => precision);
  const affected = others
    .filter(({ collisions }) => collisions > 0)
    .map(({ precision, layers }) => {
      const where = layers.filter((layer) => collisionsIn(layer) > 0).map(({ layer }) => layer);
      return `${precision} (${layerNames(where)})`;
    });
  const some = affected.length > 0 ? `Stored in ${affected.join(', ')}, some collide` : '';
  if (clear.length === 0) return `${some}.`;
  return some === '' ? `Stored in ${clear.join(', ')}, none do either.` : `${some}; in ${clear.join(', ')} none do.`;
}

/** What the continuations came to; empty where there are none. */
export function continuationText({ exhaustive = [] }: CollisionResult): string {
  if (exhaustive.length === 0) return '';
  const { continuations, distance, layer } = exhaustive.reduce((a, b) => (b.distance < a.distance ? b : a));
  const layers = new Set(exhaustive.map((one) => one.layer)).size;
  const across = layers > 1 ? `, over ${layers} layers` : '';
  const what = `${counted(exhaustive.length, 'close prompt')}${across}, continued by each of ${counted(continuations, 'token')}`;
  return `Of ${what}, the nearest two continuations lie ${significant(distance)} apart, at layer ${layer}.`;
}

/** Continuations nearer than the bound. */
export const nearContinuations = (result: CollisionResult): readonly ExhaustiveResult[] =>
  (result.exhaustive ?? []).filter(({ distance }) => distance < boundOf(result));

/** Whether two states collide anywhere in what was computed, continuations included, storage aside. */
export const isCollided = (result: CollisionResult): boolean =>
  storedOf(result)[0].collisions > 0 || nearContinuations(result).length > 0;

/** The pairs at hand that collide, continuations last, storage in fewer bits aside. */
export function colliding(result: CollisionResult): readonly { readonly found: FoundPair; readonly layer: number }[] {
  const [{ layers }] = storedOf(result);
  const pairs = layers.flatMap(({ layer, closest }) =>
    closest.filter(({ distance }) => distance < boundOf(result)).map((found) => ({ found, layer })),
  );
  return [...pairs, ...nearContinuations(result).map((found) => ({ found, layer: found.layer }))];
}

/** A prefix as it is called: `depth 4`, `line 12, depth 4`. */
export const prefixName = ({ depth }: Pick<PrefixMargins, 'depth'>, line: number | undefined): string =>
  line === undefined ? `depth ${depth}` : `line ${line}, depth ${depth}`;

/** `1 prefix`, `8 prefixes`. */
export const prefixesText = (number: number): string => `${count(number)} ${number === 1 ? 'prefix' : 'prefixes'}`;
