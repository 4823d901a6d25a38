import { describe, expect, test } from 'vitest';
import { InputError } from '../../../src/errors.ts';
import { cone } from '../../../src/probe/certificates/cone.ts';
import { certify } from '../../../src/probe/certificates/separation.ts';
import type { MlpBlock } from '../../../src/probe/certificates/types.ts';
import { mlpBlock, mlpOf, seededRandom, unit } from './made-blocks.ts';

/** Units that see x and -x and add the same: (1 - a)|x| each. */
function folded(seed: number, d: number, units: number): MlpBlock {
  const random = seededRandom(seed);
  const half = mlpBlock(random, d, units, 'leaky_relu');
  const inWeight = Array.from({ length: d }, (_, i) => {
    const row = Array.from(half.inWeight).slice(i * units, (i + 1) * units);
    return [...row, ...row.map((value) => -value)];
  }).flat();
  const inBias = [...Array.from(half.inBias), ...Array.from(half.inBias, (value) => -value)];
  return { ...half, inWeight, inBias, outWeight: [...Array.from(half.outWeight), ...Array.from(half.outWeight)] };
}

const blocks = {
  'ReLU, W2 >= 0': (d: number) => {
    const block = mlpBlock(seededRandom(d), d, 4 * d, 'relu');
    return { ...block, outWeight: Float64Array.from(block.outWeight, Math.abs) };
  },
  'ReLU, d_ff = d': (d: number) => mlpBlock(seededRandom(d), d, d, 'relu'),
  'ReLU, d_ff < d': (d: number) => mlpBlock(seededRandom(d), d, Math.ceil(d / 2), 'relu'),
  'ReLU with units that add nothing': (d: number) => {
    const block = mlpBlock(seededRandom(d), d, d, 'relu');
    return { ...block, outWeight: Float64Array.from(block.outWeight, (value, i) => (i < d ? 0 : value)) };
  },
  'LeakyReLU, folded, d_ff = 2 d': (d: number) => folded(d, d, d),
};

describe.each(Object.entries(blocks))('%s', (name, make) => {
  test.each([7, 64, 65])('of width %i: outputs are never certified, most random targets are', (d) => {
    const block = make(d);
    const region = cone(block);
    const random = seededRandom(d + 1);
    let certified = 0;
    for (let i = 0; i < 20; i++) {
      const y = mlpOf(block, random.normal(d, [0.01, 1, 1000][i % 3]));
      expect(certify(region, y.map(Math.fround)), name).toBeUndefined();
      if (
        certify(
          region,
          unit(random, d).map((value) => 10 * value),
        )
      )
        certified++;
    }
    // An orthant's image holds a random direction once in 2^d times.
    expect(certified).toBeGreaterThanOrEqual(d === 7 ? 15 : 20);
  });
});

describe('nothing is certified', () => {
  const random = seededRandom(9);
  const targets = Array.from({ length: 50 }, () => unit(random, 16).map((value) => 100 * value));
  test.each<[string, MlpBlock]>([
    ['of a LeakyReLU MLP with d_ff = d, which is a bijection', mlpBlock(random, 16, 16, 'leaky_relu')],
    ['of a ReLU MLP well above d_ff = 2 d, whose rays surround the origin', mlpBlock(random, 16, 160, 'relu')],
    ['of a folded LeakyReLU MLP whose units are many', folded(9, 16, 80)],
  ])('%s', (_, block) => {
    const region = cone(block);
    for (const target of targets) expect(certify(region, target)).toBeUndefined();
  });
});

test('pairs need opposite biases, too: without them a folded MLP has no cone', () => {
  const block = folded(3, 8, 8);
  const target = unit(seededRandom(1), 8).map((value) => 100 * value);
  expect(certify(cone(block), target)).toBeDefined();
  const inBias = Float64Array.from(block.inBias);
  inBias[8] += 1e-3;
  expect(certify(cone({ ...block, inBias }), target)).toBeUndefined();
});

test('the origin of the cone itself is an output, or next to one', () => {
  const block = blocks['ReLU, d_ff = d'](5);
  expect(certify(cone(block), block.outBias)).toBeUndefined();
});

test('an activation without rays is refused by name', () => {
  expect(() => cone(mlpBlock(seededRandom(1), 3, 3, 'gelu_new'))).toThrow(InputError);
  expect(() => cone(mlpBlock(seededRandom(1), 3, 3, 'gelu_new'))).toThrow('gelu_new');
});
