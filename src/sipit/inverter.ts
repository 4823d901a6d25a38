import type { LayerLens } from '../lens/lens.ts';
import { NOISE_FLOOR } from '../lens/lens.ts';
import { rivalIndex } from '../lens/rivals.ts';
import { createScorer } from '../lens/scorer.ts';
import type { LoadedModel } from '../model/load.ts';
import { newPositionMap } from '../model/position-map.ts';
import { DEFAULT_BATCH } from './by-policy.ts';
import { costMeter } from './cost.ts';
import { calibrate, reachOf } from './decision.ts';
import type { Geometry } from './evidence.ts';
import { inversionOf } from './inversion.ts';
import { givenNoise } from './noise.ts';
import { lengthOf } from './record.ts';
import type { Bench } from './replies.ts';
import { type Run, runRounds } from './rounds.ts';
import { type Recovered, recover } from './speculate.ts';
import type { Inversion, InvertOptions, Noise, PositionResult, StateRecord } from './types.ts';

/** Inverts states of one layer of one model, many prompts at once. */
export interface Inverter {
  readonly layer: number;
  /**
   * Recovers prompts side by side: their rows share the batches of the GPU.
   * @param records Of this layer, already checked; about `promptsAtOnce` of them.
   */
  invert(records: readonly StateRecord[], options?: InvertOptions): Promise<Inversion[]>;
  /**
   * What the noise costs: tokens that, at a position, may be as near as the true one, on average. Each is a row to
   * try; beyond `MOST_RIVALS` they are left, and positions come out ambiguous.
   */
  expectedRivals(): number;
  /** How many prompts of some length fit the memory and the batch. */
  promptsAtOnce(length: number): number;
  /** Frees what it holds on the GPU, once inversions that run are done. */
  dispose(): void;
}

const MOST_PROMPTS = 64;
/** Tokens that `expectedRivals` looks at. */
const FORECAST = 64;
/** Keys and values of all slots together. */
const CACHE_BYTES = 2 ** 29;

/**
 * Prepares the inversion of one layer: projects the vocabulary by its lens, and calibrates the rounding.
 * @param noise What the states' own noise is; a lens that allows for it proposes better under much of it.
 */
export async function createInverter(model: LoadedModel, lens: LayerLens, noise?: Noise): Promise<Inverter> {
  const { config, tokenizer } = model;
  const { layer, rms } = lens;
  const calibration = await calibrate(model, layer);
  const { level } = givenNoise(noise, { dtype: 'F32', layer, width: config.width }, calibration);
  const deviation = Math.max(NOISE_FLOOR, level) * rms;
  const [first, rest] = await twice(lens, (linear) => createScorer(model, linear, deviation));
  const [firstRivals, restRivals] = await twice(lens, (linear) => rivalIndex(model, linear));
  const places = [
    { rivals: firstRivals, kappa: lens.first.kappa },
    { rivals: restRivals, kappa: lens.rest.kappa },
  ];
  const geometry: Geometry = {
    vocabularySize: config.vocabularySize,
    at: (t) => places[Math.min(t, 1)],
  };

  let running = 0;
  let isDisposed = false;

  return {
    layer,
    expectedRivals,
    promptsAtOnce(length) {
      const bytes = 8 * length * config.width * Math.max(layer, 1);
      return Math.max(1, Math.min(MOST_PROMPTS, Math.floor(CACHE_BYTES / bytes)));
    },
    async invert(records, { batch = DEFAULT_BATCH, prove = false, signal, onPosition, onCandidates } = {}) {
      if (records.length === 0) return [];
      running++;
      const capacity = Math.max(...records.map(lengthOf));
      const map = newPositionMap(model, layer, { slots: records.length, capacity });
      const bench: Bench = { model, map, first, rest, batch };
      const runs = records.map((record): Run<Recovered> => {
        const task = {
          record,
          geometry,
          noise: givenNoise(noise, record, calibration),
          prove,
          signal,
          onPosition: onPosition && ((result: PositionResult) => onPosition(named(result))),
          onCandidates,
        };
        return { record, recovery: recover(task), cost: costMeter(config, layer, lengthOf(record)), seconds: 0 };
      });
      try {
        const all = await runRounds(bench, runs);
        return all.map((recovered, i) => summarize(recovered, runs[i]));
      } finally {
        map.cache.dispose();
        running--;
        if (isDisposed && running === 0) free();
      }
    },
    dispose() {
      isDisposed = true;
      if (running === 0) free();
    },
  };

  function free(): void {
    first.dispose();
    if (rest !== first) rest.dispose();
  }

  function expectedRivals(): number {
    const { width, vocabularySize } = config;
    const typical = rms * Math.sqrt(width); // norm of a state
    const assumed = givenNoise(noise, { dtype: 'F32', layer, width }, calibration);
    const reach = reachOf(assumed, assumed.level * typical, typical, width).likely / lens.rest.kappa;
    const tokens = Array.from({ length: FORECAST }, (_, i) => Math.floor((i * vocabularySize) / FORECAST));
    return tokens.reduce((sum, token) => sum + restRivals.within(token, reach).length, 0) / FORECAST;
  }

  function named(result: PositionResult): PositionResult {
    return tokenizer ? { ...result, text: tokenizer.token(result.token) } : result;
  }

  function summarize({ positions, noise }: Recovered, { record, cost, seconds }: Run<Recovered>): Inversion {
    return inversionOf(model, record, {
      policy: 'speculative',
      scope: 'calibrated',
      noise,
      positions: positions.map(named),
      cost: { forwardEquivalents: cost.forwardEquivalents(), scoring: cost.scoringEquivalents(), seconds },
    });
  }
}

/** Of both lenses, or once where they are the same. */
async function twice<T>({ first, rest }: LayerLens, make: (lens: LayerLens['first']) => Promise<T>): Promise<[T, T]> {
  const one = await make(first);
  return [one, rest === first ? one : await make(rest)];
}
