import type { LanguageModel } from '../model/model.ts';
import { readAll } from '../tensor/tensor.ts';

/** The LayerNorm behind the last block, `ln_f`. */
export interface FinalNorm {
  /** gamma, [d] */
  readonly weight: Float32Array;
  /** beta, [d] */
  readonly bias: Float32Array;
}

/** The final LayerNorm of a model, read back from the GPU. */
export async function finalNormOf({ weights }: LanguageModel): Promise<FinalNorm> {
  const [weight, bias] = await readAll([weights.tensor('ln_f.weight'), weights.tensor('ln_f.bias')]);
  return { weight, bias };
}

/** Rounding of values that went through bf16, which also f32 files hold: in the run, and once more when stored. */
const ROUNDING = 2 ** -8;
/** Standard deviations of the rounding that still pass. */
const DEVIATIONS = 6;
/** How far below 1 the epsilon under the root may bring a variance, and how far off truncation. */
const EPSILON_SHARE = 0.05;
const TRUNCATION = 0.01;

/**
 * Whether every row can have come out of a LayerNorm: with gamma and beta undone, its mean is 0 and its variance 1, up
 * to epsilon and rounding. States before the norm have neither.
 *
 * @param rows [T, d]
 * @returns False too for no rows, and where a zero in gamma cannot be undone.
 */
export function isAfterNorm(rows: Float32Array, { weight, bias }: FinalNorm): boolean {
  const d = weight.length;
  if (rows.length === 0 || rows.length % d !== 0 || weight.includes(0)) return false;
  for (let at = 0; at < rows.length; at += d) {
    let sum = 0;
    let squares = 0;
    let sumError = 0; // variances of the rounding's effect
    let squaresError = 0;
    for (let i = 0; i < d; i++) {
      const y = rows[at + i];
      const u = (y - bias[i]) / weight[i];
      const error = (ROUNDING * (Math.abs(y) + Math.abs(bias[i]))) / weight[i];
      sum += u;
      squares += u * u;
      sumError += error ** 2;
      squaresError += (2 * u * error) ** 2 + error ** 4;
    }
    const mean = sum / d;
    const variance = squares / d - mean ** 2;
    const slack = (DEVIATIONS * Math.sqrt(squaresError)) / d + TRUNCATION;
    const fits =
      Math.abs(mean) <= (DEVIATIONS * Math.sqrt(sumError)) / d &&
      variance <= 1 + slack &&
      variance >= 1 - EPSILON_SHARE - slack;
    if (!fits) return false;
  }
  return true;
}

/** Why such states are not inverted, and where to get others. */
export const AFTER_NORM =
  "this is the state after the final LayerNorm (ln_f), as the last entry of transformers' hidden_states is; inverting it is not done yet";
export const BEFORE_NORM = `Take hidden_states[k] with k < L, or catch the state before the norm:
  states = []; model.transformer.ln_f.register_forward_pre_hook(lambda module, inputs: states.append(inputs[0]))
  model(**batch)  # states[0] is layer L, [B, T, d]`;
