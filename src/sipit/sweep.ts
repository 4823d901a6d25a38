import { lensesOf } from '../lens/store.ts';
import { residualStates } from '../model/forward.ts';
import type { LoadedModel } from '../model/load.ts';
import { checkLayer } from '../model/model.ts';
import { readAll } from '../tensor/tensor.ts';
import { invert } from './invert.ts';
import type { Inversion, InvertOptions } from './types.ts';

/** What came of one layer's states. */
export interface SweptLayer {
  readonly layer: number;
  readonly inversion: Inversion;
}

/**
 * Runs a prompt forward once, and inverts the states of each layer by themselves: how margin and cost change with depth
 * (arXiv 2510.15511, section 5). Lenses of all layers are fitted together.
 *
 * @param layers Each from 0 (the embedding) to L. When the signal fires, no further layer is begun.
 * @throws InputError for ids or layers the model does not have, and for unusable options.
 */
export async function* sweep(
  model: LoadedModel,
  ids: Uint32Array,
  layers: readonly number[],
  options: InvertOptions = {},
): AsyncGenerator<SweptLayer> {
  const { policy = 'speculative', lens, signal } = options;
  const { width } = model.config;
  for (const layer of layers) checkLayer(model.config, layer);
  const all = residualStates(model, ids); // L + 1 of (T, d)
  const states = await readAll(layers.map((layer) => all[layer])).finally(() => {
    for (const state of all) state.dispose();
  });
  if (policy === 'speculative') await lensesOf(model, layers, lens);
  for (const [i, layer] of layers.entries()) {
    if (signal?.aborted) return;
    const inversion = await invert(model, { values: states[i], width, layer, dtype: 'F32' }, options);
    yield { layer, inversion };
  }
}
