import type { LanguageModel } from '../model/model.ts';
import { newPositionMap } from '../model/position-map.ts';
import { crossEntropy } from '../ops/cross-entropy.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { Windows } from './data.ts';

/** The loss of a model on windows of text, with the cache of keys and values that it takes. */
export interface WindowLoss extends Disposable {
  /** Mean cross-entropy, in nats, of the tokens that follow, [1]; records only. At most as many windows as made for. */
  of(windows: Windows): Tensor;
  dispose(): void;
}

/** @param size The most windows at once, and their length. */
export function windowLoss(model: LanguageModel, size: { count: number; length: number }): WindowLoss {
  const map = newPositionMap(model, model.config.layers, { slots: size.count, capacity: size.length });
  const { cache } = map;
  return {
    of({ count, length, inputs, labels }) {
      for (let slot = 0; slot < count; slot++) cache.truncate(slot, 0);
      const positions = inputs.map((_, i) => i % length);
      const segments = Array.from({ length: count }, (_, slot) => ({ slot, count: length }));
      const states = map.extend(model.embed(inputs, positions), segments); // (n, d)
      return crossEntropy(model.logits(states), labels);
    },
    dispose: cache.dispose,
    [Symbol.dispose]: cache.dispose,
  };
}
