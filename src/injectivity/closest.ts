/** Two prompts and how far apart their states are. */
export interface Pair {
  /** Numbers of the prompts, a < b. */
  readonly a: number;
  readonly b: number;
  /** Euclidean, of the f32 states, computed in float64. */
  readonly distance: number;
}

/** Nearer pairs first; of equally near ones, those of the first prompts. */
export const comparePairs = (p: Pair, q: Pair): number => p.distance - q.distance || p.a - q.a || p.b - q.b;

/** The closest pairs seen. */
export interface Closest {
  /** At most as many as asked for, closest first. */
  readonly pairs: readonly Pair[];
  /** Whether a pair with prompt `a`, no nearer than `distance`, could be among them. */
  admits(distance: number, a: number): boolean;
  add(pair: Pair): void;
}

/** @param count How many pairs are kept. */
export function closestPairs(count: number, pairs: readonly Pair[] = []): Closest {
  const kept = [...pairs].sort(comparePairs).slice(0, count);
  const isFull = () => kept.length >= count;
  return {
    pairs: kept,
    admits(distance, a) {
      if (!isFull()) return count > 0;
      const last = kept[kept.length - 1];
      return distance < last.distance || (distance === last.distance && a <= last.a);
    },
    add(pair) {
      if (count === 0 || (isFull() && comparePairs(pair, kept[kept.length - 1]) >= 0)) return;
      if (isFull()) kept.pop();
      let place = kept.length;
      while (place > 0 && comparePairs(pair, kept[place - 1]) < 0) place--;
      kept.splice(place, 0, pair);
    },
  };
}
