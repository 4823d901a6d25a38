import { norm as length } from '../../linalg/vector.ts';
import { activation } from '../../reference/activation.ts';
import { matmul } from '../../reference/matmul.ts';
import { cone } from './cone.ts';
import type { Control, Targets, Trial } from './control-targets.ts';
import { certifyDominated, unembedding } from './dominated.ts';
import { columnsFrom, rowsFrom } from './normed.ts';
import { certify } from './separation.ts';
import type { MlpBlock, UnembeddingBlock } from './types.ts';

/** MLPs without LayerNorm and residual that are not onto: random directions of an output's length. */
export function* coneControls(targets: Targets, mlp: MlpBlock): Generator<Control> {
  for (const [name, block] of Object.entries(notOnto(mlp))) {
    const region = cone(block);
    const outputs = Array.from({ length: targets.count }, (_, i) => mlpOf(block, targets.noise([0.1, 1, 10][i % 3])));
    yield {
      kind: 'cone',
      name,
      unreachable: outputs.map((y) => targets.ofLength(length(y))).map((y) => () => certify(region, y)),
      reachable: outputs.map((y) => y.map(Math.fround)).map((y) => () => certify(region, y)),
    };
  }
}

/** `f(x W1 + b1) W2 + b2` of a row in float64. @param x `[d]` @returns `[d]` */
export function mlpOf(block: MlpBlock, x: ArrayLike<number>): Float64Array {
  const { inWeight, inBias, outWeight, outBias } = block;
  const [k, inner, n] = [x.length, inBias.length, outBias.length];
  const seen = matmul(x, inWeight, { m: 1, n: inner, k, bias: inBias }); // (1, inner)
  return matmul(activation(block.activation, seen), outWeight, { m: 1, n, k: inner, bias: outBias }); // (1, d)
}

/** The weights of an MLP in blocks that do not reach everything. */
function notOnto(mlp: MlpBlock): Record<string, MlpBlock> {
  const d = mlp.outBias.length;
  const columns = columnsFrom(mlp.inWeight, mlp.inBias.length); // (inner, d)
  const rows = rowsFrom(mlp.outWeight, d); // (inner, d)
  /** Its first hidden units; folded: and those that see the opposite and add the same. */
  const first = (count: number, folded = false) => {
    const signs = folded ? [1, -1] : [1];
    const units = signs.flatMap((sign) => columns.slice(0, count).map((column) => column.map((value) => sign * value)));
    return {
      inWeight: Float64Array.from(
        { length: d * units.length },
        (_, i) => units[i % units.length][Math.floor(i / units.length)],
      ),
      inBias: signs.flatMap((sign) =>
        Array.from(mlp.inBias)
          .slice(0, count)
          .map((value) => sign * value),
      ),
      outWeight: signs.flatMap(() => rows.slice(0, count).flatMap((row) => Array.from(row))),
      outBias: mlp.outBias,
    };
  };
  const all = first(columns.length);
  return {
    'ReLU, W2 >= 0': { activation: 'relu', ...all, outWeight: all.outWeight.map(Math.abs) },
    'ReLU, d_ff = d': { activation: 'relu', ...first(d) },
    'ReLU, d_ff = d / 2': { activation: 'relu', ...first(d >> 1) },
    'LeakyReLU folded, d_ff = 2 d': { activation: 'leaky_relu', ...first(d, true) },
  };
}

/** An unembedding with rows added that are copies or mixtures of its own; and its own tokens that win at some state. */
export function headControl(targets: Targets, head: UnembeddingBlock): Control {
  const d = head.norm.weight.length;
  const rows = rowsFrom(head.weight, d);
  const biasOf = (j: number) => head.bias?.[j] ?? 0;
  const made = Array.from({ length: targets.count }, (_, i) => {
    const of = Array.from({ length: i % 4 === 0 ? 1 : 8 }, () => targets.below(rows.length));
    const mean = (value: (j: number) => number) => of.reduce((sum, j) => sum + value(j), 0) / of.length;
    return { row: rows[0].map((_, k) => mean((j) => rows[j][k])), bias: mean(biasOf) };
  });
  const weight = new Float64Array((rows.length + made.length) * d);
  [...rows, ...made.map(({ row }) => row)].forEach((row, j) => {
    weight.set(row, j * d);
  });
  const bias = [...rows.map((_, j) => biasOf(j)), ...made.map((one) => one.bias)];
  const extended = unembedding({ norm: head.norm, weight, bias });
  const original = unembedding(head, { model: targets.digest, part: 'lm_head' });

  const average = rows[0].map((_, i) => rows.reduce((sum, row) => sum + row[i], 0) / rows.length);
  const winners: Trial[] = [];
  for (let tries = 0; winners.length < targets.count && tries < 4 * targets.count; tries++) {
    const token = targets.below(rows.length);
    if (winsAlongItsRow(token)) winners.push(() => certifyDominated(original, token));
  }
  return {
    kind: 'dominated',
    name: 'unembedding: copies and mixtures of rows',
    unreachable: made.map((_, i) => () => certifyDominated(extended, rows.length + i)),
    reachable: winners,
  };

  /** Whether a token wins at the state that favours its row most: found without what is under test. */
  function winsAlongItsRow(token: number): boolean {
    const { weight: gain, bias: beta } = head.norm;
    const favoured = rows[token].map((value, i) => (value - average[i]) * gain[i]);
    const mean = favoured.reduce((sum, value) => sum + value, 0) / d;
    const z = favoured.map((value) => value - mean);
    const scale = (0.999 * Math.sqrt(d)) / (length(z) || 1);
    const y = z.map((value, i) => scale * value * gain[i] + beta[i]);
    const logits = rows.map((row, j) => row.reduce((sum, value, i) => sum + value * y[i], biasOf(j)));
    return logits.every((logit, j) => j === token || logit < logits[token] - 1e-6);
  }
}
