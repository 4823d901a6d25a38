import type { RivalIndex } from '../lens/rivals.ts';
import { decideUnder, norm, reachOf } from './decision.ts';
import { estimatedNoise, type NoiseModel } from './noise.ts';
import { ask, type Evaluated, type Recovery } from './requests.ts';
import type { Candidate, PositionResult, StateRecord, Verdict } from './types.ts';

/** What a recovery knows of the model: how its lens places the vocabulary, at the first position and at the others. */
export interface Geometry {
  readonly vocabularySize: number;
  at(t: number): { readonly rivals: RivalIndex; readonly kappa: number };
}

/** One record to recover. */
export interface Task {
  readonly record: StateRecord;
  readonly geometry: Geometry;
  readonly noise: NoiseModel;
  /** Enumerate the vocabulary at every position. */
  readonly prove: boolean;
  readonly signal: AbortSignal | undefined;
  /** Called when the search is done with a position; the verdict may still change with the noise estimated. */
  readonly onPosition?: (result: PositionResult) => void;
  readonly onCandidates?: (position: number, tried: number, best: Candidate) => void;
}

/** A window ends with the proposal at which the lens's doubts add up to this, */
const MOST_DOUBT = 0.1;
/** or after so many: at first, at least; twice as many after each without a miss, half as many after one with. */
const FIRST_WINDOW = 16;
const LEAST_WINDOW = 8;
/** What a search tries, in turn: candidates of the chord, or of the average slope at so many tokens tried. */
const SEARCH = [
  ['chord', 2],
  ['chord', 4],
  ['slope', 8],
  ['chord', 16],
  ['slope', 32],
  ['chord', 160],
] as const;
const SLOPE_CANDIDATES = 16;
/** Candidates of a sweep through the vocabulary: at first, doubled until it ends, and at most before it can be stopped. */
const FIRST_SWEEP = 16;
const MOST_SWEEP = 4096;
/** Candidates of the chord at each nearer token on the way. */
const SWEEP_CHORD = 16;
/** Rivals tried without a second thought, and at most where noise explains what is seen. */
const FEW_RIVALS = 16;
export const MOST_RIVALS = 512;
/** Positions in a row that nothing fits, after which the states are not of this model and layer. */
const HOPELESS = 3;
/** Positions whose nearest tokens must be certain before noise that was not told of explains a distance. */
const ESTIMATED_FROM = 3;
/** Times as far off as another state, by its share: no noise of one level does that. */
const JUMP = 4;

/** What a recovery found. */
export interface Recovered {
  /** Those settled, in order. */
  readonly positions: PositionResult[];
  /** Level of the noise that the verdicts allow for: given, or estimated from where the record begins. */
  readonly noise: number;
}

/** What is known of one position. */
interface Position {
  /** Norm of the observed state. */
  readonly norm: number;
  /** Distances of the tokens tried; of a whole vocabulary, only those of the two nearest are kept. */
  tried: Map<number, number>;
  isWhole: boolean;
  best: Candidate & { readonly state?: Float32Array };
  rivals: number;
  /** How far every token not tried is from the observed state, once it was asked for. */
  others?: number;
  /** The search has done what it can: nothing more is tried here. */
  settled: boolean;
}

/**
 * SipIt by speculation: the prompt of a record, at about the cost of one forward pass over it.
 *
 *   1. The lens proposes a token for every position at once.
 *   2. A window of them, as far as the lens has little doubt, runs through the model behind the tokens settled so far. A position is settled when no other
 *      token can be as near to the observed state: the few that by the lens's calibration might be are its *rivals*, and
 *      are tried.
 *   3. At the first position that is not, the *chord* corrects the lens by what the tried token's state shows: its best 2,
 *      4, 16, 160. In between, where the lens is a poor guide, the average *slope* at the tokens tried shows the way; then the
 *      vocabulary is swept in the order of a screen by the full Jacobian. The nearest of them all is settled, and the proposals
 *      behind it are corrected by the same windows' states.
 *   4. When all are settled, each is judged by its distance, the noise, and what else was tried.
 *
 * The verifier is the model itself: the lens decides what is tried, and in which order.
 */
export function* recover(task: Task): Recovery<Recovered> {
  const { record, geometry, signal } = task;
  const { values, width: d } = record;
  const length = values.length / d;
  const observed = (t: number) => values.subarray(t * d, (t + 1) * d);
  const positions: Position[] = [];
  const { ids: proposals, doubts } = yield* ask({ kind: 'propose' });

  let longest = FIRST_WINDOW;
  let settled = 0; // positions
  while (settled < length && !signal?.aborted) {
    const end = endOfWindow(settled);
    const rows = yield* ask({ kind: 'window', from: settled, tokens: proposals.slice(settled, end) });
    let t = settled;
    for (; t < end; t++) {
      note(t, proposals.subarray(t, t + 1), { distances: rows.distances.subarray(t - settled), states: stateOf(t) });
      if (!(yield* settle(t))) yield* search(t);
      if (task.prove) yield* evaluateAll(t);
      if (signal?.aborted) break;
      if (positions[t].best.token === proposals[t]) {
        task.onPosition?.(describe(t, noiseAt(t)));
        continue;
      }
      // What stands behind it was computed behind another token.
      proposals[t] = positions[t].best.token;
      doubts[t] = 0;
      yield* correctProposals(t + 1, end, (later) => stateOf(later));
      break;
    }
    longest = t === end ? Math.max(longest, 2 * (end - settled)) : Math.max(LEAST_WINDOW, longest >> 1);
    settled = t;
    if (isHopeless()) break;

    function stateOf(at: number): Float32Array {
      return rows.states!.subarray((at - settled) * d, (at - settled + 1) * d);
    }
  }
  return {
    positions: positions.slice(0, settled).map((_, t) => describe(t, noiseAt(t))),
    noise: noiseAt(0).level,
  };

  function endOfWindow(from: number): number {
    let end = from;
    for (let doubt = 0; end < Math.min(length, from + longest) && doubt < MOST_DOUBT; end++) doubt += doubts[end];
    return end;
  }

  /** Enters what was computed for tokens at a position. */
  function note(t: number, tokens: Uint32Array, { distances, states }: Evaluated): void {
    positions[t] ??= {
      norm: norm(observed(t)),
      tried: new Map(),
      isWhole: false,
      best: { token: -1, distance: Number.POSITIVE_INFINITY },
      rivals: 0,
      settled: false,
    };
    const position = positions[t];
    position.others = undefined;
    tokens.forEach((token, i) => {
      if (!position.isWhole || position.tried.has(token)) position.tried.set(token, distances[i]);
      const isNearer = distances[i] < position.best.distance || token === position.best.token;
      if (isNearer) {
        position.best = { token, distance: distances[i], state: states?.slice(i * d, (i + 1) * d) };
      }
    });
    if (position.tried.size < geometry.vocabularySize) return;
    const { best, tried } = position;
    const runnerUp = nearestOther(tried, best.token);
    position.isWhole = true;
    position.tried = new Map([best, ...(runnerUp ? [runnerUp] : [])].map(({ token, distance }) => [token, distance]));
  }

  function* evaluate(t: number, tokens: readonly number[]): Recovery<void> {
    if (tokens.length === 0) return;
    const ids = Uint32Array.from(tokens);
    note(t, ids, yield* ask({ kind: 'candidates', at: t, tokens: ids }));
    task.onCandidates?.(t, countTried(positions[t]), positions[t].best);
  }

  function* evaluateAll(t: number): Recovery<void> {
    const tokens = untried(t);
    for (let first = 0; first < tokens.length && !signal?.aborted; first += MOST_SWEEP) {
      yield* evaluate(t, tokens.slice(first, first + MOST_SWEEP));
    }
  }

  function untried(t: number, tokens?: Iterable<number>): number[] {
    const { tried, isWhole } = positions[t];
    if (isWhole) return [];
    const all = tokens ?? Array(geometry.vocabularySize).keys();
    return [...all].filter((token) => !tried.has(token));
  }

  /** Tokens not tried whose states may lie within `reach` of the best one's. */
  function rivalsOf(t: number, reach: number): number[] {
    const { rivals, kappa } = geometry.at(t);
    return untried(t, rivals.within(positions[t].best.token, reach / kappa));
  }

  /** Tries the rivals of the nearest token if they are few. @returns Whether it is settled which one is nearest. */
  function* settle(t: number): Recovery<boolean> {
    const position = positions[t];
    while (!position.settled) {
      const { all } = reachOf(task.noise, position.best.distance, position.norm, d);
      const open = rivalsOf(t, all);
      if (open.length === 0) return true;
      if (open.length > FEW_RIVALS) return false;
      position.rivals += open.length;
      yield* evaluate(t, open); // a nearer one has rivals of its own
    }
    return true;
  }

  /** Finds the nearest token where the proposal is not it, or noise hides whether it is. */
  function* search(t: number): Recovery<void> {
    const position = positions[t];
    for (const [by, count] of SEARCH) {
      if (by === 'slope' && isExplained(t)) continue; // what is left is noise, which has no slope
      if (yield* by === 'slope' ? slope(t, count) : chord(t, count)) return;
      if (isExplained(t) && (yield* settleUnderNoise(t))) return;
      // Where noise hides more tokens than are worth trying, nothing that follows would tell them apart.
      if (signal?.aborted || (isExplained(t) && count >= FEW_RIVALS)) break;
    }
    if (!isExplained(t) && !signal?.aborted) yield* sweep(t);
    position.settled = true;
  }

  /** Tries what the average slope at tokens tried favours. @returns Whether that settles it. */
  function* slope(t: number, count: number): Recovery<boolean> {
    const tokens = Uint32Array.from([...positions[t].tried.keys()].slice(-count));
    const likely = yield* ask({ kind: 'slope', at: t, tokens });
    yield* evaluate(t, untried(t, likely.subarray(0, SLOPE_CANDIDATES)));
    return yield* settle(t);
  }

  /** Tries what the lens favours, corrected by the state of the nearest token. @returns Whether that settles it. */
  function* chord(t: number, count: number): Recovery<boolean> {
    const { token, state } = positions[t].best;
    const residuals = difference(observed(t), state!);
    const tokens = Uint32Array.of(token);
    const likely = yield* ask({ kind: 'correct', first: t === 0, residuals, tokens, count });
    yield* evaluate(t, untried(t, likely.ids));
    return yield* settle(t);
  }

  /**
   * Tries the whole vocabulary in the order that the full Jacobian at the nearest token favours, until it is settled which
   * is nearest. A nearer one on the way is a better place for the chord, and where that is cheap, for the Jacobian.
   */
  function* sweep(t: number): Recovery<void> {
    let order = yield* screen(t);
    for (let count = FIRST_SWEEP; order.length > 0 && !signal?.aborted; count *= 2) {
      const { token } = positions[t].best;
      yield* evaluate(t, order.slice(0, Math.min(count, MOST_SWEEP)));
      if (yield* settle(t)) return;
      const { best } = positions[t];
      const isNearer = best.token !== token && best.state !== undefined;
      if (isNearer && (yield* chord(t, SWEEP_CHORD))) return;
      order = isNearer && 2 * d < count ? yield* screen(t) : untried(t, order);
    }
  }

  /** Tokens not tried, in the order of what the full Jacobian at the nearest token predicts. */
  function* screen(t: number): Recovery<number[]> {
    const { token, state } = positions[t].best;
    const residual = difference(observed(t), state!);
    return untried(t, yield* ask({ kind: 'screen', at: t, token, residual }));
  }

  /** Whether noise that is known of explains how far the nearest token is. */
  function isExplained(t: number): boolean {
    const { best, norm } = positions[t];
    const noise = noiseAt(t);
    return noise.level > 0 && best.distance <= noise.radius(norm);
  }

  /** Tries all rivals that noise may hide, unless they are too many. @returns Whether it is settled which is nearest. */
  function* settleUnderNoise(t: number): Recovery<boolean> {
    const position = positions[t];
    for (;;) {
      const { likely } = reachOf(noiseAt(t), position.best.distance, position.norm, d);
      const open = rivalsOf(t, likely);
      if (open.length > MOST_RIVALS) return false;
      if (open.length === 0) break;
      position.rivals += open.length;
      yield* evaluate(t, open);
    }
    position.settled = true;
    return true;
  }

  /** Corrects the proposals of later positions that the window has shown to be off, by the chord. */
  function* correctProposals(from: number, end: number, state: (t: number) => Float32Array): Recovery<void> {
    const off = Array.from({ length: Math.max(0, end - from) }, (_, i) => from + i).filter((t) => {
      const { rivals, kappa } = geometry.at(t);
      const away = norm(difference(observed(t), state(t)));
      // A prefix that was a little wrong moves a right state by less than the next token is away.
      return away > 0.5 * kappa * rivals.beyond(proposals[t]);
    });
    if (off.length === 0) return;
    const residuals = new Float32Array(off.length * d);
    off.forEach((t, i) => {
      residuals.set(difference(observed(t), state(t)), i * d);
    });
    const tokens = Uint32Array.from(off, (t) => proposals[t]);
    const better = yield* ask({ kind: 'correct', first: false, residuals, tokens, count: 2 });
    off.forEach((t, i) => {
      proposals[t] = better.ids[(i * better.ids.length) / off.length];
      doubts[t] = better.doubts[i];
    });
  }

  /** Whether the whole vocabulary was tried in vain at the last few positions: what follows would fare no better. */
  function isHopeless(): boolean {
    const last = positions.slice(Math.max(0, settled - HOPELESS), settled);
    const isLost = ({ isWhole, best, norm }: Position, i: number) =>
      isWhole && best.distance > task.noise.radius(norm) && !isCertain(settled - HOPELESS + i);
    return last.length === HOPELESS && last.every(isLost);
  }

  /**
   * The noise at a position: what was told, or what the distances of its stretch show where it is certain which token is
   * nearest. A stretch ends where a state lies far off behind others that did not: noise would have been there before.
   */
  function noiseAt(t: number): NoiseModel {
    const { noise } = task;
    if (noise.isTold) return noise;
    const shares = positions.map(({ best, norm }) => best.distance / (norm || 1));
    const clean = noise.radius(1);
    let begin = 0;
    let least = Number.POSITIVE_INFINITY;
    let end = 0;
    for (; end < positions.length; end++) {
      const isBreak = least <= clean && shares[end] > Math.max(clean, JUMP * least);
      least = isBreak ? Number.POSITIVE_INFINITY : Math.min(least, shares[end]);
      if (!isBreak) continue;
      if (end === t) return noise;
      if (end > t) break;
      begin = end + 1;
    }
    const isTelling = (at: number) => shares[at] <= clean || isCertain(at);
    const telling = shares.slice(begin, end).filter((_, i) => isTelling(begin + i));
    return telling.length < ESTIMATED_FROM ? noise : estimatedNoise(noise, telling);
  }

  /** Whether every other token is at least twice as far: noise of less than half its margin cannot mislead. */
  function isCertain(t: number): boolean {
    const { best, tried } = positions[t];
    return (
      2 * best.distance <=
      Math.min(nearestOther(tried, best.token)?.distance ?? Number.POSITIVE_INFINITY, othersBeyond(t))
    );
  }

  /** How far from the observed state every token not tried is, by the lens's calibration; Infinity when all were. */
  function othersBeyond(t: number): number {
    const position = positions[t];
    const { best, tried, isWhole } = position;
    if (isWhole) return Number.POSITIVE_INFINITY;
    const { rivals, kappa } = geometry.at(t);
    position.others ??= Math.max(0, kappa * rivals.beyond(best.token, new Set(tried.keys())) - best.distance);
    return position.others;
  }

  function countTried({ tried, isWhole }: Position): number {
    return isWhole ? geometry.vocabularySize : tried.size;
  }

  function describe(t: number, noise: NoiseModel): PositionResult {
    const { best, tried, rivals, norm } = positions[t];
    const { token, distance } = best;
    const runnerUp = nearestOther(tried, token);
    const others = othersBeyond(t);
    const isWhole = others === Number.POSITIVE_INFINITY;
    const nearest = Math.min(runnerUp?.distance ?? Number.POSITIVE_INFINITY, others);
    const isOpen = others + distance < reachOf(noise, distance, norm, d).likely;
    const decided = decideUnder(noise, best, runnerUp, norm, d);
    const verdict: Verdict = decided === 'accepted' && isOpen ? 'ambiguous' : decided;
    const isTwin = runnerUp !== undefined && geometry.at(t).rivals.bound(token, runnerUp.token) === 0;
    return {
      position: t,
      verdict,
      reason: reasonFor(verdict, { token, runnerUp, isTwin, isOpen, isWhole, noise }),
      token,
      distance,
      radius: noise.radius(norm),
      runnerUp,
      othersBeyond: isWhole ? undefined : others,
      margin: Number.isFinite(nearest) && nearest >= distance ? nearest - distance : undefined,
      candidates: countTried(positions[t]),
      rivals,
    };
  }
}

/** A sentence for what keeps a token from being accepted. */
function reasonFor(
  verdict: Verdict,
  {
    token,
    runnerUp,
    isTwin,
    isOpen,
    isWhole,
    noise,
  }: {
    token: number;
    runnerUp: Candidate | undefined;
    isTwin: boolean;
    isOpen: boolean;
    isWhole: boolean;
    noise: NoiseModel;
  },
): string | undefined {
  if (verdict === 'accepted') return undefined;
  if (verdict === 'not found') {
    return isWhole
      ? 'no token of the vocabulary fits this state'
      : "no token fits this state, by the lens's calibration";
  }
  if (isTwin) return `tokens ${token} and ${runnerUp!.token} have equal rows in the embedding and cannot be told apart`;
  if (noise.level > 0 && !noise.isotropic) {
    const percent = `${(100 * noise.level).toPrecision(2)} %`;
    return `the states are off by about ${percent}: more than one token fits unless that is known to be independent noise`;
  }
  return isOpen ? 'more tokens may fit than were tried' : 'another token fits as well';
}

function nearestOther(tried: ReadonlyMap<number, number>, token: number): Candidate | undefined {
  let nearest: Candidate | undefined;
  for (const [other, distance] of tried) {
    if (other !== token && !(distance >= (nearest?.distance ?? Number.POSITIVE_INFINITY))) {
      nearest = { token: other, distance };
    }
  }
  return nearest;
}

const difference = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => value - b[i]);
