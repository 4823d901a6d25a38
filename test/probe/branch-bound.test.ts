import { describe, expect, test } from 'vitest';
import { norm as length } from '../../src/linalg/vector.ts';
import { attentionBound, mlpBound } from '../../src/probe/branch-bound.ts';

import { activation } from '../../src/reference/activation.ts';
import { attention } from '../../src/reference/attention.ts';
import { layernorm } from '../../src/reference/layernorm.ts';
import { matmul } from '../../src/reference/matmul.ts';
import { seededRandom } from '../../src/reference/random.ts';

const random = seededRandom(3);
const [d, inner, heads] = [12, 30, 3];
const norm = { weight: random.normal(d).map((value) => 1 + 0.3 * value), bias: random.normal(d, 0.2) };
/** Rows from next to nothing to far out. */
const inputs = Array.from({ length: 300 }, (_, i) => random.normal(d, 10 ** ((i % 5) - 2)));
const normedRow = (x: Float32Array) => layernorm(x, norm.weight, norm.bias, 1e-5).y;
const largest = (f: (z: Float64Array) => Float64Array) => Math.max(...inputs.map((x) => length(f(normedRow(x)))));

describe('no output is longer than the bound, which is not many times the longest', () => {
  test.each(['gelu_new', 'gelu', 'relu', 'silu', 'tanh'] as const)('MLP with %s', (name) => {
    const block = {
      norm,
      activation: name,
      inWeight: random.normal(d * inner, 0.4),
      inBias: random.normal(inner, 0.3),
      outWeight: random.normal(inner * d, 0.4),
      outBias: random.normal(d, 0.3),
    };
    const { inWeight, inBias, outWeight, outBias } = block;
    const seen = largest((z) => {
      const hidden = activation(name, matmul(z, inWeight, { m: 1, n: inner, k: d, bias: inBias }));
      return matmul(hidden, outWeight, { m: 1, n: d, k: inner, bias: outBias });
    });
    expect(mlpBound(block)).toBeGreaterThan(seen);
    expect(mlpBound(block)).toBeLessThan(8 * seen);
  });

  test.each([0, 1, 7])('attention behind %i positions', (n) => {
    const qkvWeight = random.normal(d * 3 * d, 0.4);
    const qkvBias = random.normal(3 * d, 0.3);
    const outWeight = random.normal(d * d, 0.4);
    const outBias = random.normal(d, 0.3);
    const [keys, values] = [random.normal(n * d, 2), random.normal(n * d, 2)];
    const valueWeight = Array.from({ length: d * d }, (_, i) => qkvWeight[Math.floor(i / d) * 3 * d + 2 * d + (i % d)]);
    const valueBias = qkvBias.subarray(2 * d);
    const bound = attentionBound({ norm, heads, valueWeight, valueBias, outWeight, outBias })(values);
    const seen = largest((z) => {
      const qkv = matmul(z, qkvWeight, { m: 1, n: 3 * d, k: d, bias: qkvBias });
      const cache = { keys, values, capacity: n, slots: Uint8Array.of(0), seen: [n] };
      const mixed = attention(qkv, cache, { heads, headDim: d / heads, scale: 0.5 });
      return matmul(mixed, outWeight, { m: 1, n: d, k: d, bias: outBias });
    });
    expect(bound).toBeGreaterThan(seen);
    expect(bound).toBeLessThan(8 * seen);
  });
});
