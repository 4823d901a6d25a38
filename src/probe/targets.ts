import { InputError } from '../errors.ts';
import { dot } from '../linalg/dense.ts';
import { norm, plus, scaled } from '../linalg/vector.ts';
import type { seededRandom } from '../reference/random.ts';
import { unembedding } from './certificates/dominated.ts';
import { normed, rowsFrom } from './certificates/normed.ts';
import type { UnembeddingBlock } from './certificates/types.ts';
import type { Vector } from './requests.ts';

/** What states of a layer are like, element by element. */
export interface StateStatistics {
  /** [d] */
  readonly mean: Vector;
  /** Standard deviation, [d]. */
  readonly deviation: Vector;
  /** Root mean square of |h - its own mean|: how far natural states lie from the axis that LayerNorm takes away. */
  readonly centredNorm: number;
}

/** @param states [n, d]; the first position, which some models give a norm of thousands, is better left out. */
export function stateStatistics(states: ArrayLike<number>, width: number): StateStatistics {
  const n = states.length / width;
  const sums = { mean: new Float64Array(width), squares: new Float64Array(width) };
  let centred = 0;
  for (let r = 0; r < n; r++) {
    const row = Float64Array.from({ length: width }, (_, i) => states[r * width + i]);
    const own = row.reduce((sum, value) => sum + value, 0) / width;
    row.forEach((value, i) => {
      sums.mean[i] += value / n;
      sums.squares[i] += value ** 2 / n;
      centred += (value - own) ** 2 / n;
    });
  }
  const deviation = sums.squares.map((square, i) => Math.sqrt(Math.max(0, square - sums.mean[i] ** 2)));
  return { mean: sums.mean, deviation, centredNorm: Math.sqrt(centred) };
}

/** A random state whose elements have the mean and deviation of natural ones, independently. */
export function randomState({ mean, deviation }: StateStatistics, random: ReturnType<typeof seededRandom>): Vector {
  const normal = random.normal(mean.length);
  return mean.map((value, i) => value + deviation[i] * normal[i]);
}

/** Steps of the perceptron, each this share of the norm. */
const MOST_STEPS = 4000;
const STEP = 0.05;

/** A state after which a token is the likeliest, and by how much. */
export interface ForcedState {
  readonly state: Vector;
  /** Its logit above that of the next, in float64. */
  readonly margin: number;
}

/**
 * A state that makes a token the likeliest next one: the centred direction of its unembedding row, at the norm of
 * natural states, turned by the perceptron's rule towards it and away from whichever row comes too near, until the
 * margin holds.
 * Where that fails the nearest thing to it is taken that can be proved to win (`unembedding`).
 * @param head The output head behind `ln_f`.
 * @param margin Logits that the token is to be ahead.
 * @throws InputError for a token without a row, and when no state makes it win: `certifyDominated` says why.
 */
export function forcedStates(
  head: UnembeddingBlock,
  { centredNorm, margin }: { readonly centredNorm: number; readonly margin: number },
): (token: number) => ForcedState {
  const { weight, bias } = head;
  const { width: d, radius, axis, centre } = normed(head.norm);
  const raw = rowsFrom(weight, d);
  const rows = raw.map(axis); // logit j of a normed state z is rows[j] . z + offsets[j]
  const offsets = raw.map((row, j) => centre(row) + (bias?.[j] ?? 0));
  const mean = rows.reduce((sum, row) => plus(sum, row, 1 / rows.length), new Float64Array(d));
  const natural = (v: Vector): Vector => {
    const own = v.reduce((sum, value) => sum + value, 0) / d;
    const level = v.map((value) => value - own);
    return scaled(level, centredNorm / norm(level));
  };
  /** How far the token is ahead, and of which; y centred, at the natural norm (where LN's epsilon is nothing). */
  const lead = (y: Vector, token: number) => {
    const z = scaled(y, radius / norm(y));
    let second = { token: -1, logit: Number.NEGATIVE_INFINITY };
    rows.forEach((row, j) => {
      const logit = j === token ? Number.NEGATIVE_INFINITY : dot(row, z) + offsets[j];
      if (logit > second.logit) second = { token: j, logit };
    });
    return { margin: dot(rows[token], z) + offsets[token] - second.logit, second: second.token };
  };
  /** Undefined where the perceptron does not get there, or the rows leave it no direction to go. */
  const turned = (token: number): ForcedState | undefined => {
    let y = natural(plus(rows[token], mean, -1));
    for (let step = 0; step < MOST_STEPS; step++) {
      const ahead = lead(y, token);
      if (ahead.margin >= margin) return { state: y, margin: ahead.margin };
      if (ahead.second < 0) return undefined;
      y = natural(plus(y, natural(plus(rows[token], rows[ahead.second], -1)), STEP));
    }
    return undefined;
  };
  return (token) => {
    if (!rows[token]) {
      throw new InputError(
        `There is no token ${token} among ${rows.length}.`,
        `Use token ids from 0 to ${rows.length - 1}.`,
      );
    }
    const direct = turned(token);
    if (direct) return direct;
    const { state } = unembedding(head).search(token);
    if (state) {
      const y = natural(
        state.map((value, i) => (head.norm.weight[i] === 0 ? 0 : (value - head.norm.bias[i]) / head.norm.weight[i])),
      );
      const ahead = lead(y, token);
      if (ahead.margin > 0) return { state: y, margin: ahead.margin };
    }
    throw new InputError(
      `No state was found that makes token ${token} the likeliest next one by ${margin} logits.`,
      'Ask for a smaller margin, or for another token: "preimage probe" certifies a token that can never win.',
    );
  };
}
