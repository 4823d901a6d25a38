import { InputError } from '../errors.ts';
import type { LoadedModel } from '../model/load.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { CostMeter } from './cost.ts';
import { decide } from './decision.ts';
import { embeddingDistances, nearestTokens, rowDistances, tokenRow } from './neighbours.ts';
import type { Policy, Step } from './policy.ts';
import type { RecoveredPrefix } from './prefix.ts';
import type { Candidate, InvertOptions, PositionResult } from './types.ts';

/** Besides itself, this many tokens nearest to the winner by embedding are always tried: its likeliest rivals. */
const RIVALS = 15;

/** Batches in a row with nothing new, for each token of the vocabulary, after which a policy only repeats itself. */
const PATIENCE = 100;

/** What one position is searched with. */
export interface Search {
  readonly model: LoadedModel;
  readonly prefix: RecoveredPrefix;
  readonly policy: Policy;
  /** Most rows evaluated at once. */
  readonly batch: number;
  /** Where in the model's position table the first row of the record stands. */
  readonly firstPosition: number;
  readonly cost: CostMeter;
  readonly options: Pick<InvertOptions, 'prove' | 'onCandidates' | 'signal'>;
}

/**
 * Finds the token whose state is the observed one.
 *
 *   1. The policy proposes batches of candidates; each candidate is one row of a forward pass up to the layer.
 *   2. The nearest candidate within the radius ends the search, once its rivals have been tried too.
 *   3. If a rival fits as well, every other token is tried, so that at least the nearest of all is reported; so too for
 *      a proof, or an exhaustive policy.
 *
 * @param observed The state at this position, [1, d].
 * @param radius Distances up to this are explained by rounding and noise.
 * @returns Undefined when the signal fired before anything could be said.
 * @throws InputError when the policy proposes nothing, or what is no token.
 */
export async function searchPosition(
  search: Search,
  observed: Tensor,
  radius: number,
): Promise<PositionResult | undefined> {
  const { model, prefix, policy, cost, options } = search;
  const { vocabularySize } = model.config;
  const { prove, signal } = options;
  const position = prefix.length;
  const trials = startTrials(search, observed);
  const { tried, evaluate } = trials;
  const verdict = () => decide(trials.nearest[0], trials.nearest[1], radius);
  const fits = () => trials.nearest.length > 0 && verdict() !== 'not found';
  const aborted = () => signal?.aborted === true;

  const step = stepOf(search, observed, trials);
  const isEnough = () => aborted() || (!policy.exhaustive && fits());
  let repeats = 0; // batches in a row with nothing new
  for await (const tokens of policy.candidates(step)) {
    const before = tried.size;
    await evaluate(expectTokens(tokens, policy, step), isEnough);
    repeats = tried.size > before ? 0 : repeats + 1;
    if (isEnough() || tried.size === vocabularySize || repeats === PATIENCE * vocabularySize) break;
  }
  const proposed = tried.size;

  async function tryRivals(): Promise<void> {
    let winner = -1; // whose rivals have been tried
    // A rival may turn out to be nearer; then its rivals count.
    while (winner !== trials.nearest[0].token && tried.size < vocabularySize) {
      winner = trials.nearest[0].token;
      cost.scan();
      await evaluate(await nearestTokens(model, winner, RIVALS + 1));
    }
  }

  let whole = prove === true || policy.exhaustive === true;
  if (!whole && fits()) {
    await tryRivals();
    whole = verdict() === 'ambiguous';
  }
  if (whole) await evaluate(new Uint32Array(vocabularySize).keys(), aborted);
  // Such a search proves nothing: neither that no token fits nor, if all were to be tried, that no other does.
  if (aborted() && tried.size < vocabularySize && (whole || !fits())) return undefined;
  const [best, runnerUp]: readonly (Candidate | undefined)[] = trials.nearest;
  if (!best) {
    throw new InputError(
      `Policy "${policy.name}" proposes no token at position ${position}.`,
      'Let it yield at least one token id at every position.',
    );
  }
  const result = {
    position,
    verdict: verdict(),
    ...best,
    text: model.tokenizer?.token(best.token),
    radius,
    runnerUp,
    margin: runnerUp && runnerUp.distance - best.distance,
    candidates: tried.size,
    rivals: tried.size - proposed,
  };
  return { ...result, reason: reasonFor(result, policy, vocabularySize) };
}

/** The tokens tried at one position. */
interface Trials {
  /** Distances by token. */
  readonly tried: ReadonlyMap<number, number>;
  /** The nearest two of them, or fewer. */
  readonly nearest: readonly Candidate[];
  /** Tries tokens that have not been tried, in batches until it is enough. */
  evaluate(tokens: Iterable<number>, isEnough?: () => boolean): Promise<void>;
}

function startTrials({ prefix, batch, options }: Search, observed: Tensor): Trials {
  const position = prefix.length;
  const tried = new Map<number, number>();
  let nearest: Candidate[] = [];
  return {
    tried,
    get nearest() {
      return nearest;
    },
    async evaluate(tokens, isEnough = () => false) {
      const fresh = Uint32Array.from(new Set(tokens)).filter((token) => !tried.has(token));
      for (let first = 0; first < fresh.length && !isEnough(); first += batch) {
        const part = fresh.subarray(first, first + batch);
        const distances = await prefix.distances(part, observed);
        const candidates = Array.from(part, (token, i): Candidate => ({ token, distance: distances[i] }));
        for (const { token, distance } of candidates) tried.set(token, distance);
        nearest = [...nearest, ...candidates].sort((a, b) => a.distance - b.distance || a.token - b.token).slice(0, 2);
        options.onCandidates?.(position, tried.size, nearest[0]);
      }
    },
  };
}

/** What the policy may look at; all of it is counted. */
function stepOf({ model, prefix, batch, firstPosition, cost }: Search, observed: Tensor, trials: Trials): Step {
  const { vocabularySize, width } = model.config;
  const position = prefix.length;
  const { tried } = trials;
  return {
    vocabularySize,
    batch,
    position,
    tried,
    get nearest() {
      return trials.nearest[0];
    },
    logits: prefix.logits,
    embeddingDistances() {
      cost.scan();
      return embeddingDistances(model, observed, firstPosition + position);
    },
    tokenRow: (token) => tokenRow(model, token),
    gradient: async (row) => prefix.gradient(expectRow(row, width), observed),
    async nearestUntried(row) {
      cost.scan();
      const distances = await rowDistances(model, expectRow(row, width));
      let nearest: number | undefined;
      distances.forEach((distance, token) => {
        if (!tried.has(token) && (nearest === undefined || distance < distances[nearest])) nearest = token;
      });
      return nearest;
    },
  };
}

/** Why a token is not accepted. */
function reasonFor(
  { verdict, token, distance, runnerUp, radius, candidates }: PositionResult,
  { name }: Policy,
  vocabularySize: number,
): string | undefined {
  const [near, next, allowed] = [distance, runnerUp?.distance ?? 0, radius].map((x) => Number(x.toPrecision(3)));
  const explained = `rounding and noise explain ${allowed}`;
  switch (verdict) {
    case 'accepted':
      return undefined;
    case 'ambiguous': {
      const both = `${token} and ${runnerUp?.token}`;
      return `Tokens ${both} cannot be told apart: they lie ${near} and ${next} from the state, and ${explained}.`;
    }
    case 'not found': {
      const all = candidates === vocabularySize;
      const none = all
        ? `No token of the vocabulary of ${vocabularySize} gives this state`
        : `None of the ${candidates} tokens that policy "${name}" proposed gives this state`;
      return `${none}: the nearest, ${token}, lies ${near} from it, and ${explained}.`;
    }
  }
}

/** @throws InputError for what is no id of the vocabulary. */
function expectTokens(
  tokens: Iterable<number>,
  { name }: Policy,
  { position, vocabularySize }: Step,
): Iterable<number> {
  const ids = Array.from(tokens);
  const bad = ids.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < vocabularySize));
  if (bad < 0) return ids;
  throw new InputError(
    `Policy "${name}" proposes ${ids[bad]} at position ${position}; the vocabulary has ids 0 to ${vocabularySize - 1}.`,
    'Propose integers from 0 to step.vocabularySize - 1.',
  );
}

/** @throws InputError unless a free row is d finite numbers. */
function expectRow(row: Float32Array, width: number): Float32Array {
  const bad = row.findIndex((value) => !Number.isFinite(value));
  if (row.length === width && bad < 0) return row;
  throw new InputError(
    bad < 0 ? `A free row has ${row.length} values; the model has d = ${width}.` : `A free row holds ${row[bad]}.`,
    'Give a row of d finite numbers, such as step.tokenRow(token) or one made from it.',
  );
}
