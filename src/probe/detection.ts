import { InputError } from '../errors.ts';

/** What a detector with some threshold does: it calls suspicious whatever scores at least that. */
export interface RocPoint {
  /** Infinity at the first point, where nothing is suspicious. */
  readonly threshold: number;
  /** The share of negatives called suspicious, 0 to 1. */
  readonly falsePositives: number;
  /** The share of positives called suspicious, 0 to 1. */
  readonly truePositives: number;
}

/**
 * The receiver operating characteristic of a score: a point for each threshold at which anything changes, from calling
 * nothing suspicious, (0, 0), to calling everything so, (1, 1). Equal scores fall together: no threshold parts them.
 * @param positive Scores of what is to be detected. @param negative Scores of what is not. Larger is more suspicious.
 * @throws InputError when either is empty or holds NaN.
 */
export function rocCurve(positive: readonly number[], negative: readonly number[]): RocPoint[] {
  if (positive.length === 0 || negative.length === 0 || [...positive, ...negative].some(Number.isNaN)) {
    throw new InputError(
      `There is no ROC curve of ${positive.length} positives and ${negative.length} negatives, or of scores that are NaN.`,
      'Give a score of each kind at least, and numbers only.',
    );
  }
  const scores = [
    ...positive.map((score) => ({ score, isPositive: true })),
    ...negative.map((score) => ({ score, isPositive: false })),
  ].sort((a, b) => (a.score === b.score ? 0 : b.score - a.score)); // infinite ones have no difference
  const curve: RocPoint[] = [{ threshold: Number.POSITIVE_INFINITY, falsePositives: 0, truePositives: 0 }];
  let [falses, trues] = [0, 0];
  scores.forEach(({ score, isPositive }, i) => {
    if (isPositive) trues++;
    else falses++;
    if (scores[i + 1]?.score === score) return;
    const [falsePositives, truePositives] = [falses / negative.length, trues / positive.length];
    curve.push({ threshold: score, falsePositives, truePositives });
  });
  return curve;
}

/**
 * The area under a ROC curve: the probability that a random positive scores above a random negative, ties counted half
 * (Hanley and McNeil 1982). 1 tells all apart, 1/2 is guessing, 0 tells all apart the wrong way round.
 */
export function areaUnder(curve: readonly RocPoint[]): number {
  return curve.slice(1).reduce((area, { falsePositives, truePositives }, i) => {
    const before = curve[i];
    return area + ((falsePositives - before.falsePositives) * (truePositives + before.truePositives)) / 2;
  }, 0);
}

/** The largest share of positives caught while at most this share of negatives is. */
export function caughtAt(curve: readonly RocPoint[], falsePositives: number): number {
  return Math.max(
    ...curve.filter((point) => point.falsePositives <= falsePositives).map((point) => point.truePositives),
  );
}
