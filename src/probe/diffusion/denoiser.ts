import type { Context } from '../../gpu/context.ts';
import { type ModelConfig, parseConfig } from '../../model/config.ts';
import { initialCheckpoint } from '../../model/initial.ts';
import { type LoadedModel, loadModel, modelFiles } from '../../model/load.ts';
import { newPositionMap } from '../../model/position-map.ts';
import { matmul } from '../../ops/matmul.ts';
import { takeColumns } from '../../ops/slice.ts';
import { seededRandom } from '../../reference/random.ts';
import { reshape, type Tensor, upload } from '../../tensor/tensor.ts';
import type { TrainedTensor } from '../../train/optimizer.ts';

/** Coordinates of a point, and tokens that stand for it. */
export const POINT = 2;

/** The size of a denoiser. */
export interface DenoiserSize {
  /** d; default 32. */
  readonly width?: number;
  /** Default 2. */
  readonly layers?: number;
  /** Default 2. */
  readonly heads?: number;
  /** How many times it tells apart; default 50. */
  readonly times?: number;
}

/**
 * A pre-LN transformer that predicts the noise in a point of the plane.
 *
 * It is a GPT-2 with a vocabulary of two, and with times for positions. Two tokens stand for a point x, token i with
 * the residual state 0 `wte[i] + wpe[time] + x U_i`. The second has seen the first, so the head reads the prediction
 * from the last row: `lm_head(ln_f(h))`, a number for each of the two coordinates.
 *
 * The final LayerNorm matters: before its gain a row is at most sqrt(d) long, so the prediction is *bounded* over the
 * whole plane. Read from the residual stream as it is, it would carry `x U_i` along and grow with the point.
 */
export interface Denoiser extends Disposable {
  readonly model: LoadedModel;
  /** How many times it tells apart. */
  readonly times: number;
  /** All that training changes, with `POINT_EMBEDDING`: U_0 and U_1 side by side, [2, 2 d]. */
  readonly parameters: readonly TrainedTensor[];
  /**
   * The noise in each point as predicted; records only. Rows are independent; derivatives run through them and through
   * the parameters.
   * @param points [B, 2]
   * @param at The time of each, 1 to `times`.
   * @returns [B, 2]
   * @throws InputError for a time it does not know.
   */
  predictNoise(points: Tensor, at: Uint32Array): Tensor;
  dispose(): void;
}

/** Name of the one parameter that GPT-2 does not have. */
export const POINT_EMBEDDING = 'point.weight';
/** Its standard deviation over that of other matrices: else LayerNorm leaves little to tell near points apart by. */
const POINT_GAIN = 4;

/** A denoiser with fresh weights, the same for the same seed. */
export async function newDenoiser(context: Context, seed: number, size: DenoiserSize = {}): Promise<Denoiser> {
  const config = configOf(size);
  const { width: d, layers, contextLength: times } = config;
  const model = await loadModel(context, modelFiles(config.name, config, initialCheckpoint(config, seed)));
  const drawn = seededRandom(seed).normal(POINT * POINT * d, POINT_GAIN / Math.sqrt(d));
  const embedding = context.unscoped(() => upload(context, drawn, [POINT, POINT * d], POINT_EMBEDDING));

  function predictNoise(points: Tensor, at: Uint32Array): Tensor {
    const [count] = points.shape;
    const tokens = Uint32Array.from({ length: POINT * count }, (_, r) => r % POINT);
    const positions = tokens.map((_, r) => at[Math.floor(r / POINT)] - 1);
    const segments = Array.from({ length: count }, (_, slot) => ({ slot, count: POINT }));
    const map = newPositionMap(model, layers, { slots: count, capacity: POINT });
    try {
      return context.scope(() => {
        const residual = reshape(model.embed(tokens, positions), [count, POINT * d]);
        const rows = reshape(matmul(points, embedding, { residual }), [POINT * count, d]);
        const states = reshape(map.extend(rows, segments), [count, POINT * d]); // two rows side by side
        return model.logits(takeColumns(states, d, d)); // (B, 2)
      });
    } finally {
      map.cache.dispose();
    }
  }

  const dispose = () => {
    model.dispose();
    embedding.dispose();
  };
  const ofModel = [...model.weights.entries()].map(([name, { chunks }]) => ({ name, tensor: chunks[0] }));
  const parameters = [{ name: POINT_EMBEDDING, tensor: embedding }, ...ofModel];
  return { model, times, parameters, predictNoise, dispose, [Symbol.dispose]: dispose };
}

function configOf({ width = 32, layers = 2, heads = 2, times = 50 }: DenoiserSize): ModelConfig {
  const json = {
    model_type: 'gpt2',
    vocab_size: POINT,
    n_positions: times,
    n_embd: width,
    n_layer: layers,
    n_head: heads,
    tie_word_embeddings: false,
    lm_head_bias: true,
    initializer_range: 1 / Math.sqrt(width), // GPT-2's 0.02 is for rows of 768 and more
  };
  return parseConfig(json, 'the denoiser');
}
