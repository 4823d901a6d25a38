import type { Cause } from '../injectivity/causes.ts';
import type { CollisionCost } from '../injectivity/collide.ts';
import { explainCollision, idsOf } from '../injectivity/explain.ts';
import type { PrefixMargins } from '../injectivity/margins.ts';
import type { PromptSet } from '../injectivity/prompt-set.ts';
import { collisionReport, marginReport, type ReportPrefix } from '../injectivity/report.ts';
import type { CollisionResult } from '../injectivity/result.ts';
import type { LoadedModel } from '../model/load.ts';
import { PUBLISHED_MARGINS, PUBLISHED_WIDTH } from '../sipit/published.ts';
import type { Line } from './lines.ts';
import { runOf, writePage } from './report.ts';

/** What the page of a test shows besides its result. */
export interface CollisionEvidence {
  readonly model: LoadedModel;
  readonly set: PromptSet;
  /** The lines that the prompts were read from. */
  readonly lines: readonly Line[];
  readonly cost?: CollisionCost;
  /** Of `findCauses`. */
  readonly causes?: readonly Cause[];
}

/** Writes the page of `collide --report`. @throws SourceError */
export async function writeCollisionReport(
  path: string,
  result: CollisionResult,
  { model, set, lines, cost, causes }: CollisionEvidence,
): Promise<void> {
  const texts = new Map(lines.map(({ number, text }) => [number, text]));
  const page = collisionReport(result, {
    ...(await runOf(model)),
    texts: (line) => texts.get(line),
    cost,
    causes,
    causesOf: causes && ((found, layer) => explainCollision(causes, ...idsOf(found, set), layer)),
  });
  await writePage(path, page);
}

/**
 * Writes the page of `margins --report`.
 * @param prefixes Those that `margins` was given. @param tokens Those compared, where not all were.
 * @throws SourceError
 */
export async function writeMarginReport(
  path: string,
  found: readonly PrefixMargins[],
  {
    model,
    prefixes,
    tokens,
  }: {
    readonly model: LoadedModel;
    readonly prefixes: readonly ReportPrefix[];
    readonly tokens?: Uint32Array;
  },
): Promise<void> {
  const { config, tokenizer } = model;
  const { vocabularySize } = config;
  const page = marginReport(found, prefixes, {
    ...(await runOf(model)),
    compared: tokens?.length ?? vocabularySize,
    vocabularySize,
    decode: tokenizer && ((ids) => tokenizer.decode(ids)),
    isPublished: config.layers === PUBLISHED_MARGINS.length && config.width === PUBLISHED_WIDTH,
  });
  await writePage(path, page);
}
