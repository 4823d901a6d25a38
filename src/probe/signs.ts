import type { LanguageModel } from '../model/model.ts';
import { positionMap } from '../model/position-map.ts';
import { createPrefixCache } from '../model/prefix-cache.ts';
import { upload } from '../tensor/tensor.ts';
import { determinantSigns } from './inspect.ts';
import { enterPrefix } from './prefix.ts';
import type { ProbeResult } from './probe.ts';
import { runRounds } from './rounds.ts';
import { subBlocks } from './row-map.ts';

/** Where free vectors and their targets stand, in half blocks as those of `PositionMap`. */
export interface Span {
  readonly layer: number;
  readonly from: number;
}

/**
 * The sign of det Dg of each step at the first free vectors of a result: 1 + d rows a step.
 * @param count Vectors to look at.
 * @returns [vector][step], first step first; fewer vectors when `signal` stops it.
 */
export async function signsOf(
  model: LanguageModel,
  { prefix, solutions }: ProbeResult,
  { layer, from, count, signal }: Span & { readonly count: number; readonly signal?: AbortSignal },
): Promise<number[][]> {
  const { context, config } = model;
  const depth = Math.ceil(layer);
  const cache = createPrefixCache(model, { capacity: prefix.length + solutions.length, depth });
  const signs: number[][] = [];
  try {
    const whole = positionMap(model, depth, cache);
    enterPrefix(model, whole, prefix);
    const chain = { steps: subBlocks(model, layer, cache, from) };
    for (const { x } of solutions.slice(0, count)) {
      const { results } = await runRounds([{ slot: 0, search: determinantSigns(chain, x) }], {
        context,
        chain,
        signal,
      });
      const [found] = results;
      if (!found) break;
      signs.push(found);
      if (from > 0) continue;
      context.scope(() => {
        whole.extend(upload(context, Float32Array.from(x), [1, config.width]), [{ slot: 0, count: 1 }]);
      });
    }
    return signs;
  } finally {
    cache.dispose();
  }
}
