import { InputError } from '../errors.ts';
import type { AdapterKind } from '../gpu/adapter.ts';
import { lensesOf } from '../lens/store.ts';
import type { ModelConfig } from '../model/config.ts';
import type { LoadedModel } from '../model/load.ts';
import { checkLayer } from '../model/model.ts';
import { searchByPolicy } from './by-policy.ts';
import { calibrate, norm } from './decision.ts';
import { inversionOf } from './inversion.ts';
import { createInverter, type Inverter } from './inverter.ts';
import { givenNoise } from './noise.ts';
import { type Policy, policies } from './policy.ts';
import { lengthOf, stateAt } from './record.ts';
import type { Inversion, InvertOptions, Noise, StateRecord } from './types.ts';

/**
 * Recovers a prompt from the residual states of one layer (SipIt, arXiv 2510.15511, section 4), with the evidence for
 * each token. By default every position is speculated on at once (`speculate.ts`), at about the cost of one forward
 * pass; a lens is needed for that, and is fitted when the model has none yet. Any other policy tries candidates one
 * position after another (`search.ts`).
 *
 * @returns `exact` only if every position was accepted. Flagged positions hold the nearest token.
 * @throws InputError for states this model cannot have produced (width, layer, length, NaN) and for unusable options.
 */
export async function invert(model: LoadedModel, record: StateRecord, options: InvertOptions = {}): Promise<Inversion> {
  const policy = checkOptions(options);
  checkRecord(model.config, record);
  if (policy) return invertByPolicy(model, record, policy, options);
  const inverter = await inverterOf(model, record.layer, options);
  const [inversion] = await inverter.invert([record], options);
  return inversion;
}

/** What became of one of many records. */
export type Inverted = { readonly record: StateRecord } & (
  | { readonly inversion: Inversion; readonly error?: undefined }
  | { readonly error: InputError; readonly inversion?: undefined }
);

/** Rows of prompts that are inverted side by side: enough to fill the adapter, few enough to hear of often. */
const ROWS_AT_ONCE: Readonly<Record<AdapterKind, number>> = { cpu: 640, hardware: 8192 };

/**
 * Inverts records of any lengths, many side by side on the GPU; they may come one after another, as from a file.
 * Yields them in their order, a batch at a time. A record the model cannot have made is reported, and the others are
 * inverted all the same. When the signal fires, what is begun is yielded as far as it came.
 *
 * @throws InputError for unusable options.
 */
export async function* invertMany(
  model: LoadedModel,
  records: Iterable<StateRecord> | AsyncIterable<StateRecord>,
  options: Omit<InvertOptions, 'onPosition' | 'onCandidates'> = {},
): AsyncGenerator<Inverted> {
  const policy = checkOptions(options);
  if (policy) {
    for await (const record of records) {
      yield await reported(record, () => invert(model, record, options));
      if (options.signal?.aborted) return;
    }
    return;
  }
  let batch: StateRecord[] = [];
  let longest = 0;
  async function* run(): AsyncGenerator<Inverted> {
    const some = batch;
    batch = [];
    longest = 0;
    yield* invertBatch(model, some, options);
  }
  for await (const record of records) {
    if (options.signal?.aborted) break;
    let inverter: Inverter;
    try {
      checkRecord(model.config, record);
      inverter = await inverterOf(model, record.layer, options);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      yield* run();
      yield { record, error };
      continue;
    }
    longest = Math.max(longest, lengthOf(record));
    const fits =
      batch.length < inverter.promptsAtOnce(longest) &&
      (batch.length + 1) * longest <= ROWS_AT_ONCE[model.context.adapter.kind] &&
      batch.every(({ layer }) => layer === record.layer);
    if (!fits) {
      yield* run();
      longest = lengthOf(record);
    }
    batch.push(record);
  }
  if (!options.signal?.aborted) yield* run();
}

async function* invertBatch(
  model: LoadedModel,
  records: readonly StateRecord[],
  options: InvertOptions,
): AsyncGenerator<Inverted> {
  if (records.length === 0) return;
  const inverter = await inverterOf(model, records[0].layer, options);
  try {
    const inversions = await inverter.invert(records, options);
    for (const [i, record] of records.entries()) yield { record, inversion: inversions[i] };
  } catch (error) {
    // One of them is to blame: alone, each gets its own result.
    if (!(error instanceof InputError)) throw error;
    for (const record of records) yield await reported(record, () => invert(model, record, options));
  }
}

async function reported(record: StateRecord, work: () => Promise<Inversion>): Promise<Inverted> {
  try {
    return { record, inversion: await work() };
  } catch (error) {
    if (error instanceof InputError) return { record, error };
    throw error;
  }
}

const inverters = new WeakMap<LoadedModel, Map<string, Promise<Inverter>>>();

/** Inverters of a model that are kept; with a vocabulary of 50,000 each holds about 100 MB. */
const KEPT = 4;

/** The inverter of a layer, prepared when first asked for, and kept until others are asked for more recently. */
export function inverterOf(
  model: LoadedModel,
  layer: number,
  { noise, lens, signal }: Pick<InvertOptions, 'noise' | 'lens' | 'signal'> = {},
): Promise<Inverter> {
  const known = inverters.get(model) ?? new Map<string, Promise<Inverter>>();
  inverters.set(model, known);
  const key = JSON.stringify([layer, noise]);
  const inverter =
    known.get(key) ??
    lensesOf(model, [layer], { signal, ...lens }).then(([fitted]) => createInverter(model, fitted, noise));
  known.delete(key);
  known.set(key, inverter); // the most recent comes last
  inverter.catch(() => known.delete(key));
  const [oldest] = known;
  if (known.size > KEPT) {
    known.delete(oldest[0]);
    oldest[1].then(
      (unused) => unused.dispose(),
      () => {},
    );
  }
  return inverter;
}

async function invertByPolicy(
  model: LoadedModel,
  record: StateRecord,
  policy: Policy,
  options: InvertOptions,
): Promise<Inversion> {
  const { layer } = record;
  const started = performance.now();
  const calibration = await calibrate(model, layer);
  const noise = givenNoise(options.noise, record, calibration);
  const radius = (t: number) => noise.radius(norm(stateAt(record, t)));
  const { positions, forwardEquivalents, scoring } = await searchByPolicy(model, record, policy, options, radius);
  return inversionOf(model, record, {
    policy: policy.name,
    scope: 'evaluated',
    noise: noise.level,
    positions,
    cost: { forwardEquivalents, scoring, seconds: (performance.now() - started) / 1000 },
  });
}

/** @returns The policy to search by; undefined for speculation. */
function checkOptions({ policy = 'speculative', batch, noise }: InvertOptions): Policy | undefined {
  checkNoise(noise);
  if (batch !== undefined && (!Number.isInteger(batch) || batch < 1)) {
    throw new InputError(`The batch is ${batch}.`, 'Use 1 candidate or more.');
  }
  if (typeof policy === 'object') return policy;
  if (policy === 'speculative') return undefined;
  if (Object.hasOwn(policies, policy)) return policies[policy];
  throw new InputError(
    `There is no policy "${policy}".`,
    `Use speculative, ${Object.keys(policies).join(', ')}, or a Policy of your own.`,
  );
}

function checkNoise(noise: Noise | undefined): void {
  if (!noise || !('gaussian' in noise)) return;
  if (noise.gaussian >= 0 && Number.isFinite(noise.gaussian)) return;
  throw new InputError(
    `The noise is ${noise.gaussian}.`,
    "Give its standard deviation as a share of a state's RMS: 0 or more.",
  );
}

/** @throws InputError unless the model can have produced the record. */
function checkRecord(config: ModelConfig, record: StateRecord): void {
  const { values, width, layer, firstPosition = 0, name = 'states' } = record;
  checkLayer(config, layer);
  if (width !== config.width) {
    throw new InputError(
      `${name} has rows of ${width}; the states of ${config.name} have ${config.width} (${config.keys.width}).`,
      'Pass the model that made the states (--model).',
    );
  }
  const length = lengthOf(record);
  if (!Number.isInteger(firstPosition) || firstPosition < 0) {
    throw new InputError(`${name} starts at position ${firstPosition}.`, 'Give its first row a position of 0 or more.');
  }
  if (!Number.isInteger(length) || length === 0 || firstPosition + length > config.contextLength) {
    throw new InputError(
      `${name} holds ${length} positions${firstPosition > 0 ? ` from ${firstPosition} on` : ''}; the model has 1 to ${config.contextLength}.`,
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
}
