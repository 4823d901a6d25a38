import { ConfigError } from '../errors.ts';
import { isObject } from '../io/json.ts';
import { type ActivationName, activations } from '../reference/activation.ts';

/** A GPT-2: pre-norm blocks, learned positions, fused q/k/v stored `[in, out]`. */
export interface Gpt2Config {
  readonly family: 'gpt2';
  /** What to call the config in messages: a path or URL. */
  readonly name: string;
  readonly vocabularySize: number;
  /** Positions the model has rows for. */
  readonly contextLength: number;
  /** Length d of a residual row. */
  readonly width: number;
  readonly layers: number;
  readonly heads: number;
  readonly headDim: number;
  /** Hidden units of an MLP. */
  readonly innerWidth: number;
  readonly activation: ActivationName;
  readonly layerNormEpsilon: number;
  /** The output head is the token embedding. */
  readonly tiedHead: boolean;
  /** The output head adds a bias (not in transformers; `lm_head_bias` in the config). */
  readonly headBias: boolean;
  /** What a user should know before trusting results on this model, in sentences. */
  readonly warnings: readonly string[];
  /** The JSON as read. */
  readonly raw: Readonly<Record<string, unknown>>;
  /** The factor on q.k in a block: 1/sqrt(headDim) unless the config says otherwise. */
  attentionScale(layer: number): number;
}

/** The configs preimage can run, told apart by `family`. */
export type ModelConfig = Gpt2Config;

const FAMILIES: Readonly<Record<string, (raw: Record<string, unknown>, name: string) => ModelConfig>> = {
  gpt2: parseGpt2,
};
/** What configs without a model_type call a GPT-2. */
const GPT2_ARCHITECTURES: readonly unknown[] = ['GPT2LMHeadModel', 'GPT2Model'];
const ACTIVATION_ALIASES: Readonly<Record<string, ActivationName>> = { gelu_pytorch_tanh: 'gelu_new', swish: 'silu' };
const NOT_ANALYTIC: readonly ActivationName[] = ['relu', 'leaky_relu'];

/**
 * Reads a Hugging Face config.json.
 * @param json The parsed file.
 * @param name What to call it in messages.
 * @throws ConfigError for an architecture, activation or size preimage cannot run; the message lists what it can.
 */
export function parseConfig(json: unknown, name: string): ModelConfig {
  if (!isObject(json))
    throw new ConfigError(`${name} holds ${describe(json)}, not an object.`, 'Pass the config.json of a model.');
  const { model_type, architectures } = json;
  const named = Array.isArray(architectures) ? architectures : [];
  const family = model_type ?? (named.some((a) => GPT2_ARCHITECTURES.includes(a)) ? 'gpt2' : undefined);
  if (typeof family !== 'string' || !Object.hasOwn(FAMILIES, family))
    throw new ConfigError(
      `${name} has model_type ${describe(model_type)} and architectures ${describe(architectures)}.`,
      `Supported model types: ${Object.keys(FAMILIES).join(', ')}.`,
    );
  return FAMILIES[family](json, name);
}

/** Defaults as `transformers.GPT2Config`, except that the sizes must be given. */
function parseGpt2(raw: Record<string, unknown>, name: string): Gpt2Config {
  const read = reader(raw, name);
  const width = read.size('n_embd');
  const heads = read.size('n_head');
  if (width % heads !== 0)
    throw new ConfigError(
      `${name} has n_embd = ${width}, which n_head = ${heads} does not divide.`,
      'Take n_embd and n_head from the config.json the weights came with.',
    );
  const headDim = width / heads;
  const activation = read.activation('activation_function', 'gelu_new');
  const scaled = read.flag('scale_attn_weights', true);
  const inverse = read.flag('scale_attn_by_inverse_layer_idx', false);
  return {
    family: 'gpt2',
    name,
    vocabularySize: read.size('vocab_size'),
    contextLength: read.size('n_positions'),
    width,
    layers: read.size('n_layer'),
    heads,
    headDim,
    innerWidth: read.size('n_inner', 4 * width),
    activation,
    layerNormEpsilon: read.positive('layer_norm_epsilon', 1e-5),
    tiedHead: read.flag('tie_word_embeddings', true),
    headBias: read.flag('lm_head_bias', false),
    warnings: NOT_ANALYTIC.includes(activation)
      ? [`${activation} is not analytic: the injectivity theorem of arXiv 2510.15511 does not cover this model.`]
      : [],
    raw,
    attentionScale: (layer) => (scaled ? 1 / Math.sqrt(headDim) : 1) / (inverse ? layer + 1 : 1),
  };
}

/** Typed access to the fields of a config; `null` counts as absent, as in transformers. */
function reader(raw: Record<string, unknown>, name: string) {
  function field<T>(key: string, fallback: T | undefined, accepts: (value: unknown) => boolean, kind: string): T {
    const value = raw[key] ?? fallback;
    if (value === undefined)
      throw new ConfigError(`${name} has no ${key}.`, `Add ${key}, ${kind}, as in the model's own config.json.`);
    if (!accepts(value)) throw new ConfigError(`${name} has ${key} = ${describe(value)}.`, `Make it ${kind}.`);
    return value as T;
  }
  return {
    size: (key: string, fallback?: number) =>
      field<number>(key, fallback, (v) => Number.isSafeInteger(v) && Number(v) > 0, 'a positive integer'),
    positive: (key: string, fallback?: number) =>
      field<number>(key, fallback, (v) => Number.isFinite(v) && Number(v) > 0, 'a positive number'),
    flag: (key: string, fallback: boolean) => field(key, fallback, (v) => typeof v === 'boolean', 'true or false'),
    activation(key: string, fallback: ActivationName): ActivationName {
      const known = { ...ACTIVATION_ALIASES, ...namedActivations };
      const isKnown = (v: unknown) => typeof v === 'string' && Object.hasOwn(known, v);
      return known[field<string>(key, fallback, isKnown, `one of ${Object.keys(known).join(', ')}`)];
    },
  };
}

/** `none` is for kernels: no config names it. */
const namedActivations = Object.fromEntries(
  (Object.keys(activations) as ActivationName[]).filter((name) => name !== 'none').map((name) => [name, name]),
);

function describe(value: unknown): string {
  return value === undefined ? 'missing' : JSON.stringify(value).slice(0, 80);
}
