import { selfSamples } from '../lens/samples.ts';
import type { LanguageModel } from '../model/model.ts';
import { newPositionMap } from '../model/position-map.ts';
import { takeBytes } from '../tensor/tensor.ts';

const PROMPTS = 32;
const LENGTH = 17;

/**
 * States of texts that the model itself makes up, at a place: what its states are like, where no text is at hand. The
 * first position, which some models give a norm of thousands, is left out.
 * @param place In half blocks as those of `PositionMap`.
 * @returns [n, d], for `stateStatistics`.
 */
export async function naturalStates(
  model: LanguageModel,
  place: number,
  { seed, signal }: { readonly seed: number; readonly signal?: AbortSignal },
): Promise<Float32Array> {
  const { config, context } = model;
  const length = Math.min(LENGTH, config.contextLength);
  const { ids } = await selfSamples(model, {
    layers: [config.layers],
    prompts: PROMPTS,
    length,
    seed,
    onRows: () => {},
    signal,
  });
  const map = newPositionMap(model, place, { slots: PROMPTS, capacity: length });
  try {
    const positions = Uint32Array.from(ids, (_, i) => i % length);
    const segments = Array.from({ length: PROMPTS }, (_, slot) => ({ slot, count: length }));
    const [bytes] = await takeBytes([context.scope(() => map.extend(model.embed(ids, positions), segments))]);
    const states = new Float32Array(bytes); // (PROMPTS * length, d)
    if (length === 1) return states;
    return states.filter((_, i) => Math.floor(i / config.width) % length > 0);
  } finally {
    map.cache.dispose();
  }
}
