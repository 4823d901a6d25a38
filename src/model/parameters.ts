import { ConfigError, MissingTensorError } from '../errors.ts';
import type { Checkpoint } from '../io/checkpoint.ts';
import type { ModelConfig } from './config.ts';
import { layouts } from './layout.ts';

/** A parameter of a model. */
export interface Parameter {
  /** Name without prefix: `h.0.attn.c_attn.weight`. */
  readonly name: string;
  /** Linear layers `[in, out]`, or `[out, in]` in a transposed layout; `lm_head.weight` `[vocabulary, d]`. */
  readonly shape: readonly number[];
  /** The config values that ask for it, for messages: `n_layer = 12`. */
  readonly because: string;
}

const PREFIX = 'transformer.';
const FLOATS: readonly string[] = ['F64', 'F32', 'F16', 'BF16'];

/** Every parameter as stored, in the order of the forward pass; lazily, so that an absurd layer count costs nothing. */
export function* parametersOf(config: ModelConfig): Generator<Parameter> {
  for (const { name, shape, because } of tensorsOf(config)) {
    const parts = partsOf(name);
    for (const part of parts) yield { name: part, shape: [shape[0] / parts.length, ...shape.slice(1)], because };
  }
}

/**
 * The parameters as they stand on the GPU: those that one product computes with are one matrix there, their rows one
 * after another. `partsOf` tells which.
 */
export function* tensorsOf(config: ModelConfig): Generator<Parameter> {
  const { width: d, innerWidth: inner, vocabularySize, contextLength, layers, keys } = config;
  const { qkv, qkvBias, attentionOut, transposed } = layouts[config.family];
  const ofWidth = `${keys.width} = ${d}`;
  const ofInner = `${keys.innerWidth} = ${inner}`;
  const ofVocabulary = `${keys.vocabularySize} = ${vocabularySize}`;
  const parameter = (name: string, shape: number[], ...because: string[]) => ({
    name,
    shape,
    because: because.join(', '),
  });

  yield parameter('wte.weight', [vocabularySize, d], ofVocabulary, ofWidth);
  yield parameter('wpe.weight', [contextLength, d], `${keys.contextLength} = ${contextLength}`, ofWidth);
  for (let layer = 0; layer < layers; layer++) {
    const block = (name: string, shape: number[], ...because: string[]) =>
      parameter(`h.${layer}.${name}`, shape, `${keys.layers} = ${layers}`, ...because);
    const matrix = (name: string, inputs: number, outputs: number, ...because: string[]) =>
      block(`${name}.weight`, transposed ? [outputs, inputs] : [inputs, outputs], ...because);
    yield block('ln_1.weight', [d], ofWidth);
    yield block('ln_1.bias', [d], ofWidth);
    yield matrix(qkv, d, 3 * d, ofWidth);
    if (qkvBias) yield block(`${qkv}.bias`, [3 * d], ofWidth);
    yield matrix(attentionOut, d, d, ofWidth);
    yield block(`${attentionOut}.bias`, [d], ofWidth);
    yield block('ln_2.weight', [d], ofWidth);
    yield block('ln_2.bias', [d], ofWidth);
    yield matrix('mlp.c_fc', d, inner, ofWidth, ofInner);
    yield block('mlp.c_fc.bias', [inner], ofInner);
    yield matrix('mlp.c_proj', inner, d, ofWidth, ofInner);
    yield block('mlp.c_proj.bias', [d], ofWidth);
  }
  yield parameter('ln_f.weight', [d], ofWidth);
  yield parameter('ln_f.bias', [d], ofWidth);
  if (!config.tiedHead) yield parameter('lm_head.weight', [vocabularySize, d], 'tie_word_embeddings = false', ofWidth);
  if (config.headBias) yield parameter('lm_head.bias', [vocabularySize], 'lm_head_bias = true');
}

/** The parameters that a tensor on the GPU is made of, an equal run of its rows each; as a rule one of its own name. */
export function partsOf(tensor: string): string[] {
  const layout = Object.values(layouts).find(({ qkv }) => tensor.endsWith(`.${qkv}.weight`));
  return layout ? layout.qkvParts.map((part) => tensor.replace(layout.qkv, part)) : [tensor];
}

/**
 * Finds every parameter of a model in a checkpoint, with or without the prefix `transformer.`. Other tensors (mask
 * buffers, the copy of a tied head) are ignored.
 * @returns Canonical name to stored name.
 * @throws MissingTensorError for a parameter that is absent, has another shape or is not stored as floats.
 * @throws ConfigError when the checkpoint holds more blocks than the config.
 */
export function resolveParameters(config: ModelConfig, checkpoint: Checkpoint): Map<string, string> {
  const names = new Map<string, string>();
  for (const parameter of parametersOf(config)) names.set(parameter.name, resolve(parameter, config, checkpoint));

  const { layers } = config.keys;
  const extraBlock = `h.${config.layers}.ln_1.weight`;
  if (storedName(extraBlock, checkpoint))
    throw new ConfigError(
      `${checkpoint.name} holds ${publishedName(extraBlock)}, a block more than ${layers} = ${config.layers} in ${config.name}.`,
      `Set ${layers} to the number of blocks the weights have.`,
    );
  const tiedCopy = 'lm_head.weight';
  if (config.tiedHead && storedName(tiedCopy, checkpoint)) {
    const shape = [config.vocabularySize, config.width];
    resolve({ name: tiedCopy, shape, because: 'tie_word_embeddings = true' }, config, checkpoint);
  }
  return names;
}

/**
 * A fingerprint of a model's weights as stored, whatever its shards, name prefixes and extra tensors. Holds one tensor
 * at a time in memory.
 * @returns The first 16 hex digits of the SHA-256 over a line `name dtype shape sha256` for each parameter, by name.
 * @throws MissingTensorError, ConfigError as `resolveParameters`.
 */
export async function digest(checkpoint: Checkpoint, config: ModelConfig): Promise<string> {
  const lines: string[] = [];
  for (const [name, stored] of [...resolveParameters(config, checkpoint)].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const { dtype, shape } = checkpoint.tensors.get(stored)!;
    lines.push(`${name} ${dtype} ${shape.join('x')} ${await sha256(await checkpoint.bytes(stored))}\n`);
  }
  return (await sha256(new TextEncoder().encode(lines.join('')))).slice(0, 16);
}

/** As transformers stores it today: the head stands outside the transformer. */
export function publishedName(name: string): string {
  return name.startsWith('lm_head.') ? name : PREFIX + name;
}

function storedName(name: string, checkpoint: Checkpoint): string | undefined {
  return [publishedName(name), name].find((candidate) => checkpoint.tensors.has(candidate));
}

function resolve({ name, shape, because }: Parameter, config: ModelConfig, checkpoint: Checkpoint): string {
  const stored = storedName(name, checkpoint);
  const reason = `(${because} in ${config.name})`;
  if (stored === undefined)
    throw new MissingTensorError(
      `${publishedName(name)} is not in ${checkpoint.name} ${reason}.`,
      'Is the checkpoint sharded? Pass the folder that holds model.safetensors.index.json. Is the config of another model? Pass the one that came with the weights.',
    );
  const found = checkpoint.tensors.get(stored)!;
  if (found.shape.join() !== shape.join())
    throw new MissingTensorError(
      `${stored} in ${checkpoint.name} has the shape [${found.shape.join(', ')}], not [${shape.join(', ')}] ${reason}.`,
      'Pass the config that came with the weights.',
    );
  if (!FLOATS.includes(found.dtype))
    throw new MissingTensorError(
      `${stored} in ${checkpoint.name} is stored as ${found.dtype}.`,
      `Convert the weights to one of ${FLOATS.join(', ')}; quantized checkpoints are not supported.`,
    );
  return stored;
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
