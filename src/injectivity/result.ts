import { InputError } from '../errors.ts';
import { binStart, HISTOGRAM_BINS } from '../ops/pair-distances.ts';
import { comparePairs, type Pair } from './closest.ts';
import type { Collisions } from './collide.ts';
import type { PromptSet } from './prompt-set.ts';
import type { Precision } from './quantise.ts';
import type { Shard } from './tiles.ts';

/** What a test was of: parts of one test agree in it. */
export interface TestIdentity {
  /** Digest of the weights. */
  readonly model: string;
  /** Digest of what the config makes of them: heads, activation, epsilon, scale and window of attention. */
  readonly config: string;
  /** Digest of the prompts' token ids and lines. */
  readonly prompts: string;
  readonly layers: readonly number[];
  readonly precisions: readonly Precision[];
  /** How many closest pairs are kept. */
  readonly closest: number;
}

/** A close pair, by the lines of its prompts. */
export interface ResultPair {
  /** Lines from 1, a < b. */
  readonly a: number;
  readonly b: number;
  /** Euclidean. */
  readonly distance: number;
  /** Relative to the RMS length of the layer's states; absent of a shard, which does not see all of them. */
  readonly relative?: number;
  /** Places of the two among the prompts sorted by their ids, which order equally near pairs. */
  readonly ranks: readonly [number, number];
}

/** A bin of a histogram that is not empty. */
export interface ResultBin {
  readonly bin: number;
  /** Distances from here on, */
  readonly from: number;
  /** up to here; absent for the last bin, which is open. */
  readonly to?: number;
  readonly count: number;
}

/** One layer of a result. */
export interface ResultLayer {
  readonly layer: number;
  readonly precision: Precision;
  readonly pairs: number;
  /** Least distance of all pairs; absent where a shard holds none. */
  readonly minimum?: number;
  /** RMS length of a state, over all prompts; absent of a shard. */
  readonly rms?: number;
  readonly closest: readonly ResultPair[];
  /** How many pairs are nearer than each bound. */
  readonly below: Readonly<Record<string, number>>;
  readonly histogram: readonly ResultBin[];
  /** Of a shard: sums of squares by group. */
  readonly squares?: Readonly<Record<number, number>>;
}

/** The nearest two of all continuations of a prompt by one token, at one layer. */
export interface ExhaustiveResult {
  readonly layer: number;
  /** Line of the prompt. */
  readonly line: number;
  /** How many tokens were appended, each in turn: all pairs of them are compared. */
  readonly continuations: number;
  readonly distance: number;
  /** Relative to the RMS length of the continuations' states. */
  readonly relative: number;
  readonly tokens: readonly [number, number];
}

/** Two close prompts, or the nearest two continuations of one. */
export type FoundPair = ResultPair | ExhaustiveResult;

/** A result as it is written: all that a stranger needs to check or to merge it. */
export interface CollisionResult {
  readonly prompts: number;
  readonly duplicates: PromptSet['duplicates'];
  readonly skipped: PromptSet['skipped'];
  readonly test: TestIdentity;
  /** Absent once all parts are together. */
  readonly shard?: Shard;
  readonly layers: readonly ResultLayer[];
  /** Where there are collisions: what in the weights can make some. */
  readonly causes?: readonly { readonly kind: string; readonly what: string }[];
  /** Of the closest prompts of each layer, where it was asked for. */
  readonly exhaustive?: readonly ExhaustiveResult[];
}

/** A layer before its lengths are known: pairs by their ranks and lines. */
interface RawLayer extends Omit<ResultLayer, 'rms' | 'closest' | 'minimum'> {
  readonly closest: readonly Omit<ResultPair, 'relative'>[];
}

/** The result of a test, pairs named by lines. */
export function resultOf(
  { shard, bound, layers }: Collisions,
  { prompts, duplicates, skipped }: PromptSet,
  test: TestIdentity,
): CollisionResult {
  const isWhole = shard.count === 1;
  const raw = layers.map(
    ({ layer, precision, pairs, below, histogram, closest, squares }): RawLayer => ({
      layer,
      precision,
      pairs,
      below: { [String(bound)]: below },
      histogram: binsOf(histogram),
      closest: closest.map((pair) => byLines(pair, prompts)),
      squares,
    }),
  );
  return {
    prompts: prompts.length,
    duplicates,
    skipped,
    test,
    ...(!isWhole && { shard }),
    layers: raw.map((layer) => finished(layer, prompts.length, isWhole)),
  };
}

function byLines({ a, b, distance }: Pair, prompts: PromptSet['prompts']): Omit<ResultPair, 'relative'> {
  const [first, second] = [prompts[a].line, prompts[b].line].sort((x, y) => x - y);
  return { a: first, b: second, distance, ranks: [a, b] };
}

/** With what follows from the sums of squares: lengths relative to the states'. */
function finished({ squares = {}, closest, ...layer }: RawLayer, prompts: number, isWhole: boolean): ResultLayer {
  const own = Object.keys(squares).map(Number);
  const rms = Math.sqrt(own.reduce((sum, group) => sum + squares[group], 0) / prompts);
  return {
    layer: layer.layer,
    precision: layer.precision,
    pairs: layer.pairs,
    ...(closest.length > 0 && { minimum: closest[0].distance }),
    ...(isWhole && { rms }),
    closest: closest.map((pair) => ({ ...pair, ...(isWhole && { relative: pair.distance / rms }) })),
    below: layer.below,
    histogram: layer.histogram,
    ...(!isWhole && { squares }),
  };
}

function binsOf(histogram: readonly number[]): ResultBin[] {
  return histogram.flatMap((count, bin) => {
    const to = bin + 1 < HISTOGRAM_BINS ? { to: Math.sqrt(binStart(bin + 1)) } : {};
    return count > 0 ? [{ bin, from: Math.sqrt(binStart(bin)), ...to, count }] : [];
  });
}

/**
 * Puts the shards of a test together: what one run over all pairs would have given.
 * @param parts With the name of each, for errors.
 * @throws InputError when they are not the parts of one test, each there once.
 */
export function mergeResults(
  parts: readonly { readonly name: string; readonly result: CollisionResult }[],
): CollisionResult {
  checkParts(parts);
  const [{ result: first }] = parts;
  const sorted = [...parts].sort((p, q) => p.result.shard!.index - q.result.shard!.index);
  const layers = first.layers.map((_, i) => {
    const same = sorted.map(({ result }) => result.layers[i]);
    const pairs = same.flatMap(({ closest }) => closest);
    const order = ({ distance, ranks: [a, b] }: ResultPair): Pair => ({ distance, a, b });
    pairs.sort((p, q) => comparePairs(order(p), order(q)));
    const raw: RawLayer = {
      layer: same[0].layer,
      precision: same[0].precision,
      pairs: same.reduce((sum, layer) => sum + layer.pairs, 0),
      below: sumOf(same.map(({ below }) => below)),
      histogram: sumOfBins(same.flatMap(({ histogram }) => histogram)),
      closest: pairs.slice(0, first.test.closest).map(({ relative, ...pair }) => pair),
      squares: Object.assign({}, ...same.map(({ squares }) => squares)),
    };
    return finished(raw, first.prompts, true);
  });
  const { shard, causes: _, ...whole } = first;
  const causes = sorted.find(({ result }) => result.causes)?.result.causes;
  return { ...whole, layers, ...(causes && { causes }) };
}

function checkParts(parts: readonly { readonly name: string; readonly result: CollisionResult }[]): void {
  const cure = 'Merge the files of one job: the same model, prompts and options, every shard i/n once.';
  const count = parts[0]?.result.shard?.count;
  const seen = new Map<number, string>();
  for (const { name, result } of parts) {
    if (!result.shard) throw new InputError(`${name} is a whole result, no shard.`, cure);
    const [was, is] = [parts[0].result.test, result.test].map((test) => JSON.stringify(test));
    if (was !== is) throw new InputError(`${name} is of another test than ${parts[0].name}: ${is}, not ${was}.`, cure);
    const { index } = result.shard;
    if (result.shard.count !== count) {
      throw new InputError(
        `${name} is shard ${index}/${result.shard.count}; ${parts[0].name} is one of ${count}.`,
        cure,
      );
    }
    if (seen.has(index)) throw new InputError(`${name} and ${seen.get(index)} are both shard ${index}/${count}.`, cure);
    seen.set(index, name);
  }
  const missing = Array.from({ length: count ?? 1 }, (_, i) => i).filter((i) => !seen.has(i));
  if (missing.length === 0) return;
  const some = missing.slice(0, 10).join(', ') + (missing.length > 10 ? ' ...' : '');
  throw new InputError(`Of ${count ?? 1} shards ${some} are missing.`, cure);
}

function sumOf(counts: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const one of counts) for (const [bound, count] of Object.entries(one)) sums[bound] = (sums[bound] ?? 0) + count;
  return sums;
}

function sumOfBins(bins: readonly ResultBin[]): ResultBin[] {
  const sums = new Map<number, ResultBin>();
  for (const one of bins) sums.set(one.bin, { ...one, count: one.count + (sums.get(one.bin)?.count ?? 0) });
  return [...sums.values()].sort((p, q) => p.bin - q.bin);
}
