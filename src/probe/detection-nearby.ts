import { dot } from '../linalg/dense.ts';
import { difference, norm, plus, scaled } from '../linalg/vector.ts';
import { countFrom, type LanguageModel } from '../model/model.ts';
import { newPositionMap, type PositionMap } from '../model/position-map.ts';
import type { seededRandom } from '../reference/random.ts';
import { read, type Tensor, take, takeBytes, upload } from '../tensor/tensor.ts';
import type { leads } from './detection-lead.ts';
import type { ElicitTask } from './elicit.ts';
import type { Vector } from './requests.ts';

/** How vectors are moved away from token rows. */
export interface NearbyOptions {
  /** Logits by which each token is to win. */
  readonly margin: number;
  readonly random: ReturnType<typeof seededRandom>;
  /** What tokens are drawn from, each as often as it is there; default the vocabulary. */
  readonly tokens?: Uint32Array;
  /** Tokens drawn for each vector, the most promising of which is moved; default 16. */
  readonly starts?: number;
  /** Moves of a vector; default 60. */
  readonly moves?: number;
}

const STARTS = 16;
const MOVES = 60;
/** Of the start's length: no move is longer, as the margin is linear near by only. */
const LONGEST_MOVE = 0.25;
/** Logits asked for above the margin, so that the moves end. */
const SPARE = 0.05;

/** A model's map with what margins are measured by. */
interface Setting extends Required<NearbyOptions> {
  readonly model: LanguageModel;
  readonly map: PositionMap;
  readonly leadOf: ReturnType<typeof leads>;
  /** wpe, a row for each position. */
  readonly positions: readonly Vector[];
}

/** A vector to be found: behind the prefix in a slot, it is to force a token. */
interface Wanted {
  readonly slot: number;
  readonly token: number;
}

/**
 * Vectors near rows of the vocabulary that force a text, teacher-forced. No state is prescribed: any that forces the
 * token will do, and each vector goes no farther from the row of some token than the margin asks. It moves by Newton's
 * method on the margin alone, along its gradient, until the token wins (DeepFool, arXiv 1511.04599), and keeps the length
 * of the row it started from: a short way, not the shortest, and no proof that it leads anywhere.
 * @param leadOf Of the model's output head.
 * @returns Of each text its vectors with their positions' rows, [n, d]; where the moves did not suffice, the last ones.
 * @throws InputError for prefixes the model cannot take.
 */
export async function forceNearby(
  model: LanguageModel,
  leadOf: ReturnType<typeof leads>,
  tasks: readonly ElicitTask[],
  options: NearbyOptions,
): Promise<Float32Array[]> {
  const { context, config } = model;
  const capacity = Math.max(...tasks.map(({ text, prefix = [] }) => prefix.length + text.length));
  const map = newPositionMap(model, config.layers, { slots: tasks.length, capacity });
  const tokens = options.tokens ?? countFrom(0, config.vocabularySize);
  const positions = rowsOf(await read(model.weights.tensor('wpe.weight')), config.width);
  const setting: Setting = { starts: STARTS, moves: MOVES, tokens, ...options, model, map, leadOf, positions };
  const found = tasks.map(({ text }) => new Float32Array(text.length * config.width));
  try {
    tasks.forEach(({ prefix = new Uint32Array() }, slot) => {
      const { length: count } = prefix;
      if (count > 0) context.scope(() => void map.extend(model.embed(prefix, countFrom(0, count)), [{ slot, count }]));
    });
    for (let n = 0; ; n++) {
      const wanted = tasks.flatMap(({ text }, slot) => (n < text.length ? [{ slot, token: text[n] }] : []));
      if (wanted.length === 0) return found;
      const vectors = await pushed(setting, wanted, await bestStarts(setting, wanted));
      wanted.forEach(({ slot }, i) => {
        found[slot].set(vectors[i], n * config.width);
      });
      const segments = wanted.map(({ slot }) => ({ slot, count: 1 }));
      context.scope(() => void map.extend(stacked(model, vectors), segments));
    }
  } finally {
    map.cache.dispose();
  }
}

/** For each vector wanted the row of a random token: of several, the one that leads nearest to forcing. */
async function bestStarts(
  { model, map, leadOf, random, tokens, starts }: Setting,
  wanted: readonly Wanted[],
): Promise<Vector[]> {
  const { context } = model;
  const tried = wanted.flatMap((one) => Array<Wanted>(starts).fill(one));
  const ids = Uint32Array.from(tried, () => tokens[Math.floor(random.next() * tokens.length)]);
  const slots = Uint32Array.from(tried, ({ slot }) => slot);
  const positions = slots.map((slot) => map.cache.lengths[slot]);
  const parts = await takeBytes(
    context.scope(() => {
      const rows = model.embed(ids, positions);
      return [rows, map.states(rows, slots)];
    }),
  );
  const [rows, states] = parts.map((part) => rowsOf(new Float32Array(part), map.width));
  const margins = states.map((state, i) => leadOf(state, tried[i].token).margin);
  return wanted.map((_, i) => {
    const own = margins.slice(i * starts, (i + 1) * starts);
    return rows[i * starts + own.indexOf(Math.max(...own))];
  });
}

/** Vectors moved until each forces its token, all side by side. */
async function pushed(
  { model, map, leadOf, positions, margin, moves }: Setting,
  wanted: readonly Wanted[],
  starts: readonly Vector[],
): Promise<Vector[]> {
  const { context } = model;
  const own = wanted.map(({ slot }) => positions[map.cache.lengths[slot]]);
  const vectors = starts.map((start, i) => difference(start, own[i])); // without their positions' rows
  const lengths = vectors.map(norm);
  let open = [...vectors.keys()];
  for (let move = 0; move <= moves && open.length > 0; move++) {
    const slots = Uint32Array.from(open, (i) => wanted[i].slot);
    const rows = stacked(
      model,
      open.map((i) => plus(vectors[i], own[i])),
    );
    const at = map.linearize(rows, slots); // it lives beyond this recording
    rows.dispose();
    try {
      const states = rowsOf(await read(at.value), map.width);
      const ahead = states.map((state, k) => leadOf(state, wanted[open[k]].token));
      if (move === moves || ahead.every((lead) => lead.margin >= margin)) break;
      const gradients = ahead.map(({ gradient }) => gradient);
      const pulled = rowsOf(await take(context.scope(() => at.vjp(stacked(model, gradients)))), map.width);
      open = open.filter((i, k) => {
        if (ahead[k].margin >= margin) return false;
        const vector = vectors[i];
        const slope = plus(pulled[k], vector, -dot(pulled[k], vector) / lengths[i] ** 2); // along the sphere
        const steepness = norm(slope);
        const length = Math.min((margin + SPARE - ahead[k].margin) / steepness, LONGEST_MOVE * lengths[i]);
        const moved = plus(vector, slope, length / steepness);
        vectors[i] = scaled(moved, lengths[i] / norm(moved));
        return true;
      });
    } finally {
      at.dispose();
    }
  }
  return vectors.map((vector, i) => plus(vector, own[i]));
}

function stacked({ context }: Pick<LanguageModel, 'context'>, vectors: readonly Vector[]): Tensor {
  const d = vectors[0].length;
  const values = new Float32Array(vectors.length * d);
  vectors.forEach((vector, i) => {
    values.set(vector, i * d);
  });
  return upload(context, values, [vectors.length, d]);
}

const rowsOf = (values: Float32Array, d: number): Vector[] =>
  Array.from({ length: values.length / d }, (_, r) => Float64Array.from(values.subarray(r * d, (r + 1) * d)));
