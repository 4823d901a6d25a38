import type { ModelConfig } from '../model/config.ts';

/** Counts the work of an inversion in units of one forward pass over the prompt up to the layer (`InversionCost`). */
export interface CostMeter {
  /** Notes `count` rows run through `blocks` blocks. */
  rows(count: number, blocks: number): void;
  /**
   * Notes `count` rows whose gradient was taken back through `blocks` blocks, besides the forward before it. With
   * frozen weights the way back has one matrix product for each of the forward: a row costs as much as in `rows`.
   */
  vjpRows(count: number, blocks: number): void;
  /** Notes one row run through the output head to score the next token. */
  head(): void;
  /** Notes one row compared with every embedding row: as a matrix product it would cost what the head does. */
  scan(): void;
  /** Notes work given in floating-point operations; `scoring` if it went into scoring proposals. */
  flops(count: number, scoring?: boolean): void;
  forwardEquivalents(): number;
  /** The part of `forwardEquivalents` that went into scoring: heads, scans, and `flops` noted as such. */
  scoringEquivalents(): number;
}

/**
 * Matrix products only, two operations for each multiply-add: attention over short prefixes and norms are a few
 * percent. The blocks of GPT-2 and GPT-Neo cost the same.
 */
export function costMeter(config: ModelConfig, layer: number, length: number): CostMeter {
  const { width: d, innerWidth, vocabularySize } = config;
  const blockFlops = 2 * (4 * d * d + 2 * d * innerWidth);
  const tableFlops = 2 * d * vocabularySize;
  // The states of layer 0 need no block; a row then counts as one, so that the unit is not nothing.
  const depth = (blocks: number) => Math.max(blocks, 1);
  const unit = length * depth(layer) * blockFlops;
  let total = 0;
  let scores = 0;
  const flops = (count: number, scoring = false) => {
    total += count;
    if (scoring) scores += count;
  };
  const rows = (count: number, blocks: number) => flops(count * depth(blocks) * blockFlops);
  return {
    rows,
    vjpRows: rows,
    head: () => flops(tableFlops, true),
    scan: () => flops(tableFlops, true),
    flops,
    forwardEquivalents: () => total / unit,
    scoringEquivalents: () => scores / unit,
  };
}
