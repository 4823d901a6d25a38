import { norm } from './decision.ts';
import { Evidence, type Observation } from './evidence.ts';
import { lengthOf, stateAt } from './record.ts';
import { ask, type Recovery } from './requests.ts';
import type { Candidate, PositionResult } from './types.ts';

/** One record to recover. */
export interface Task extends Observation {
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

/** What a recovery found. */
export interface Recovered {
  /** Those settled, in order. */
  readonly positions: PositionResult[];
  /** Level of the noise that the verdicts allow for: given, or estimated from where the record begins. */
  readonly noise: number;
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
  const { width: d } = record;
  const length = lengthOf(record);
  const evidence = new Evidence(task);
  const { positions } = evidence;
  const { ids: proposals, doubts } = yield* ask({ kind: 'propose' });

  let longest = FIRST_WINDOW;
  let settled = 0; // positions
  while (settled < length && !signal?.aborted) {
    const end = endOfWindow(settled);
    const rows = yield* ask({ kind: 'window', from: settled, tokens: proposals.slice(settled, end) });
    let t = settled;
    for (; t < end; t++) {
      const proposal = proposals.subarray(t, t + 1);
      evidence.note(t, proposal, { distances: rows.distances.subarray(t - settled), states: stateOf(t) });
      if (!(yield* settle(t))) yield* search(t);
      if (task.prove) yield* evaluateAll(t);
      if (signal?.aborted) break;
      if (positions[t].best.token === proposals[t]) {
        task.onPosition?.(evidence.describe(t));
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
    if (evidence.isHopeless(settled)) break;

    function stateOf(at: number): Float32Array {
      return rows.states!.subarray((at - settled) * d, (at - settled + 1) * d);
    }
  }
  return {
    positions: positions.slice(0, settled).map((_, t) => evidence.describe(t)),
    noise: evidence.noiseAt(0).level,
  };

  function endOfWindow(from: number): number {
    let end = from;
    for (let doubt = 0; end < Math.min(length, from + longest) && doubt < MOST_DOUBT; end++) doubt += doubts[end];
    return end;
  }

  function* evaluate(t: number, tokens: readonly number[]): Recovery<void> {
    if (tokens.length === 0) return;
    const ids = Uint32Array.from(tokens);
    evidence.note(t, ids, yield* ask({ kind: 'candidates', at: t, tokens: ids }));
    task.onCandidates?.(t, evidence.countTried(t), positions[t].best);
  }

  function* evaluateAll(t: number): Recovery<void> {
    const tokens = evidence.untried(t);
    for (let first = 0; first < tokens.length && !signal?.aborted; first += MOST_SWEEP) {
      yield* evaluate(t, tokens.slice(first, first + MOST_SWEEP));
    }
  }

  /** Tries the rivals of the nearest token if they are few. @returns Whether it is settled which one is nearest. */
  function* settle(t: number): Recovery<boolean> {
    const position = positions[t];
    while (!position.settled) {
      const open = evidence.rivals(t, 'all');
      if (open.length === 0) return true;
      if (open.length > FEW_RIVALS) return false;
      position.rivals += open.length;
      yield* evaluate(t, open); // a nearer one has rivals of its own
    }
    return true;
  }

  /** Finds the nearest token where the proposal is not it, or noise hides whether it is. */
  function* search(t: number): Recovery<void> {
    for (const [by, count] of SEARCH) {
      if (by === 'slope' && evidence.isExplained(t)) continue; // what is left is noise, which has no slope
      if (yield* by === 'slope' ? slope(t, count) : chord(t, count)) return;
      if (evidence.isExplained(t) && (yield* settleUnderNoise(t))) return;
      // Where noise hides more tokens than are worth trying, nothing that follows would tell them apart.
      if (signal?.aborted || (evidence.isExplained(t) && count >= FEW_RIVALS)) break;
    }
    if (!evidence.isExplained(t) && !signal?.aborted) yield* sweep(t);
    positions[t].settled = true;
  }

  /** Tries what the average slope at tokens tried favours. @returns Whether that settles it. */
  function* slope(t: number, count: number): Recovery<boolean> {
    const tokens = Uint32Array.from([...positions[t].tried.keys()].slice(-count));
    const likely = yield* ask({ kind: 'slope', at: t, tokens });
    yield* evaluate(t, evidence.untried(t, likely.subarray(0, SLOPE_CANDIDATES)));
    return yield* settle(t);
  }

  /** Tries what the lens favours, corrected by the state of the nearest token. @returns Whether that settles it. */
  function* chord(t: number, count: number): Recovery<boolean> {
    const tokens = Uint32Array.of(positions[t].best.token);
    const likely = yield* ask({ kind: 'correct', first: t === 0, residuals: residualOf(t), tokens, count });
    yield* evaluate(t, evidence.untried(t, likely.ids));
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
      order = isNearer && 2 * d < count ? yield* screen(t) : evidence.untried(t, order);
    }
  }

  /** Tokens not tried, in the order of what the full Jacobian at the nearest token predicts. */
  function* screen(t: number): Recovery<number[]> {
    const { token } = positions[t].best;
    return evidence.untried(t, yield* ask({ kind: 'screen', at: t, token, residual: residualOf(t) }));
  }

  /** Observed minus the nearest token's state. */
  function residualOf(t: number): Float32Array {
    return difference(stateAt(record, t), positions[t].best.state!);
  }

  /** Tries all rivals that noise may hide, unless they are too many. @returns Whether it is settled which is nearest. */
  function* settleUnderNoise(t: number): Recovery<boolean> {
    const position = positions[t];
    for (;;) {
      const open = evidence.rivals(t, 'likely');
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
    const residual = (t: number) => difference(stateAt(record, t), state(t));
    const off = Array.from({ length: Math.max(0, end - from) }, (_, i) => from + i).filter((t) => {
      const { rivals, kappa } = geometry.at(t);
      // A prefix that was a little wrong moves a right state by less than the next token is away.
      return norm(residual(t)) > 0.5 * kappa * rivals.beyond(proposals[t]);
    });
    if (off.length === 0) return;
    const residuals = new Float32Array(off.length * d);
    off.forEach((t, i) => {
      residuals.set(residual(t), i * d);
    });
    const tokens = Uint32Array.from(off, (t) => proposals[t]);
    const better = yield* ask({ kind: 'correct', first: false, residuals, tokens, count: 2 });
    off.forEach((t, i) => {
      proposals[t] = better.ids[(i * better.ids.length) / off.length];
      doubts[t] = better.doubts[i];
    });
  }
}

const difference = (a: Float32Array, b: Float32Array): Float32Array => a.map((value, i) => value - b[i]);
