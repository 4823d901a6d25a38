import { describe, expect, test } from 'vitest';
import { InputError } from '../../../src/errors.ts';
import { ellipsoid } from '../../../src/probe/certificates/ellipsoid.ts';
import { certify } from '../../../src/probe/certificates/separation.ts';
import { dot, normBlock, normOf, seededRandom, unit } from './made-blocks.ts';

const SIZES = [1, 2, 3, 63, 64, 65, 257];

describe.each(SIZES)('LayerNorm outputs of width %i', (d) => {
  const random = seededRandom(d);
  const block = normBlock(random, d);
  const region = ellipsoid(block);

  test('are never certified, though f32 rounded them and they lie at the very rim', () => {
    for (let i = 0; i < 100; i++) {
      const y = normOf(block, random.normal(d, [1e-3, 1, 1e6][i % 3]));
      expect(certify(region, y.map(Math.fround))).toBeUndefined();
      expect(certify(region, y)).toBeUndefined();
    }
  });

  test('stay below the support function, which is reached', () => {
    for (let i = 0; i < 20; i++) {
      const u = unit(random, d);
      const axis = u.map((value, k) => value * block.weight[k]);
      const most = dot(
        u,
        normOf(
          block,
          axis.map((value) => 1e6 * value),
        ),
      );
      expect(region.support(u)).toBeGreaterThanOrEqual(most);
      if (d > 1) expect(region.support(u)).toBeLessThan(most + 1e-6);
    }
  });

  test('stretched or shifted by more than rounding are certified', () => {
    for (let i = 0; i < 20; i++) {
      const y = normOf(block, random.normal(d, 1e6));
      const size = Math.hypot(...y) + Math.hypot(...Array.from(block.bias));
      const away = y.map((value, k) => value - block.bias[k]);
      if (d > 1)
        expect(
          certify(
            region,
            y.map((value, k) => value + 0.01 * away[k]),
          ),
        ).toBeDefined();
      const mean = y.map((_, k) => 1 / (block.weight[k] || 1)); // along which only the mean changes
      const step = (3e-5 * size) / Math.hypot(...mean);
      expect(
        certify(
          region,
          y.map((value, k) => value + step * mean[k]),
        ),
      ).toBeDefined();
    }
  });
});

describe('a gain of 0', () => {
  const random = seededRandom(1);
  const plain = normBlock(random, 64);
  const weight = Float32Array.from(plain.weight, (value, i) => (i % 3 === 0 ? 0 : value));
  const block = { ...plain, weight };
  const region = ellipsoid(block);
  const outputs = Array.from({ length: 100 }, () => normOf(block, random.normal(64, 100)));

  test('pins its elements to the bias, and leaves the others free', () => {
    for (const y of outputs) {
      expect(certify(region, y.map(Math.fround))).toBeUndefined();
      const off = y.slice();
      off[3] += 0.01;
      const certificate = certify(region, off)!;
      expect(certificate.value - certificate.bound).toBeCloseTo(0.01, 4);
      expect(Math.abs(certificate.direction[3])).toBeCloseTo(1, 3);
    }
  });

  test('everywhere leaves one output', () => {
    const constant = ellipsoid({ weight: new Float32Array(5), bias: [1, 2, 3, 4, 5] });
    expect(certify(constant, [1, 2, 3, 4, 5])).toBeUndefined();
    expect(certify(constant, [1, 2, 3, 4, 5.01])).toBeDefined();
  });

  test('frees the mean: it takes up what the others leave', () => {
    // z = (1, -1, 0): without the third element, whose gain is 0, the mean of the others need not be 0.
    const two = ellipsoid({ weight: [1, 1, 0], bias: [0, 0, 0] });
    expect(certify(two, [1, 0, 0])).toBeUndefined();
    expect(certify(ellipsoid({ weight: [1, 1, 1], bias: [0, 0, 0] }), [1, 0, 0])).toBeDefined();
  });
});

describe('a target', () => {
  const region = ellipsoid({ weight: [1, 1, 1], bias: [0, 0, 0] });
  test('of another width is refused', () => {
    expect(() => certify(region, [1, 2])).toThrow(InputError);
    expect(() => certify(region, [1, 2])).toThrow('The target holds 2 numbers, the block returns 3.');
  });
  test.each([Number.NaN, Number.POSITIVE_INFINITY])('with %d is refused, and says where', (value) => {
    expect(() => certify(region, [0, value, 0])).toThrow(`Element 1 of the target is ${value}.`);
  });
});
