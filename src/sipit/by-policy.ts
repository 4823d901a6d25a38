import type { LoadedModel } from '../model/load.ts';
import { sliceRows } from '../ops/slice.ts';
import { upload } from '../tensor/tensor.ts';
import { costMeter } from './cost.ts';
import { clearlyNearest } from './decision.ts';
import type { Policy } from './policy.ts';
import { recoveredPrefix } from './prefix.ts';
import { lengthOf, positionOf } from './record.ts';
import { searchPosition } from './search.ts';
import type { InvertOptions, PositionResult, StateRecord } from './types.ts';

/** Most rows evaluated at once, unless asked otherwise. */
export const DEFAULT_BATCH = 1024;

/** What a search by a policy found, and what it cost (see `InversionCost`). */
export interface SearchResult {
  readonly positions: PositionResult[];
  readonly forwardEquivalents: number;
  /** The part of them that went into scoring proposals. */
  readonly scoring: number;
}

/**
 * SipIt (arXiv 2510.15511, section 4): one position after another, with the keys and values of the tokens recovered so
 * far in a cache. A position where several tokens fit, or none, is flagged, and the search goes on with the nearest. But
 * where none fits, and the nearest is not clearly the nearest of the whole vocabulary, it ends: whatever follows a wrong
 * token fits nothing.
 *
 * @param record States this model can have produced; the caller has checked that.
 * @param radius Distances up to this are explained by rounding and noise, by position.
 * @returns Fewer positions than the record has if the search ended early, or the signal fired.
 * @throws InputError when the policy proposes nothing, or what is no token.
 */
export async function searchByPolicy(
  model: LoadedModel,
  record: StateRecord,
  policy: Policy,
  options: InvertOptions,
  radius: (position: number) => number,
): Promise<SearchResult> {
  const { context, config } = model;
  const { values, width, layer } = record;
  const firstPosition = positionOf(record, 0);
  const { batch = DEFAULT_BATCH, onPosition, signal } = options;
  const length = lengthOf(record);

  const cost = costMeter(config, layer, length);
  const states = upload(context, values, [length, width], 'observed states');
  const prefix = recoveredPrefix(model, { layer, capacity: length, firstPosition }, cost);
  const search = { model, prefix, policy, batch, firstPosition, cost, options };
  const positions: PositionResult[] = [];
  try {
    while (prefix.length < length && !signal?.aborted) {
      const t = positions.length;
      const observed = sliceRows(states, t, 1); // (1, d)
      const found = await searchPosition(search, observed, radius(t)).finally(observed.dispose);
      if (!found) break;
      positions.push(found);
      onPosition?.(found);
      // Of a part of the vocabulary, the nearest may not be the nearest of all.
      const isNearest = found.candidates === config.vocabularySize && clearlyNearest(found, found.runnerUp);
      if ((found.verdict === 'not found' && !isNearest) || positions.length === length) break;
      prefix.append(found.token);
    }
  } finally {
    prefix.dispose();
    states.dispose();
  }
  return { positions, forwardEquivalents: cost.forwardEquivalents(), scoring: cost.scoringEquivalents() };
}
