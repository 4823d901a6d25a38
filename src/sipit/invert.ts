import { InputError } from '../errors.ts';
import type { ModelConfig } from '../model/config.ts';
import type { LoadedModel } from '../model/load.ts';
import { checkLayer } from '../model/model.ts';
import { sliceRows } from '../ops/slice.ts';
import { upload } from '../tensor/tensor.ts';
import { costMeter } from './cost.ts';
import { acceptRadius, calibrate, clearlyNearest, norm } from './decision.ts';
import { type Policy, policies } from './policy.ts';
import { recoveredPrefix } from './prefix.ts';
import { searchPosition } from './search.ts';
import type { Inversion, InvertOptions, PositionResult, StateRecord } from './types.ts';

const DEFAULT_BATCH = 1024;

/**
 * SipIt (arXiv 2510.15511, section 4): recovers a prompt from the residual states of one layer, position by position,
 * with the keys and values of the tokens recovered so far in a cache. Where no token fits, the position is flagged and
 * the search goes on with the nearest candidate if that is clearly the nearest; it ends otherwise, for whatever follows
 * a wrong token fits nothing.
 *
 * @returns The tokens with the evidence for each; `exact` only if every position was accepted.
 * @throws InputError for states this model cannot have produced (width, layer, length, NaN) and for unusable options.
 */
export async function invert(model: LoadedModel, record: StateRecord, options: InvertOptions = {}): Promise<Inversion> {
  const { context, config, tokenizer } = model;
  const { onPosition, onCandidates, signal } = options;
  const { policy, batch } = checkOptions(options);
  const length = checkRecord(config, record);
  const { layer, width, dtype, values } = record;
  const started = performance.now();
  const calibration = await calibrate(model, layer);

  const cost = costMeter(config, layer, length);
  // Only the model's own distribution needs the blocks above the layer.
  const depth = policy.exhaustive ? layer : config.layers;
  const states = upload(context, values, [length, width], 'observed states');
  const prefix = recoveredPrefix(model, layer, depth, length, cost);
  const search = { model, prefix, policy, batch, onCandidates, signal };
  const positions: PositionResult[] = [];
  try {
    while (prefix.length < length && !signal?.aborted) {
      const t = positions.length;
      const observed = sliceRows(states, t, 1); // (1, d)
      const radius = acceptRadius(norm(values.subarray(t * width, (t + 1) * width)), calibration, dtype);
      const found = await searchPosition(search, observed, radius).finally(observed.dispose);
      if (!found) break;
      positions.push(found);
      onPosition?.(found);
      const goesOn = found.verdict === 'accepted' || clearlyNearest(found, found.runnerUp);
      if (!goesOn || positions.length === length) break;
      prefix.append(found.token);
    }
  } finally {
    prefix.dispose();
    states.dispose();
  }

  const tokens = positions.map(({ token }) => token);
  return {
    text: tokenizer?.decode(tokens),
    tokens,
    exact: positions.length === length && positions.every(({ verdict }) => verdict === 'accepted'),
    layer,
    policy: policy.name,
    runnerUpScope: policy.exhaustive ? 'vocabulary' : 'evaluated',
    positions,
    length,
    cost: {
      forwardEquivalents: cost.forwardEquivalents(),
      candidates: positions.reduce((sum, { candidates }) => sum + candidates, 0),
      seconds: (performance.now() - started) / 1000,
    },
  };
}

function checkOptions({ policy = 'likely-first', batch = DEFAULT_BATCH }: InvertOptions): {
  policy: Policy;
  batch: number;
} {
  if (!Object.hasOwn(policies, policy)) {
    throw new InputError(`There is no policy "${policy}".`, `Use ${Object.keys(policies).join(' or ')}.`);
  }
  if (!Number.isInteger(batch) || batch < 1) {
    throw new InputError(`The batch is ${batch}.`, 'Use 1 candidate or more.');
  }
  return { policy: policies[policy], batch };
}

/** Positions of a record that the model can have produced. */
function checkRecord(config: ModelConfig, { values, width, layer, name = 'states' }: StateRecord): number {
  checkLayer(config, layer);
  if (width !== config.width) {
    throw new InputError(
      `${name} has rows of ${width}; the states of ${config.name} have ${config.width} (n_embd).`,
      'Pass the model that made the states (--model).',
    );
  }
  const length = values.length / width;
  if (!Number.isInteger(length) || length === 0 || length > config.contextLength) {
    throw new InputError(
      `${name} holds ${length} positions; the model has 1 to ${config.contextLength}.`,
      'Give the states of one prompt, without padding.',
    );
  }
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new InputError(
      `${name} holds ${values[bad]} at position ${Math.floor(bad / width)}, dimension ${bad % width}.`,
      'States must be finite: was the model run in f16 beyond its range?',
    );
  }
  return length;
}
