import type { Matrix } from 'ml-matrix';
import type { LanguageModel } from '../model/model.ts';
import { embedding } from '../ops/embedding.ts';
import { matmul } from '../ops/matmul.ts';
import { empty, type Tensor, take, upload } from '../tensor/tensor.ts';
import { centred, crossProduct } from './moments.ts';

/** Rows of the embedding that its covariance is taken over, spread evenly. */
const SAMPLE = 4096;

const covariances = new WeakMap<LanguageModel, Promise<Matrix>>();

/** Covariance of the embedding's rows over the vocabulary, [d, d]; of up to 4096 of them. Computed once a model. */
export function vocabularyCovariance(model: LanguageModel): Promise<Matrix> {
  let covariance = covariances.get(model);
  if (!covariance) {
    covariance = measure(model);
    covariances.set(model, covariance);
    covariance.catch(() => covariances.delete(model));
  }
  return covariance;
}

async function measure({ context, config, tokenTable }: LanguageModel): Promise<Matrix> {
  const { width, vocabularySize } = config;
  const step = Math.max(1, vocabularySize / SAMPLE);
  const ids = Uint32Array.from({ length: Math.min(vocabularySize, SAMPLE) }, (_, i) => Math.floor(i * step));
  const { rows } = centred(await take(embedding(context, tokenTable, ids)), width);
  return (await crossProduct(context, [rows, width], [rows, width])).div(ids.length);
}

/**
 * Every token's row under a map, in one tensor whether or not the vocabulary's is.
 * @param map [d, r]
 * @returns [vocabulary, r]
 */
export function mapVocabulary({ context, tokenTable }: LanguageModel, map: Matrix): Tensor {
  const r = map.columns;
  return context.scope(() => {
    const right = upload(context, Float32Array.from(map.to1DArray()), [map.rows, r]);
    const [first, ...others] = tokenTable.chunks.map((chunk) => matmul(chunk, right)); // (count, r)
    if (others.length === 0) return first;
    const whole = empty(context, [tokenTable.rows, r], 'f32', 'mapped vocabulary');
    let filled = 0;
    for (const part of [first, ...others]) {
      context.copy(part.buffer, 0, whole.buffer, 4 * filled, 4 * part.size);
      filled += part.size;
    }
    return whole;
  });
}
