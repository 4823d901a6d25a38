import { checkTokens, type LanguageModel } from '../model/model.ts';
import { distance } from '../ops/distance.ts';
import { add } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import { topk } from '../ops/topk.ts';
import { type Tensor, take, takeBytes, upload } from '../tensor/tensor.ts';
import type { Candidate } from './types.ts';

/**
 * The tokens whose embedding rows lie nearest to a token's, itself first.
 * @returns At most `count` ids.
 */
export async function nearestTokens(model: LanguageModel, token: number, count: number): Promise<Uint32Array> {
  const { context, tokenTable } = model;
  const ranked = context.scope(() => {
    const row = embedding(context, tokenTable, Uint32Array.of(token)); // (1, d)
    return tokenTable.chunks.map((chunk) => topk(distance(chunk, row), Math.min(count, chunk.shape[0]), 'smallest'));
  });
  const bytes = await takeBytes(ranked.flatMap(({ values, indices }) => [values, indices]));
  const found: Candidate[] = [];
  let first = 0;
  tokenTable.chunks.forEach((chunk, c) => {
    const distances = new Float32Array(bytes[2 * c]);
    new Uint32Array(bytes[2 * c + 1]).forEach((index, i) => {
      found.push({ token: first + index, distance: distances[i] });
    });
    first += chunk.shape[0];
  });
  // Of equal rows, the token itself comes first.
  found.sort((a, b) => a.distance - b.distance || Number(b.token === token) - Number(a.token === token));
  return Uint32Array.from(found.slice(0, count), (candidate) => candidate.token);
}

/**
 * How far each token's embedding row lies from a row, |wte_v - e|.
 * @param row e, [d]
 * @returns [vocabulary]
 */
export function rowDistances(model: LanguageModel, row: Float32Array): Promise<Float32Array> {
  return tableDistances(model, () => upload(model.context, row, [1, row.length]));
}

/**
 * How far each token's embedding lies from a state, |wte_v + wpe_p - h|.
 * @param state h, [1, d]
 * @param position p, in the model's position table.
 * @returns [vocabulary]
 */
export function embeddingDistances(model: LanguageModel, state: Tensor, position: number): Promise<Float32Array> {
  return tableDistances(model, () => add(state, positionRow(model, position), -1));
}

async function tableDistances({ context, tokenTable }: LanguageModel, row: () => Tensor): Promise<Float32Array> {
  const parts = context.scope(() => {
    const e = row(); // (1, d)
    return tokenTable.chunks.map((chunk) => distance(chunk, e));
  });
  return joined(await takeBytes(parts));
}

/** Numbers that came back in parts, one after another. */
export function joined(parts: readonly ArrayBuffer[]): Float32Array {
  const whole = new Float32Array(parts.reduce((sum, { byteLength }) => sum + byteLength / 4, 0));
  let filled = 0;
  for (const bytes of parts) {
    const part = new Float32Array(bytes);
    whole.set(part, filled);
    filled += part.length;
  }
  return whole;
}

/** What the embedding adds for a position, wpe_p, [1, d]. */
export function positionRow(model: LanguageModel, position: number): Tensor {
  const { context, tokenTable } = model;
  const zero = Uint32Array.of(0);
  return context.scope(() => {
    const both = model.embed(zero, Uint32Array.of(position)); // (1, d)
    return add(both, embedding(context, tokenTable, zero), -1);
  });
}

/**
 * The embedding row of a token, wte_v, [d].
 * @throws InputError for an id outside the vocabulary.
 */
export async function tokenRow({ context, config, tokenTable }: LanguageModel, token: number): Promise<Float32Array> {
  checkTokens(config, [token]);
  return take(embedding(context, tokenTable, Uint32Array.of(token)));
}
