import type { Preimage } from './blocks/preimages.ts';
import { isSame, type PreimageList } from './preimages.ts';

/** What a search found of all there is. */
export interface Coverage {
  /** Preimages that there are. */
  readonly all: number;
  /** Of these, how many were found. */
  readonly found: number;
  /** Found, but not among them: none, if both are right. */
  readonly strange: number;
  /** Whether the known input is among all that there are; undefined where none is known. */
  readonly hasKnown: boolean | undefined;
}

/**
 * Compares a search with the exact list, such as `firstAttentionInverse` gives for attention at the first position.
 * @param exact All preimages of the same output.
 */
export function coverage({ preimages, known }: PreimageList, exact: readonly Preimage[]): Coverage {
  return {
    all: exact.length,
    found: exact.filter((one) => preimages.some((other) => isSame(one, other))).length,
    strange: preimages.filter((one) => !exact.some((other) => isSame(one, other))).length,
    hasKnown: known && exact.some((one) => isSame(one, known)),
  };
}
