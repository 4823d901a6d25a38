import { InputError } from '../../errors.ts';
import type { ModelConfig } from '../../model/config.ts';
import { layouts } from '../../model/layout.ts';
import type { ModelFiles } from '../../model/load.ts';
import { resolveParameters } from '../../model/parameters.ts';
import { loadTwin, type ReferenceModel } from '../../model/reference.ts';
import type { AttentionBlock, MlpBlock, ModelPart, NormBlock, UnembeddingBlock } from './types.ts';

/** What certificates need of a model; nothing of it is on a GPU. */
export interface ModelParameters {
  readonly config: ModelConfig;
  digest(): Promise<string>;
  /** The values of a parameter by its canonical name (`h.0.ln_1.weight`). */
  parameter(name: string): Promise<Float32Array>;
  /** The float64 twin, loaded when first asked for. */
  reference(): Promise<ReferenceModel>;
}

/**
 * The parameters of a model from its files.
 * @throws MissingTensorError, ConfigError as `resolveParameters`.
 */
export function modelParameters(files: ModelFiles): ModelParameters {
  const { config, checkpoint, digest } = files;
  const names = resolveParameters(config, checkpoint);
  let twin: Promise<ReferenceModel> | undefined;
  return {
    config,
    digest,
    parameter: (name) => checkpoint.float32(names.get(name)!),
    reference: () => {
      twin ??= loadTwin(files);
      return twin;
    },
  };
}

const names = 'ln_f, h.0.ln_1, h.0.ln_2, h.0.attn, h.0.mlp or lm_head';

/** The block number of a part such as `h.3.mlp`. @throws InputError when the model has no such part. */
function blockOf(part: string, kind: RegExp, { layers }: ModelConfig): number {
  const [, number] = kind.exec(part) ?? [];
  if (number !== undefined && Number(number) < layers) return Number(number);
  throw new InputError(
    `The model of ${layers} blocks has no such part as ${JSON.stringify(part)} here.`,
    `Name ${names}.`,
  );
}

/** The LayerNorm `ln_f`, or one of a block, as in `h.3.ln_1`. @throws InputError */
export async function normPart(model: ModelParameters, part: string): Promise<NormBlock> {
  if (part !== 'ln_f') blockOf(part, /^h\.(\d{1,6})\.ln_[12]$/, model.config);
  const [weight, bias] = await Promise.all([model.parameter(`${part}.weight`), model.parameter(`${part}.bias`)]);
  return { weight, bias };
}

/**
 * The attention of `h.3.attn` behind a prefix.
 * @throws InputError for another part, or a prefix that the model cannot take.
 */
export async function attentionPart(
  model: ModelParameters,
  { part, prefix, values }: Omit<ModelPart, 'model'>,
): Promise<AttentionBlock> {
  const { config } = model;
  const layer = blockOf(part, /^h\.(\d{1,6})\.attn$/, config);
  const { width: d, heads, family } = config;
  const { qkvParts, qkvBias, attentionOut, transposed } = layouts[family];
  const last = qkvParts.at(-1)!;
  const fused = await model.parameter(`h.${layer}.${last}.weight`);
  const columns = (3 * d) / qkvParts.length;
  const valueWeight = transposed ? transpose(fused, d) : lastColumns(fused, columns, d);
  const bias = qkvBias ? await model.parameter(`h.${layer}.${last}.bias`) : undefined;
  const outWeight = await model.parameter(`h.${layer}.${attentionOut}.weight`);
  return {
    norm: await normPart(model, `h.${layer}.ln_1`),
    heads,
    valueWeight,
    valueBias: bias ? bias.slice(-d) : new Float32Array(d),
    outWeight: transposed ? transpose(outWeight, d) : outWeight,
    outBias: await model.parameter(`h.${layer}.${attentionOut}.bias`),
    values: values ?? (await prefixValues(model, layer, prefix ?? [])),
  };
}

/** The MLP of `h.3.mlp`, after its LayerNorm. @throws InputError for another part. */
export async function mlpPart(model: ModelParameters, part: string): Promise<MlpBlock> {
  const { config } = model;
  const layer = blockOf(part, /^h\.(\d{1,6})\.mlp$/, config);
  const { transposed } = layouts[config.family];
  const matrix = async (name: string, inputs: number) => {
    const stored = await model.parameter(`${part}.${name}.weight`);
    return transposed ? transpose(stored, inputs) : stored;
  };
  return {
    norm: await normPart(model, `h.${layer}.ln_2`),
    activation: config.activation,
    inWeight: await matrix('c_fc', config.width),
    inBias: await model.parameter(`${part}.c_fc.bias`),
    outWeight: await matrix('c_proj', config.innerWidth),
    outBias: await model.parameter(`${part}.c_proj.bias`),
  };
}

/** The output head behind `ln_f`. */
export async function headPart(model: ModelParameters): Promise<UnembeddingBlock> {
  const { tiedHead, headBias } = model.config;
  return {
    norm: await normPart(model, 'ln_f'),
    weight: await model.parameter(tiedHead ? 'wte.weight' : 'lm_head.weight'),
    bias: headBias ? await model.parameter('lm_head.bias') : undefined,
  };
}

/** The values that a text leaves in a block, `[n, d]`, in float64. @throws InputError */
async function prefixValues(model: ModelParameters, layer: number, ids: readonly number[]): Promise<Float64Array> {
  const { vocabularySize, contextLength } = model.config;
  const bad = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabularySize));
  if (bad !== undefined || ids.length >= contextLength) {
    throw new InputError(
      bad !== undefined ? `The prefix has the token ${bad}.` : `The prefix has ${ids.length} tokens.`,
      `The model has tokens 0 to ${vocabularySize - 1} and room for ${contextLength - 1} before a position.`,
    );
  }
  const reference = await model.reference();
  const prefix = reference.prefix(layer + 1);
  if (ids.length > 0) reference.extend(reference.embed(ids), prefix);
  return prefix.layers[layer].values;
}

/** @param values `[columns, rows]` @returns `[rows, columns]` */
function transpose(values: Float32Array, rows: number): Float32Array {
  const columns = values.length / rows;
  return values.map((_, i) => values[(i % columns) * rows + Math.floor(i / columns)]);
}

/** @param values `[rows, width]` @returns `[rows, count]` */
function lastColumns(values: Float32Array, width: number, count: number): Float32Array {
  const rows = values.length / width;
  return Float32Array.from({ length: rows * count }, (_, i) => {
    const row = Math.floor(i / count);
    return values[row * width + width - count + (i % count)];
  });
}
