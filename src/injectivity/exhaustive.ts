import type { LanguageModel } from '../model/model.ts';
import { type MarginOptions, margins } from './margins.ts';
import type { PromptSet } from './prompt-set.ts';
import type { ExhaustiveResult, ResultLayer } from './result.ts';

/**
 * Continues the closest prompts of each layer by every token of the vocabulary, and finds the nearest two continuations
 * of each (arXiv 2510.15511, section 4, does so for 10). Prompts that fill the context are passed over.
 * @param layers Of a result, with enough closest pairs: `count - 1` or more.
 * @param count How many prompts of each layer.
 * @throws The signal's reason.
 */
export async function* continueClosest(
  model: LanguageModel,
  { prompts }: PromptSet,
  layers: readonly ResultLayer[],
  count: number,
  options: Omit<MarginOptions, 'layers' | 'tokens'> = {},
): AsyncGenerator<ExhaustiveResult> {
  const { contextLength, vocabularySize } = model.config;
  for (const { layer, precision, closest } of layers) {
    if (precision !== 'f32') continue;
    const ranks = [...new Set(closest.flatMap((pair) => pair.ranks))];
    const own = ranks.map((rank) => prompts[rank]).filter(({ ids }) => ids.length < contextLength);
    const prefixes = own.slice(0, count).map(({ ids }) => ids);
    for await (const { prefix, layers } of margins(model, prefixes, { ...options, layers: [layer] })) {
      const [{ distance, relative, tokens }] = layers;
      yield { layer, line: own[prefix].line, continuations: vocabularySize, distance, relative, tokens };
    }
  }
}
