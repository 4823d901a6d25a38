import type { LoadedModel } from '../model/load.ts';
import { lengthOf } from './record.ts';
import type { Inversion, StateRecord } from './types.ts';

/** What a search found of a record, and what it cost. */
type Found = Pick<Inversion, 'policy' | 'noise' | 'positions'> & {
  readonly cost: Omit<Inversion['cost'], 'candidates'>;
  /** What was compared with the winners where it is not the whole vocabulary. */
  readonly scope: Exclude<Inversion['scope'], 'vocabulary'>;
};

/** An inversion from what a search found. */
export function inversionOf(
  { config, tokenizer }: LoadedModel,
  record: StateRecord,
  { policy, noise, positions, cost, scope }: Found,
): Inversion {
  const tokens = positions.map(({ token }) => token);
  const length = lengthOf(record);
  const isWhole = positions.length > 0 && positions.every(({ candidates }) => candidates >= config.vocabularySize);
  return {
    text: tokenizer?.decode(tokens),
    tokens,
    exact: positions.length === length && positions.every(({ verdict }) => verdict === 'accepted'),
    layer: record.layer,
    policy,
    scope: isWhole ? 'vocabulary' : scope,
    noise,
    positions,
    length,
    cost: { ...cost, candidates: positions.reduce((sum, { candidates }) => sum + candidates, 0) },
  };
}
