import type { LanguageModel } from '../model/model.ts';
import { type MarginOptions, margins } from './margins.ts';
import type { PromptSet } from './prompt-set.ts';
import type { ExhaustiveResult, ResultLayer } from './result.ts';

/** How the closest prompts are continued. */
export interface ContinueOptions extends Omit<MarginOptions, 'layers' | 'tokens'> {
  /** Those that are continued already. */
  readonly known?: readonly ExhaustiveResult[];
}

/**
 * Continues the closest prompts of each layer by every token of the vocabulary, and finds the nearest two continuations
 * of each (arXiv 2510.15511, section 4, does so for 10). Prompts that fill the context are passed over.
 * @param layers Of a result that keeps `count - 1` closest pairs or more.
 * @param count How many prompts of each layer: of close pairs that share prompts, there may be fewer.
 * @throws The signal's reason.
 */
export async function* continueClosest(
  model: LanguageModel,
  { prompts }: PromptSet,
  layers: readonly ResultLayer[],
  count: number,
  { known = [], ...options }: ContinueOptions = {},
): AsyncGenerator<ExhaustiveResult> {
  const { contextLength, vocabularySize } = model.config;
  for (const { layer, precision, closest } of layers) {
    if (precision !== 'f32') continue;
    const ranks = [...new Set(closest.flatMap((pair) => pair.ranks))];
    const own = ranks.map((rank) => prompts[rank]).filter(({ ids }) => ids.length < contextLength);
    const done = new Set(known.filter((one) => one.layer === layer).map(({ line }) => line));
    const open = own.slice(0, count).filter(({ line }) => !done.has(line));
    const prefixes = open.map(({ ids }) => ids);
    for await (const { prefix, layers } of margins(model, prefixes, { ...options, layers: [layer] })) {
      const [{ distance, relative, tokens }] = layers;
      yield { layer, line: open[prefix].line, continuations: vocabularySize, distance, relative, tokens };
    }
  }
}
