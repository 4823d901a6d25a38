import { countFrom, type LanguageModel } from '../model/model.ts';
import type { PositionMap } from '../model/position-map.ts';

/**
 * Runs a text into an empty slot of a map's cache: what is probed then stands behind it.
 * @param whole A map through all blocks of its cache.
 */
export function enterPrefix(model: LanguageModel, whole: PositionMap, prefix: Uint32Array, slot = 0): void {
  if (prefix.length === 0) return;
  model.context.scope(() => {
    whole.extend(model.embed(prefix, countFrom(0, prefix.length)), [{ slot, count: prefix.length }]);
  });
}
