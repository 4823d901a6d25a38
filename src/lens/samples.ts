import { InputError } from '../errors.ts';
import { capture, type HookPoint, type Hooks } from '../model/hooks.ts';
import { countFrom, type LanguageModel } from '../model/model.ts';
import { newPositionMap } from '../model/position-map.ts';
import { softmax } from '../ops/softmax.ts';
import { seededRandom } from '../reference/random.ts';
import { readAll, type Tensor } from '../tensor/tensor.ts';

/** Prompts of one length with their states: what a lens is fitted to. Rows stand prompt after prompt. */
export interface Samples {
  readonly length: number;
  /** Token ids, [prompts, length]. */
  readonly ids: Uint32Array;
  /** Input rows wte + wpe, [prompts * length, d]. */
  readonly rows: Float32Array;
  /** States after the layers asked for, [prompts * length, d] each. */
  readonly states: ReadonlyMap<number, Float32Array>;
}

/** What drawing samples needs to know. */
export interface Sampling {
  readonly layers: readonly number[];
  readonly prompts: number;
  readonly length: number;
  readonly seed: number;
  /** Called with the rows that went through the model. */
  readonly onRows: (count: number) => void;
  readonly signal: AbortSignal | undefined;
}

/** Prompts of a batch of random ones: about 500 rows. */
const PROMPTS_AT_ONCE = 4;

/**
 * Uniformly random prompts. Every second one starts somewhere in the model's context rather than at its beginning, so
 * that the lens knows all positions.
 */
export async function randomSamples(model: LanguageModel, sampling: Sampling): Promise<Samples> {
  const { config } = model;
  const { prompts, length, layers, seed, onRows, signal } = sampling;
  const random = seededRandom(seed);
  const ids = Uint32Array.from({ length: prompts * length }, () => Math.floor(random.next() * config.vocabularySize));
  const offsets = offsetsOf(prompts, length, config.contextLength, random.next);
  const collected = collector(model, layers, prompts * length);
  for (let first = 0; first < prompts; first += PROMPTS_AT_ONCE) {
    signal?.throwIfAborted();
    const count = Math.min(PROMPTS_AT_ONCE, prompts - first);
    const map = newPositionMap(model, Math.max(...layers), { slots: count, capacity: length });
    try {
      const positions = Uint32Array.from(
        { length: count * length },
        (_, r) => offsets[first + Math.floor(r / length)] + (r % length),
      );
      const rows = ids.subarray(first * length, (first + count) * length);
      const segments = Array.from({ length: count }, (_, slot) => ({ slot, count: length }));
      await collected.run(rows, positions, countFrom(first * length, count * length), (input, hooks) => {
        map.extend(input, segments, hooks);
        return undefined;
      });
      onRows(count * length);
    } finally {
      map.cache.dispose();
    }
  }
  return { length, ids, ...collected };
}

/**
 * Prompts sampled from the model itself at temperature 1, after a uniformly random first token: text as the model knows
 * it, without any text. All grow in lockstep; the states are those of the sampling passes.
 */
export async function selfSamples(model: LanguageModel, sampling: Sampling): Promise<Samples> {
  const { config } = model;
  const { prompts, length, layers, seed, onRows, signal } = sampling;
  const random = seededRandom(seed);
  const ids = new Uint32Array(prompts * length);
  for (let p = 0; p < prompts; p++) ids[p * length] = Math.floor(random.next() * config.vocabularySize);
  const offsets = offsetsOf(prompts, length, config.contextLength, random.next);
  const collected = collector(model, layers, prompts * length);
  const slots = countFrom(0, prompts);
  const segments = Array.from(slots, (slot) => ({ slot, count: 1 }));
  const map = newPositionMap(model, config.layers, { slots: prompts, capacity: length });
  try {
    for (let t = 0; t < length; t++) {
      signal?.throwIfAborted();
      const column = slots.map((p) => ids[p * length + t]);
      const at = slots.map((p) => p * length + t);
      const probabilities = await collected.run(
        column,
        slots.map((p) => offsets[p] + t),
        at,
        (input, hooks) => {
          const states = map.extend(input, segments, hooks);
          return t + 1 < length ? softmax(model.logits(states)) : undefined; // (prompts, V)
        },
      );
      onRows(prompts);
      if (!probabilities) break;
      for (let p = 0; p < prompts; p++) {
        const row = probabilities.subarray(p * config.vocabularySize, (p + 1) * config.vocabularySize);
        ids[p * length + t + 1] = draw(row, random.next());
      }
    }
  } finally {
    map.cache.dispose();
  }
  return { length, ids, ...collected };
}

/** Single tokens at the first position. @param ids Which. */
export async function firstSamples(
  model: LanguageModel,
  ids: Uint32Array,
  { layers, onRows, signal }: Pick<Sampling, 'layers' | 'onRows' | 'signal'>,
): Promise<Samples> {
  const collected = collector(model, layers, ids.length);
  const batch = 512;
  const map = newPositionMap(model, Math.max(...layers), { capacity: 1 });
  try {
    for (let first = 0; first < ids.length; first += batch) {
      signal?.throwIfAborted();
      const part = ids.subarray(first, first + batch);
      const zeros = new Uint32Array(part.length);
      await collected.run(part, zeros, countFrom(first, part.length), (input, hooks) => {
        map.states(input, zeros, undefined, hooks);
        return undefined;
      });
      onRows(part.length);
    }
  } finally {
    map.cache.dispose();
  }
  return { length: 1, ids, ...collected };
}

/** Every second prompt starts at 0, the others anywhere the context leaves room. */
const offsetsOf = (prompts: number, length: number, contextLength: number, next: () => number): Uint32Array =>
  Uint32Array.from({ length: prompts }, (_, p) =>
    p % 2 === 0 ? 0 : Math.floor(next() * (contextLength - length + 1)),
  );

/** The token at which the cumulative probability passes `level`. */
function draw(probabilities: Float32Array, level: number): number {
  let mass = 0;
  const token = probabilities.findIndex((probability) => {
    mass += probability;
    return mass > level;
  });
  // Rounding may leave the sum a little below one.
  return token >= 0 ? token : probabilities.length - 1;
}

/** Gathers input rows and states of passes that are run in any order. */
function collector(model: LanguageModel, layers: readonly number[], total: number) {
  const { context, config } = model;
  const d = config.width;
  const points = layers.map((layer): HookPoint => `blocks.${layer - 1}.hook_resid_post`);
  const rows = new Float32Array(total * d);
  const states = new Map(layers.map((layer) => [layer, new Float32Array(total * d)]));
  const keep = (from: Float32Array, to: Float32Array, at: Uint32Array) => {
    at.forEach((row, r) => {
      to.set(from.subarray(r * d, (r + 1) * d), row * d);
    });
  };
  return {
    rows,
    states,
    /**
     * Runs one pass over tokens at positions; its rows are kept at the indices `at`.
     * @returns What `pass` returned, read back in the same round trip.
     */
    async run(
      ids: Uint32Array,
      positions: Uint32Array,
      at: Uint32Array,
      pass: (input: Tensor, hooks: Hooks) => Tensor | undefined,
    ): Promise<Float32Array | undefined> {
      const { hooks, values } = capture(points);
      try {
        const made = context.scope(() => {
          const input = model.embed(ids, positions); // (n, d)
          const more = pass(input, hooks);
          return more ? [input, more] : [input];
        });
        const captured = points.map((point) => values.get(point)!);
        const read = await readAll([...captured, ...made]).finally(() => {
          for (const tensor of made) tensor.dispose();
        });
        layers.forEach((layer, i) => {
          expectFinite(read[i], layer);
          keep(read[i], states.get(layer)!, at);
        });
        const [embedded, more] = read.slice(layers.length);
        keep(embedded, rows, at);
        return more;
      } finally {
        for (const value of values.values()) value.dispose();
      }
    },
  };
}

/** @throws InputError when states of a layer are not finite. */
export function expectFinite(state: Float32Array, layer: number): void {
  if (state.every(Number.isFinite)) return;
  throw new InputError(
    `States of layer ${layer} are not finite.`,
    'The weights are damaged, or overflow f32: check the checkpoint ("preimage generate" shows whether it works).',
  );
}
