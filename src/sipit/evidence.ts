import type { RivalIndex } from '../lens/rivals.ts';
import { decideUnder, norm, reachOf } from './decision.ts';
import { estimatedNoise, type NoiseModel } from './noise.ts';
import { stateAt } from './record.ts';
import type { Evaluated } from './requests.ts';
import type { Candidate, PositionResult, StateRecord, Verdict } from './types.ts';

/** What a recovery knows of the model: how its lens places the vocabulary, at the first position and at the others. */
export interface Geometry {
  readonly vocabularySize: number;
  at(t: number): { readonly rivals: RivalIndex; readonly kappa: number };
}

/** A record, and what its distances can be read by. */
export interface Observation {
  readonly record: StateRecord;
  readonly geometry: Geometry;
  readonly noise: NoiseModel;
}

/** What is known of one position. */
export interface Position {
  /** Norm of the observed state. */
  readonly norm: number;
  /** Distances of the tokens tried; of a whole vocabulary, only those of the two nearest are kept. */
  tried: Map<number, number>;
  isWhole: boolean;
  best: Candidate & { readonly state?: Float32Array };
  /** How many were tried only because they might have been nearer. */
  rivals: number;
  /** How far every token not tried is from the observed state, once it was asked for. */
  others?: number;
  /** The search has done what it can: nothing more is tried here. */
  settled: boolean;
}

/** Positions in a row that nothing fits, after which the states are not of this model and layer. */
const HOPELESS = 3;
/** Positions whose nearest tokens must be certain before noise that was not told of explains a distance. */
const ESTIMATED_FROM = 3;
/** Times as far off as another state, by its share: no noise of one level does that. */
const JUMP = 4;

/** What was tried at the positions of a record, and what follows from it: how noisy the states are, and what is proven. */
export class Evidence {
  readonly positions: Position[] = [];
  readonly #geometry: Geometry;
  readonly #told: NoiseModel;
  readonly #record: StateRecord;

  constructor({ record, geometry, noise }: Observation) {
    this.#record = record;
    this.#geometry = geometry;
    this.#told = noise;
  }

  /** Enters what was computed for tokens at a position. */
  note(t: number, tokens: Uint32Array, { distances, states }: Evaluated): void {
    this.positions[t] ??= {
      norm: norm(stateAt(this.#record, t)),
      tried: new Map(),
      isWhole: false,
      best: { token: -1, distance: Number.POSITIVE_INFINITY },
      rivals: 0,
      settled: false,
    };
    const d = this.#record.width;
    const position = this.positions[t];
    position.others = undefined;
    tokens.forEach((token, i) => {
      if (!position.isWhole || position.tried.has(token)) position.tried.set(token, distances[i]);
      const isNearer = distances[i] < position.best.distance || token === position.best.token;
      if (isNearer) {
        position.best = { token, distance: distances[i], state: states?.slice(i * d, (i + 1) * d) };
      }
    });
    if (position.tried.size < this.#geometry.vocabularySize) return;
    const { best, tried } = position;
    const runnerUp = nearestOther(tried, best.token);
    position.isWhole = true;
    position.tried = new Map([best, ...(runnerUp ? [runnerUp] : [])].map(({ token, distance }) => [token, distance]));
  }

  countTried(t: number): number {
    const { tried, isWhole } = this.positions[t];
    return isWhole ? this.#geometry.vocabularySize : tried.size;
  }

  /** Tokens not tried, of those given or of all, in their order. */
  untried(t: number, tokens?: Iterable<number>): number[] {
    const { tried, isWhole } = this.positions[t];
    if (isWhole) return [];
    const all = tokens ?? Array(this.#geometry.vocabularySize).keys();
    return [...all].filter((token) => !tried.has(token));
  }

  /** Tokens not tried that may be nearer than the best: under any noise that was told of, or likely under what there is. */
  rivals(t: number, under: 'all' | 'likely'): number[] {
    const { best, norm } = this.positions[t];
    const noise = under === 'all' ? this.#told : this.noiseAt(t);
    const reach = reachOf(noise, best.distance, norm, this.#record.width)[under];
    const { rivals, kappa } = this.#geometry.at(t);
    return this.untried(t, rivals.within(best.token, reach / kappa));
  }

  /** Whether noise that is known of explains how far the nearest token is. */
  isExplained(t: number): boolean {
    const { best, norm } = this.positions[t];
    const noise = this.noiseAt(t);
    return noise.level > 0 && best.distance <= noise.radius(norm);
  }

  /**
   * The noise at a position: what was told, or what the distances of its stretch show where it is certain which token is
   * nearest. A stretch ends where a state lies far off behind others that did not: noise would have been there before.
   */
  noiseAt(t: number): NoiseModel {
    const noise = this.#told;
    if (noise.isTold) return noise;
    const shares = this.positions.map(({ best, norm }) => best.distance / (norm || 1));
    const clean = noise.radius(1);
    let begin = 0;
    let least = Number.POSITIVE_INFINITY;
    let end = 0;
    for (; end < shares.length; end++) {
      const isBreak = least <= clean && shares[end] > Math.max(clean, JUMP * least);
      least = isBreak ? Number.POSITIVE_INFINITY : Math.min(least, shares[end]);
      if (!isBreak) continue;
      if (end === t) return noise;
      if (end > t) break;
      begin = end + 1;
    }
    const isTelling = (at: number) => shares[at] <= clean || this.#isCertain(at);
    const telling = shares.slice(begin, end).filter((_, i) => isTelling(begin + i));
    return telling.length < ESTIMATED_FROM ? noise : estimatedNoise(noise, telling);
  }

  /** Whether all was tried in vain at the last few of the positions settled: what follows would fare no better. */
  isHopeless(settled: number): boolean {
    const last = this.positions.slice(Math.max(0, settled - HOPELESS), settled);
    const isLost = ({ isWhole, best, norm }: Position, i: number) =>
      isWhole && best.distance > this.#told.radius(norm) && !this.#isCertain(settled - HOPELESS + i);
    return last.length === HOPELESS && last.every(isLost);
  }

  /** What became of a position, by all that is known now. */
  describe(t: number): PositionResult {
    const { best, tried, rivals, norm } = this.positions[t];
    const { token, distance } = best;
    const noise = this.noiseAt(t);
    const d = this.#record.width;
    const runnerUp = nearestOther(tried, token);
    const others = this.#othersBeyond(t);
    const isWhole = others === Number.POSITIVE_INFINITY;
    const nearest = Math.min(runnerUp?.distance ?? Number.POSITIVE_INFINITY, others);
    const isOpen = others + distance < reachOf(noise, distance, norm, d).likely;
    const decided = decideUnder(noise, best, runnerUp, norm, d);
    const verdict: Verdict = decided === 'accepted' && isOpen ? 'ambiguous' : decided;
    const isTwin = runnerUp !== undefined && this.#geometry.at(t).rivals.bound(token, runnerUp.token) === 0;
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
      candidates: this.countTried(t),
      rivals,
    };
  }

  /** Whether every other token is at least twice as far: noise of less than half its margin cannot mislead. */
  #isCertain(t: number): boolean {
    const { best, tried } = this.positions[t];
    const runnerUp = nearestOther(tried, best.token)?.distance ?? Number.POSITIVE_INFINITY;
    return 2 * best.distance <= Math.min(runnerUp, this.#othersBeyond(t));
  }

  /** How far from the observed state every token not tried is, by the lens's calibration; Infinity when all were. */
  #othersBeyond(t: number): number {
    const position = this.positions[t];
    const { best, tried, isWhole } = position;
    if (isWhole) return Number.POSITIVE_INFINITY;
    const { rivals, kappa } = this.#geometry.at(t);
    position.others ??= Math.max(0, kappa * rivals.beyond(best.token, new Set(tried.keys())) - best.distance);
    return position.others;
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
