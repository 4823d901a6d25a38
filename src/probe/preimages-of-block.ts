import type { LanguageModel } from '../model/model.ts';
import { positionMap } from '../model/position-map.ts';
import { createPrefixCache } from '../model/prefix-cache.ts';
import type { ReferenceModel } from '../model/reference.ts';
import { firstAttention } from './blocks/first-attention.ts';
import { firstAttentionInverse } from './blocks/first-attention-inverse.ts';
import type { ModelParameters } from './certificates/model-parts.ts';
import { enterPrefix } from './prefix.ts';
import { type Coverage, coverage } from './preimages-exact.ts';
import { type CountedPreimages, preimagesSideBySide, type SideBySideOptions } from './preimages-side-by-side.ts';
import type { Vector } from './requests.ts';
import { subBlocks } from './row-map.ts';

/** The preimages of an output under a half block of a model. */
export interface BlockPreimages extends CountedPreimages {
  /** Beside all there are: of attention at the first position, where they can be listed exactly. */
  readonly exact?: Coverage;
}

/** Where, and how, they are searched. */
export interface BlockPreimagesOptions extends Omit<SideBySideOptions, 'context' | 'chain'> {
  /** Where the half block starts: l for the attention of block l, l + 0.5 for its MLP. */
  readonly from: number;
  /** Token ids before. */
  readonly prefix: Uint32Array;
}

/**
 * Lists the preimages of states under one half block of a model, behind a prefix; at the first position those of attention
 * are compared with the roots of its one-dimensional equation.
 * @param targets [d] each, where the half block ends.
 * @throws InputError for places and prefixes that the model does not have.
 */
export async function preimagesOfBlock(
  model: LanguageModel,
  params: ModelParameters,
  targets: readonly Vector[],
  { from, prefix, ...options }: BlockPreimagesOptions,
): Promise<BlockPreimages[]> {
  const { context, config } = model;
  const depth = Math.floor(from) + 1;
  const twin: ReferenceModel = await params.reference();
  const held = twin.prefix(depth);
  const cache = createPrefixCache(model, { capacity: Math.max(1, prefix.length), depth });
  try {
    if (prefix.length > 0) {
      enterPrefix(model, positionMap(model, depth, cache), prefix);
      twin.extend(twin.embed(prefix), held);
    }
    const chain = {
      steps: subBlocks(model, from + 0.5, cache, from),
      twin: (x: Vector) => twin.states(x, held, from + 0.5, from),
    };
    const tasks = targets.map((y) => ({ y }));
    const lists = await preimagesSideBySide(tasks, { ...options, context, chain });
    if (!Number.isInteger(from) || prefix.length > 0) return lists;
    const all = firstAttentionInverse(await firstAttention(config, from, params.parameter));
    return lists.map((list, i) => ({ ...list, exact: coverage(list, all(targets[i])) }));
  } finally {
    cache.dispose();
  }
}
