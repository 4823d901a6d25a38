import { capture, type HookPoint } from '../model/hooks.ts';
import { countFrom, type LanguageModel } from '../model/model.ts';
import { newPositionMap } from '../model/position-map.ts';
import { readBytes, take, upload } from '../tensor/tensor.ts';
import type { InputTables, StateLikelihood } from './detection-likelihood.ts';
import { nearestRows, rowLength } from './inspect.ts';
import type { Vector } from './requests.ts';

/** Vectors behind a text, as a model's input has them. */
export interface FreeInput {
  readonly prefix: Uint32Array;
  /** With their positions' rows, [n, d]. */
  readonly rows: Float32Array;
}

/** What may tell vectors from text, at each position. */
export interface InputScores {
  /** To the nearest row of the vocabulary, in root mean squares of the rows' norms. */
  readonly distances: readonly number[];
  /** Of the vector, in the same unit. */
  readonly lengths: readonly number[];
  /** -log p(h_t | h_(t-1)) in nats, [layer][position]. */
  readonly surprises: readonly (readonly number[])[];
}

/** Below this distance a row is one of the vocabulary: positions were added and taken off in f32. */
const ROUNDING = 1e-6;

/** The vectors of an input without their positions' rows. */
export function freeVectors({ prefix, rows }: FreeInput, { positions }: InputTables, d: number): Vector[] {
  return Array.from({ length: rows.length / d }, (_, n) =>
    Float64Array.from({ length: d }, (_, i) => rows[n * d + i] - positions[(prefix.length + n) * d + i]),
  );
}

/** How far vectors are from the vocabulary, in the unit of `nearestRows`; 0 for its own rows. */
export const distancesOf = (vectors: readonly Vector[], { vocabulary }: InputTables): number[] =>
  vectors.map((vector) => {
    const [{ distance }] = nearestRows(vocabulary, vector, 1);
    return distance < ROUNDING ? 0 : distance;
  });

/**
 * The scores of an input.
 * @param states Its states at the layers that are judged, its prefix included, [T, d] each (`statesOf`).
 * @param likelihoods Of those layers, in the same order.
 */
export function scoresOf(
  input: FreeInput,
  states: readonly Float32Array[],
  tables: InputTables,
  { width: d, likelihoods }: { readonly width: number; readonly likelihoods: readonly StateLikelihood[] },
): InputScores {
  const vectors = freeVectors(input, tables, d);
  return {
    distances: distancesOf(vectors, tables),
    lengths: vectors.map((vector) => rowLength(tables.vocabulary, vector)),
    surprises: likelihoods.map((likelihood, k) => {
      const state = (t: number) => Float64Array.from(states[k].subarray(t * d, (t + 1) * d));
      return vectors.map((_, n) => {
        const t = input.prefix.length + n;
        return -likelihood(state(t), t, t > 0 ? state(t - 1) : undefined);
      });
    }),
  };
}

/**
 * The states that inputs lead to, their prefixes included, all from one pass.
 * @param inputs With as many positions each.
 * @param layers Of the states, 1 to L.
 * @returns [input][layer], [T, d] each.
 * @throws InputError for prefixes or lengths the model cannot take.
 */
export async function statesOf(
  model: LanguageModel,
  inputs: readonly FreeInput[],
  layers: readonly number[],
): Promise<Float32Array[][]> {
  const { context, config } = model;
  const { width: d } = config;
  const length = inputs[0].prefix.length + inputs[0].rows.length / d;
  const rows = new Float32Array(inputs.length * length * d);
  for (const [slot, { prefix, rows: free }] of inputs.entries()) {
    const text = prefix.length > 0 ? await take(model.embed(prefix, countFrom(0, prefix.length))) : [];
    rows.set(text, slot * length * d);
    rows.set(free, slot * length * d + text.length);
  }
  const points = layers.map((layer): HookPoint => `blocks.${layer - 1}.hook_resid_post`);
  const { hooks, values } = capture(points);
  const map = newPositionMap(model, config.layers, { slots: inputs.length, capacity: length });
  try {
    const segments = inputs.map((_, slot) => ({ slot, count: length }));
    context.scope(() => void map.extend(upload(context, rows, [inputs.length * length, d]), segments, hooks));
    const states = (await readBytes(points.map((point) => values.get(point)!))).map((part) => new Float32Array(part));
    return inputs.map((_, i) => states.map((all) => all.subarray(i * length * d, (i + 1) * length * d)));
  } finally {
    for (const value of values.values()) value.dispose();
    map.cache.dispose();
  }
}
