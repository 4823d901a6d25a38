import type { ModelConfig } from '../model/config.ts';

/** Counts the work of an inversion in units of one forward pass over the prompt up to the layer (`InversionCost`). */
export interface CostMeter {
  /** Notes `count` rows run through `blocks` blocks. */
  rows(count: number, blocks: number): void;
  /** Notes one row run through the output head. */
  head(): void;
  forwardEquivalents(): number;
}

/** Matrix products only: attention over short prefixes, norms and distances are a few percent. */
export function costMeter(config: ModelConfig, layer: number, length: number): CostMeter {
  const { width: d, innerWidth, vocabularySize } = config;
  const blockFlops = 2 * (4 * d * d + 2 * d * innerWidth);
  // The states of layer 0 need no block; a row then counts as one, so that the unit is not nothing.
  const depth = (blocks: number) => Math.max(blocks, 1);
  let flops = 0;
  return {
    rows(count, blocks) {
      flops += count * depth(blocks) * blockFlops;
    },
    head() {
      flops += 2 * d * vocabularySize;
    },
    forwardEquivalents: () => flops / (length * depth(layer) * blockFlops),
  };
}
