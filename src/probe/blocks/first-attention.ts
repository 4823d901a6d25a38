import { matrixFrom } from '../../linalg/dense.ts';
import type { ModelConfig } from '../../model/config.ts';
import { layouts } from '../../model/layout.ts';
import { layernorm } from '../../reference/layernorm.ts';
import { matmul } from '../../reference/matmul.ts';

/** What is left of a softmax attention step at the first position: it sees itself alone, with weight 1. */
export interface FirstAttention {
  /** d */
  readonly width: number;
  /** gamma, [d] */
  readonly gain: ArrayLike<number>;
  /** beta, [d] */
  readonly bias: ArrayLike<number>;
  readonly epsilon: number;
  /** W_v, [d, d], from rows to values of all heads side by side. */
  readonly valueWeight: ArrayLike<number>;
  /** b_v, [d] */
  readonly valueBias: ArrayLike<number>;
  /** W_o, [d, d] */
  readonly outWeight: ArrayLike<number>;
  /** b_o, [d] */
  readonly outBias: ArrayLike<number>;
}

/**
 * The attention step of a block of a model, at position 0.
 * @param parameter Gives the values of a parameter by its canonical name, as `loadReferenceModel` takes it.
 */
export async function firstAttention(
  config: ModelConfig,
  layer: number,
  parameter: (name: string) => Promise<ArrayLike<number>>,
): Promise<FirstAttention> {
  const { width: d, layerNormEpsilon: epsilon, family } = config;
  const { qkvParts, qkvBias, attentionOut, transposed } = layouts[family];
  const of = (name: string) => parameter(`h.${layer}.${name}`);
  const matrix = async (name: string, outputs: number) => {
    const weight = matrixFrom(await of(`${name}.weight`), transposed ? d : outputs);
    return transposed ? weight.transpose() : weight; // (d, outputs)
  };
  const part = qkvParts[qkvParts.length - 1];
  const qkv = await matrix(part, (3 * d) / qkvParts.length); // (d, d) or (d, 3d), values last
  const out = await matrix(attentionOut, d);
  return {
    width: d,
    gain: await of('ln_1.weight'),
    bias: await of('ln_1.bias'),
    epsilon,
    valueWeight: qkv.subMatrix(0, d - 1, qkv.columns - d, qkv.columns - 1).to1DArray(),
    valueBias: qkvBias ? Array.from(await of(`${part}.bias`)).slice(-d) : new Float64Array(d),
    outWeight: out.to1DArray(),
    outBias: await of(`${attentionOut}.bias`),
  };
}

/**
 * `x + (LN(x) W_v + b_v) W_o + b_o` in float64.
 * @param rows [B, d]
 * @returns [B, d]
 * @throws ShapeError when an operand does not fill its shape.
 */
export function firstAttentionTwin(step: FirstAttention, rows: ArrayLike<number>): Float64Array {
  const { width: d, gain, bias, epsilon, valueWeight, valueBias, outWeight, outBias } = step;
  const shape = { m: rows.length / d, n: d, k: d };
  const values = matmul(layernorm(rows, gain, bias, epsilon).y, valueWeight, { ...shape, bias: valueBias }); // (B, d)
  return matmul(values, outWeight, { ...shape, bias: outBias, residual: rows }); // (B, d)
}
