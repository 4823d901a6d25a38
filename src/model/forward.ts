import { reshape, type Tensor } from '../tensor/tensor.ts';
import { capture, checkHooks, type HookPoint, type Hooks } from './hooks.ts';
import { checkIds, checkLayer, countFrom, type LanguageModel } from './model.ts';
import { newPositionMap } from './position-map.ts';

/** What a forward pass gives back. */
export interface ForwardOptions {
  /** Stop at this residual state; default L, all blocks. */
  readonly layer?: number;
  readonly hooks?: Hooks;
}

/**
 * Residual states of one prompt after `layer` blocks.
 * @returns [T, d]
 * @throws InputError for ids or layers the model does not have, and for hooks this pass does not come by.
 */
export function forward(model: LanguageModel, ids: Uint32Array, options: ForwardOptions = {}): Tensor {
  const { layer = model.config.layers, hooks } = options;
  checkIds(model.config, ids);
  checkLayer(model.config, layer);
  if (hooks) checkHooks(hooks, layer);
  const map = newPositionMap(model, layer, { capacity: ids.length });
  try {
    return model.context.scope(() => {
      const rows = model.embed(ids, countFrom(0, ids.length), hooks);
      return map.extend(rows, [{ slot: 0, count: ids.length }], hooks);
    });
  } finally {
    map.cache.dispose();
  }
}

/** Residual states 0..L of one prompt, [T, d] each, from one pass; the caller (or its scope) disposes them. */
export function residualStates(model: LanguageModel, ids: Uint32Array): Tensor[] {
  const { layers } = model.config;
  return model.context.scope(() => {
    const points = Array.from({ length: layers }, (_, layer): HookPoint => `blocks.${layer}.hook_resid_pre`);
    const { hooks, values } = capture(points);
    try {
      const last = forward(model, ids, { hooks });
      return [...points.map((point) => values.get(point)!), last].map((state) => reshape(state, state.shape));
    } finally {
      for (const value of values.values()) value.dispose();
    }
  });
}
