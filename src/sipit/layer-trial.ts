import type { LayerLens } from '../lens/lens.ts';
import { createScorer, type Ranking, type Scorer } from '../lens/scorer.ts';
import type { LanguageModel } from '../model/model.ts';
import { newPositionMap } from '../model/position-map.ts';
import { take, takeBytes, upload } from '../tensor/tensor.ts';
import { norm } from './decision.ts';
import { lengthOf, positionOf, stateAt } from './record.ts';
import type { StateRecord } from './types.ts';

/** Candidates for a position: those the lens proposes, then its corrections of the best. */
const CANDIDATES = [8, 32, 64];

/** Scorers of a layer, for the first position and for the others. */
export type Scorers = readonly [first: Scorer, rest: Scorer];

/**
 * Prepares the scorers of a layer for some work, and disposes them.
 * @param deviation Standard deviation of the states' elements that is not the lens's.
 */
export async function withScorers(
  model: LanguageModel,
  { first, rest }: LayerLens,
  deviation: number,
  work: (scorers: Scorers) => Promise<void>,
): Promise<void> {
  const ofFirst = await createScorer(model, first, deviation);
  try {
    const ofRest = rest === first ? ofFirst : await createScorer(model, rest, deviation);
    try {
      await work([ofFirst, ofRest]);
    } finally {
      if (ofRest !== ofFirst) ofRest.dispose();
    }
  } finally {
    ofFirst.dispose();
  }
}

/**
 * How well a layer explains states: the lens proposes a few tokens for each position, corrects itself by the best of
 * them, and the model verifies, each position behind the nearest tokens of those before.
 *
 * @param enough A share of the norm at which a token is taken for the right one.
 * @returns The second smallest distance, or the only one, as a share of its state's norm.
 */
export async function explain(
  model: LanguageModel,
  scorers: Scorers,
  record: StateRecord,
  enough: number,
): Promise<number> {
  const { context } = model;
  const { width: d, layer } = record;
  const length = lengthOf(record);
  const map = newPositionMap(model, layer, { capacity: length });
  const row = (t: number) => stateAt(record, t);
  const distances: number[] = [];
  try {
    for (let t = 0; t < length; t++) {
      const scorer = scorers[Math.min(t, 1)];
      const position = Uint32Array.of(positionOf(record, t));
      const size = norm(row(t)) || 1;
      let best: Nearest | undefined;
      for (const count of CANDIDATES) {
        const tokens = await idsOf(
          context.scope(() => {
            if (best) {
              const residual = row(t).map((value, i) => value - best!.state[i]);
              return scorer.correct(upload(context, residual, [1, d]), Uint32Array.of(best.token), count);
            }
            const previous = t > 0 ? upload(context, row(t - 1), [1, d]) : undefined;
            return scorer.propose(upload(context, row(t), [1, d]), previous, position, count);
          }),
        );
        const all = (value: number) => new Uint32Array(tokens.length).fill(value);
        const rows = () => model.embed(tokens, all(position[0])); // (n, d)
        const states = await take(context.scope(() => map.states(rows(), all(0))));
        best = nearest(states, tokens, row(t), best);
        if (best.distance <= enough * size) break;
      }
      distances.push(best!.distance / size);
      context.scope(() => {
        map.extend(model.embed(Uint32Array.of(best!.token), position), [{ slot: 0, count: 1 }]);
      });
    }
  } finally {
    map.cache.dispose();
  }
  return distances.sort((a, b) => a - b)[Math.min(1, length - 1)];
}

async function idsOf(ranking: Ranking): Promise<Uint32Array> {
  const [shortlist, places, scores] = await takeBytes(ranking.tensors);
  return ranking.decode(shortlist, places, scores).ids;
}

interface Nearest {
  readonly token: number;
  readonly distance: number;
  readonly state: Float32Array;
}

/** @param states Of the tokens, [n, d]. */
function nearest(states: Float32Array, tokens: Uint32Array, observed: Float32Array, known?: Nearest): Nearest {
  const d = observed.length;
  return Array.from(tokens).reduce<Nearest | undefined>((best, token, i) => {
    const state = states.subarray(i * d, (i + 1) * d);
    const distance = norm(state.map((value, j) => value - observed[j]));
    return best && !(distance < best.distance) ? best : { token, distance, state };
  }, known)!;
}
