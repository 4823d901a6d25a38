import { rowsFrom } from '../../../src/probe/certificates/normed.ts';
import { certificateJson } from '../../../src/probe/certificates/read.ts';
import type {
  AttentionBlock,
  Certificate,
  MlpBlock,
  NormBlock,
  UnembeddingBlock,
} from '../../../src/probe/certificates/types.ts';
import type { ActivationName } from '../../../src/reference/activation.ts';
import { activation, layernorm, matmul, softmax } from '../../../src/reference/index.ts';
import { seededRandom } from '../../../src/reference/random.ts';

export type Random = ReturnType<typeof seededRandom>;

export const normBlock = (random: Random, d: number): NormBlock => ({
  weight: random.normal(d, 0.3).map((value) => 1 + value),
  bias: random.normal(d, 0.5),
});

export const mlpBlock = (random: Random, d: number, inner: number, name: ActivationName): MlpBlock => ({
  activation: name,
  inWeight: random.normal(d * inner),
  inBias: random.normal(inner),
  outWeight: random.normal(inner * d),
  outBias: random.normal(d),
});

export const attentionBlock = (random: Random, d: number, heads: number, n: number): AttentionBlock => ({
  norm: normBlock(random, d),
  heads,
  valueWeight: random.normal(d * d),
  valueBias: random.normal(d),
  outWeight: random.normal(d * d),
  outBias: random.normal(d),
  values: random.normal(n * d, 3),
});

export const headBlock = (random: Random, d: number, rows: number, bias: boolean): UnembeddingBlock => ({
  norm: normBlock(random, d),
  weight: random.normal(rows * d),
  bias: bias ? random.normal(rows) : undefined,
});

/** What a LayerNorm returns for a row far from the origin, so that next to nothing is lost to epsilon. */
export const normOf = ({ weight, bias }: NormBlock, x: ArrayLike<number>): Float64Array =>
  layernorm(x, weight, bias, 1e-5).y;

/** `f(x W1 + b1) W2 + b2` in float64, of `LN(x)` if the block has a LayerNorm. */
export function mlpOf(block: MlpBlock, x: ArrayLike<number>): Float64Array {
  const input = block.norm ? normOf(block.norm, x) : x;
  const [k, inner, n] = [x.length, block.inBias.length, block.outBias.length];
  const seen = matmul(input, block.inWeight, { m: 1, n: inner, k, bias: block.inBias });
  const hidden = activation(block.activation, seen);
  return matmul(hidden, block.outWeight, { m: 1, n, k: inner, bias: block.outBias });
}

/** Attention whose heads weigh the prefix and the row itself as they like. */
export function attentionOf(block: AttentionBlock, x: ArrayLike<number>, random: Random): Float64Array {
  const d = x.length;
  const headDim = d / block.heads;
  const options = { m: 1, n: d, k: d };
  const own = matmul(normOf(block.norm, x), block.valueWeight, { ...options, bias: block.valueBias });
  const all = [...rowsFrom(block.values, d), own];
  const mixed = new Float64Array(d);
  for (let h = 0; h < block.heads; h++) {
    const weights = softmax(random.normal(all.length, 10), all.length);
    for (let i = h * headDim; i < (h + 1) * headDim; i++) {
      mixed[i] = all.reduce((sum, values, t) => sum + weights[t] * values[i], 0);
    }
  }
  return matmul(mixed, block.outWeight, { ...options, bias: block.outBias });
}

/** A certificate as whoever gets its file sees it. */
// biome-ignore lint/suspicious/noExplicitAny: it is to be tampered with
export const sent = (certificate: Certificate | undefined): any => JSON.parse(certificateJson(certificate!));

export const unit = (random: Random, d: number): Float64Array => {
  const row = Float64Array.from(random.normal(d));
  const size = Math.hypot(...row);
  return row.map((value) => value / size);
};

export const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a).reduce((sum, value, i) => sum + value * b[i], 0);

export { seededRandom };
