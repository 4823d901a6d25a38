import type { Context } from '../../gpu/context.ts';
import { layernorm } from '../../ops/layernorm.ts';
import { matmul } from '../../ops/matmul.ts';
import * as reference from '../../reference/index.ts';
import { seededRandom } from '../../reference/random.ts';
import { type Block, block } from './block.ts';

/** A LeakyReLU MLP: `lrelu(x W1 + b1) W2 + b2`, slope 0.01 below zero. */
export interface LeakyMlp {
  /** d */
  readonly width: number;
  /** d_ff */
  readonly innerWidth: number;
  /** W1, [d, d_ff] */
  readonly inWeight: ArrayLike<number>;
  /** b1, [d_ff] */
  readonly inBias: ArrayLike<number>;
  /** W2, [d_ff, d] */
  readonly outWeight: ArrayLike<number>;
  /** b2, [d] */
  readonly outBias: ArrayLike<number>;
}

/** The LayerNorm before a block with a residual. */
export interface PreNorm {
  /** gamma, [d] */
  readonly gain: ArrayLike<number>;
  /** beta, [d] */
  readonly bias: ArrayLike<number>;
  readonly epsilon: number;
}

const activation = 'leaky_relu';

/**
 * `lrelu(x W1 + b1) W2 + b2` in float64.
 * @param rows [B, d]
 * @returns [B, d]
 * @throws ShapeError when an operand does not fill its shape.
 */
export function leakyMlpTwin(mlp: LeakyMlp, rows: ArrayLike<number>, residual?: ArrayLike<number>): Float64Array {
  const { width: d, innerWidth, inWeight, inBias, outWeight, outBias } = mlp;
  const m = rows.length / d;
  const hidden = reference.matmul(rows, inWeight, { m, n: innerWidth, k: d, bias: inBias, activation }); // (B, d_ff)
  return reference.matmul(hidden, outWeight, { m, n: d, k: innerWidth, bias: outBias, residual }); // (B, d)
}

/**
 * `x + lrelu(LN(x) W1 + b1) W2 + b2` in float64.
 * @param rows [B, d]
 * @returns [B, d]
 * @throws ShapeError when an operand does not fill its shape.
 */
export const leakyMlpStepTwin = (mlp: LeakyMlp, { gain, bias, epsilon }: PreNorm, rows: ArrayLike<number>) =>
  leakyMlpTwin(mlp, reference.layernorm(rows, gain, bias, epsilon).y, rows);

/**
 * A LeakyReLU MLP alone, y = lrelu(x W1 + b1) W2 + b2. With d_ff = d and both matrices regular it is a homeomorphism
 * (`leakyMlpInverse`); with d_ff > d it need not be onto. Without a residual its values are not bounded.
 * @throws ShapeError when a weight does not fill its shape.
 */
export function leakyMlp(context: Context, mlp: LeakyMlp, name = 'leaky mlp'): Block {
  const twin = (rows: ArrayLike<number>) => leakyMlpTwin(mlp, rows);
  return block(context, name, mlp.width, twin, weightsOf(mlp), (x, w) => {
    const hidden = matmul(x, w.inWeight, { bias: w.inBias, activation }); // (B, d_ff)
    return matmul(hidden, w.outWeight, { bias: w.outBias }); // (B, d)
  });
}

/**
 * A LeakyReLU MLP as a pre-LN transformer has it, y = x + lrelu(LN(x) W1 + b1) W2 + b2: onto, whatever the weights, as
 * what it adds to x is bounded.
 * @throws ShapeError when a weight does not fill its shape.
 */
export function leakyMlpStep(context: Context, mlp: LeakyMlp, norm: PreNorm, name = 'leaky mlp step'): Block {
  const twin = (rows: ArrayLike<number>) => leakyMlpStepTwin(mlp, norm, rows);
  const shape = [mlp.width];
  const weights = { ...weightsOf(mlp), gain: { values: norm.gain, shape }, bias: { values: norm.bias, shape } };
  return block(context, name, mlp.width, twin, weights, (x, w) => {
    const normed = layernorm(x, w.gain, w.bias, norm.epsilon); // (B, d)
    const hidden = matmul(normed, w.inWeight, { bias: w.inBias, activation }); // (B, d_ff)
    return matmul(hidden, w.outWeight, { bias: w.outBias, residual: x }); // (B, d)
  });
}

const weightsOf = ({ width: d, innerWidth, inWeight, inBias, outWeight, outBias }: LeakyMlp) => ({
  inWeight: { values: inWeight, shape: [d, innerWidth] },
  inBias: { values: inBias, shape: [innerWidth] },
  outWeight: { values: outWeight, shape: [innerWidth, d] },
  outBias: { values: outBias, shape: [d] },
});

/** Normal weights that keep the size of a row, the same for the same seed; almost surely both matrices are regular. */
export function randomLeakyMlp(seed: number, width: number, innerWidth = width): LeakyMlp {
  const { normal } = seededRandom(seed);
  return {
    width,
    innerWidth,
    inWeight: normal(width * innerWidth, 1 / Math.sqrt(width)),
    inBias: normal(innerWidth, 0.5),
    outWeight: normal(innerWidth * width, 1 / Math.sqrt(innerWidth)),
    outBias: normal(width, 0.5),
  };
}

/**
 * The MLP with d_ff = 2 d that is not onto: W1 = (I, -I), W2 = (I, I)^T, no biases. Each coordinate is
 * `lrelu(x) + lrelu(-x) = 0.99 |x|`, so that no output has a negative one.
 */
export function absoluteValueMlp(width: number): LeakyMlp {
  const inWeight = new Float32Array(2 * width * width); // (d, 2d)
  const outWeight = new Float32Array(2 * width * width); // (2d, d)
  for (let i = 0; i < width; i++) {
    inWeight[i * 2 * width + i] = 1;
    inWeight[i * 2 * width + width + i] = -1;
    outWeight[i * width + i] = 1;
    outWeight[(width + i) * width + i] = 1;
  }
  const [inBias, outBias] = [new Float32Array(2 * width), new Float32Array(width)];
  return { width, innerWidth: 2 * width, inWeight, inBias, outWeight, outBias };
}
