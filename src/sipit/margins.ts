/** What the evidence of positions comes to. */

import type { Inversion, PositionResult } from './types.ts';

/** Whether the margin is a bound by the lens's calibration, rather than that of a token that was evaluated. */
export const isBound = ({ othersBeyond, runnerUp }: PositionResult): boolean =>
  othersBeyond !== undefined && !(runnerUp && runnerUp.distance <= othersBeyond);

/** Where nothing is left to doubt: the next token is this many times farther away than rounding or noise explain. */
const CLEAR = 1e4;

/** How clear a token is, 0 to 1: the logarithm of its margin over its radius, or over its distance if that is more. */
export function certainty({ margin, distance, radius }: PositionResult): number {
  if (margin === undefined) return 1; // there is no other token
  return Math.min(Math.log(Math.max(margin / Math.max(radius, distance), 1)) / Math.log(CLEAR), 1);
}

/** The margins of a prompt: where the least of them is, and their median. Undefined where no position has one. */
export interface Margins {
  readonly narrowest?: PositionResult;
  readonly median?: number;
}

/** Takes the least and the median of the margins. */
export function marginsOf({ positions }: Pick<Inversion, 'positions'>): Margins {
  const byMargin = positions
    .filter(({ margin }) => margin !== undefined)
    .toSorted((a, b) => (a.margin as number) - (b.margin as number));
  return { narrowest: byMargin[0], median: byMargin[byMargin.length >> 1]?.margin };
}

/** Where the least margin of several inversions is. */
export function narrowestOf(
  inversions: readonly Inversion[],
): { readonly inversion: Inversion; readonly position: PositionResult } | undefined {
  return inversions
    .flatMap((inversion) => {
      const { narrowest } = marginsOf(inversion);
      return narrowest ? [{ inversion, position: narrowest }] : [];
    })
    .toSorted((a, b) => (a.position.margin as number) - (b.position.margin as number))[0];
}
