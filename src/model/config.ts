import { ConfigError } from '../errors.ts';
import { isObject } from '../io/json.ts';
import type { ActivationName } from '../reference/activation.ts';
import { attentionKinds } from './attention-kinds.ts';
import { configReader, describeValue } from './config-reader.ts';

/** What the configs of all families say. */
interface SharedConfig {
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
  /** What the JSON calls the sizes, for messages. */
  readonly keys: ConfigKeys;
  /** The JSON as read. */
  readonly raw: Readonly<Record<string, unknown>>;
  /** The factor on q.k in a block. */
  attentionScale(layer: number): number;
  /** How many of the last positions a block attends to, the row's own included; undefined for all. */
  attentionWindow(layer: number): number | undefined;
}

/** The names of the sizes in a family's config.json. */
export type ConfigKeys = Readonly<
  Record<'vocabularySize' | 'contextLength' | 'width' | 'layers' | 'heads' | 'innerWidth', string>
>;

/** A GPT-2: pre-norm blocks, learned positions, fused q/k/v stored `[in, out]`; attention scaled by 1/sqrt(headDim). */
export interface Gpt2Config extends SharedConfig {
  readonly family: 'gpt2';
}

/** A GPT-Neo: as GPT-2, but q, k and v stored apart, `[out, in]`; attention unscaled, and local in some blocks. */
export interface GptNeoConfig extends SharedConfig {
  readonly family: 'gpt_neo';
}

/** The configs preimage can run, told apart by `family`. */
export type ModelConfig = Gpt2Config | GptNeoConfig;

const FAMILIES: Readonly<Record<string, (raw: Record<string, unknown>, name: string) => ModelConfig>> = {
  gpt2: parseGpt2,
  gpt_neo: parseGptNeo,
};
/** The model types of configs that do not say theirs. */
const ARCHITECTURES: ReadonlyMap<unknown, string> = new Map([
  ['GPT2LMHeadModel', 'gpt2'],
  ['GPT2Model', 'gpt2'],
  ['GPTNeoForCausalLM', 'gpt_neo'],
  ['GPTNeoModel', 'gpt_neo'],
]);
const NOT_ANALYTIC: readonly ActivationName[] = ['relu', 'leaky_relu'];

/**
 * Reads a Hugging Face config.json.
 * @param json The parsed file.
 * @param name What to call it in messages.
 * @throws ConfigError for an architecture, activation or size preimage cannot run; the message lists what it can.
 */
export function parseConfig(json: unknown, name: string): ModelConfig {
  if (!isObject(json))
    throw new ConfigError(`${name} holds ${describeValue(json)}, not an object.`, 'Pass the config.json of a model.');
  const { model_type, architectures } = json;
  const named = Array.isArray(architectures) ? architectures : [];
  const family = model_type ?? named.map((a) => ARCHITECTURES.get(a)).find((known) => known !== undefined);
  if (typeof family !== 'string' || !Object.hasOwn(FAMILIES, family))
    throw new ConfigError(
      `${name} has model_type ${describeValue(model_type)} and architectures ${describeValue(architectures)}.`,
      `Supported model types: ${Object.keys(FAMILIES).join(', ')}.`,
    );
  return FAMILIES[family](json, name);
}

/** Defaults as `transformers.GPT2Config`, except that the sizes must be given. */
function parseGpt2(raw: Record<string, unknown>, name: string): Gpt2Config {
  const shared = parseShared(raw, name, {
    vocabularySize: 'vocab_size',
    contextLength: 'n_positions',
    width: 'n_embd',
    layers: 'n_layer',
    heads: 'n_head',
    innerWidth: 'n_inner',
  });
  const read = configReader(raw, name);
  const scaled = read.flag('scale_attn_weights', true);
  const inverse = read.flag('scale_attn_by_inverse_layer_idx', false);
  return {
    family: 'gpt2',
    ...shared,
    attentionScale: (layer) => (scaled ? 1 / Math.sqrt(shared.headDim) : 1) / (inverse ? layer + 1 : 1),
    attentionWindow: () => undefined,
  };
}

/** Defaults as `transformers.GPTNeoConfig`, except that the sizes must be given. */
function parseGptNeo(raw: Record<string, unknown>, name: string): GptNeoConfig {
  const shared = parseShared(raw, name, {
    vocabularySize: 'vocab_size',
    contextLength: 'max_position_embeddings',
    width: 'hidden_size',
    layers: 'num_layers',
    heads: 'num_heads',
    innerWidth: 'intermediate_size',
  });
  const kindOf = attentionKinds(raw, name, shared.layers);
  const window = configReader(raw, name).size('window_size', 256);
  return {
    family: 'gpt_neo',
    ...shared,
    attentionScale: () => 1,
    attentionWindow: (layer) => (kindOf(layer) === 'local' ? window : undefined),
  };
}

function parseShared(raw: Record<string, unknown>, name: string, keys: ConfigKeys) {
  const read = configReader(raw, name);
  const width = read.size(keys.width);
  const heads = read.size(keys.heads);
  if (width % heads !== 0)
    throw new ConfigError(
      `${name} has ${keys.width} = ${width}, which ${keys.heads} = ${heads} does not divide.`,
      `Take ${keys.width} and ${keys.heads} from the config.json the weights came with.`,
    );
  const activation = read.activation('activation_function', 'gelu_new');
  return {
    name,
    vocabularySize: read.size(keys.vocabularySize),
    contextLength: read.size(keys.contextLength),
    width,
    layers: read.size(keys.layers),
    heads,
    headDim: width / heads,
    innerWidth: read.size(keys.innerWidth, 4 * width),
    activation,
    layerNormEpsilon: read.positive('layer_norm_epsilon', 1e-5),
    tiedHead: read.flag('tie_word_embeddings', true),
    headBias: read.flag('lm_head_bias', false),
    warnings: NOT_ANALYTIC.includes(activation)
      ? [`${activation} is not analytic: the injectivity theorem of arXiv 2510.15511 does not cover this model.`]
      : [],
    keys,
    raw,
  };
}
