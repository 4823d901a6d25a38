import { capture, type HookPoint } from '../model/hooks.ts';
import { countFrom, type LanguageModel } from '../model/model.ts';
import { newPositionMap } from '../model/position-map.ts';
import { seededRandom } from '../reference/random.ts';
import { readAll } from '../tensor/tensor.ts';
import type { Samples } from './samples.ts';

/**
 * Share of the smallest ratio seen that is kept: the pairs looked at are few beside those of a whole vocabulary. Of all
 * pairs of the default model behind seven prefixes none went below it.
 */
export const SAFETY = 0.58;
/** Prefixes that rows are compared behind, and tokens behind each. */
const PREFIXES = 8;
const TOKENS = 64;
/** Rows whose pairs are compared. */
const MOST_ROWS = 256;
/** Pairs predicted closer than this share of the largest distance are told apart by rounding only. */
const LEAST_DISTANCE = 1e-4;

/**
 * The smallest ratio of true to predicted distance over all pairs of rows, with some taken off; in f32, as files keep it.
 * @param rows Input rows [n, d] that differ in the token only.
 * @param states Their states [n, d].
 * @param embedding B, [d, d]
 */
export function pairRatio(rows: Float32Array, states: Float32Array, embedding: Float32Array, d: number): number {
  const n = Math.min(rows.length / d, MOST_ROWS);
  const predicted = new Float64Array(n * d); // rows B
  for (let r = 0; r < n; r++) {
    for (let k = 0; k < d; k++) {
      const value = rows[r * d + k];
      for (let j = 0; j < d; j++) predicted[r * d + j] += value * embedding[k * d + j];
    }
  }
  const pairs: { predicted: number; seen: number }[] = [];
  for (let a = 0; a < n; a++) {
    for (let b = 0; b < a; b++) pairs.push({ predicted: gap(predicted, a, b, d), seen: gap(states, a, b, d) });
  }
  const farthest = pairs.reduce((most, pair) => Math.max(most, pair.predicted), 0);
  return Math.fround(SAFETY * smallest(pairs, LEAST_DISTANCE * farthest));
}

const smallest = (pairs: readonly { predicted: number; seen: number }[], least: number): number =>
  pairs.reduce((ratio, { predicted, seen }) => (predicted > least ? Math.min(ratio, seen / predicted) : ratio), 1);

function gap(rows: ArrayLike<number>, a: number, b: number, d: number): number {
  let squares = 0;
  for (let j = 0; j < d; j++) squares += (rows[a * d + j] - rows[b * d + j]) ** 2;
  return Math.sqrt(squares);
}

/**
 * Measures kappa at positions with a prefix: some tokens, neighbours among them, behind some of the sampled prompts.
 * @param singles Tokens to choose from, with rows that differ in the token only.
 * @returns kappa of a layer, given its B.
 */
export async function measureKappa(
  model: LanguageModel,
  layers: readonly number[],
  sets: readonly Samples[],
  singles: Samples,
): Promise<(layer: number, embedding: Float32Array) => number> {
  const { context, config } = model;
  const d = config.width;
  const tokens = neighbours(singles, d);
  const prefixes = choosePrefixes(sets);
  const capacity = Math.max(1, ...prefixes.map(({ length }) => length));
  const map = newPositionMap(model, Math.max(...layers), { slots: prefixes.length, capacity });
  const points = layers.map((layer): HookPoint => `blocks.${layer - 1}.hook_resid_post`);
  const { hooks, values } = capture(points);
  try {
    const embedded = context.scope(() => {
      prefixes.forEach((ids, slot) => {
        map.extend(model.embed(ids, countFrom(0, ids.length)), [{ slot, count: ids.length }]);
      });
      const slots = Uint32Array.from({ length: prefixes.length * tokens.length }, (_, r) =>
        Math.floor(r / tokens.length),
      );
      const ids = slots.map((_, r) => tokens[r % tokens.length]);
      const rows = model.embed(
        ids,
        slots.map((slot) => prefixes[slot].length),
      );
      map.states(rows, slots, undefined, hooks);
      return rows;
    });
    const [rows, ...states] = await readAll([embedded, ...points.map((point) => values.get(point)!)]).finally(
      embedded.dispose,
    );
    const size = tokens.length * d;
    return (layer, embedding) => {
      const of = states[layers.indexOf(layer)];
      return Math.min(
        ...prefixes.map((_, p) =>
          pairRatio(rows.subarray(p * size, (p + 1) * size), of.subarray(p * size, (p + 1) * size), embedding, d),
        ),
      );
    };
  } finally {
    for (const value of values.values()) value.dispose();
    map.cache.dispose();
  }
}

/** Beginnings of the sampled prompts, taken from every set in turn. */
const choosePrefixes = (sets: readonly Samples[]): Uint32Array[] =>
  prefixLengths(sets[0].length).map((count, i) => {
    const { ids, length } = sets[i % sets.length];
    const prompt = Math.floor(i / sets.length) % (ids.length / length);
    return ids.slice(prompt * length, prompt * length + count);
  });

/** How much of prompts of some length stands before the tokens compared: all but one, a half, a quarter; not nothing. */
const prefixLengths = (length: number): number[] =>
  Array.from({ length: length > 1 ? PREFIXES : 0 }, (_, i) =>
    Math.max(1, Math.floor((length - 1) / 2 ** Math.floor((3 * i) / PREFIXES))),
  );

/** The most rows that `measureKappa` runs, given prompts of some length. */
export const kappaRows = (length: number): number =>
  prefixLengths(length).reduce((sum, count) => sum + count + TOKENS, 0);

/** Half of them random, the other half their nearest among the singles: near pairs are where a ratio is smallest. */
function neighbours({ ids, rows }: Samples, d: number): Uint32Array {
  const n = Math.min(ids.length, MOST_ROWS);
  const { next } = seededRandom(3);
  const chosen = new Set<number>();
  for (let tries = 0; tries < TOKENS && chosen.size < Math.min(TOKENS, n); tries++) {
    const a = Math.floor(next() * n);
    let nearest = -1;
    let least = Number.POSITIVE_INFINITY;
    for (let b = 0; b < n; b++) {
      const distance = b === a ? Number.POSITIVE_INFINITY : gap(rows, a, b, d);
      if (distance < least) [nearest, least] = [b, distance];
    }
    chosen.add(a);
    if (nearest >= 0) chosen.add(nearest);
  }
  return Uint32Array.from([...chosen].slice(0, TOKENS), (r) => ids[r]);
}
