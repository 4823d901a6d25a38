import { describe, expect, test } from 'vitest';
import { ShapeError } from '../../../src/errors.ts';
import { hull } from '../../../src/probe/certificates/hull.ts';
import { certify } from '../../../src/probe/certificates/separation.ts';
import { attentionBlock, attentionOf, dot, seededRandom, unit } from './made-blocks.ts';

describe.each([
  [3, 1, 1],
  [4, 4, 5],
  [63, 7, 2],
  [64, 4, 50],
  [65, 5, 0],
])('attention of width %i with %i heads behind %i positions', (d, heads, n) => {
  const random = seededRandom(d);
  const block = attentionBlock(random, d, heads, n);
  const region = hull(block);
  const outputs = Array.from({ length: 60 }, (_, i) =>
    attentionOf(block, random.normal(d, [0.1, 10, 1e5][i % 3]), random),
  );

  test('reaches nothing beyond the support function', () => {
    for (let i = 0; i < 20; i++) {
      const u = unit(random, d);
      const bound = region.support(u);
      for (const y of outputs) expect(dot(u, y)).toBeLessThanOrEqual(bound);
    }
  });

  test('gives outputs that are never certified once f32 rounded them', () => {
    for (const y of outputs) expect(certify(region, y.map(Math.fround))).toBeUndefined();
  });

  test('does not reach far random targets: certified', () => {
    const far = 30 * Math.max(...outputs.map((y) => Math.hypot(...y)));
    for (let i = 0; i < 10; i++) {
      const certificate = certify(
        region,
        unit(random, d).map((value) => far * value),
      )!;
      expect(certificate.kind).toBe('hull');
      const u = Float64Array.from(certificate.direction);
      for (const y of outputs) expect(dot(u, y)).toBeLessThan(certificate.value);
    }
  });
});

test('an output matrix of condition 1e6 costs no truth: outputs stay uncertified', () => {
  const random = seededRandom(1);
  const d = 16;
  const plain = attentionBlock(random, d, 4, 5);
  const outWeight = Float64Array.from(plain.outWeight, (value, i) => value * 10 ** (-6 * (Math.floor(i / d) / d)));
  const block = { ...plain, outWeight };
  const region = hull(block);
  for (let i = 0; i < 200; i++) {
    const y = attentionOf(block, random.normal(d, 10), random);
    expect(certify(region, y.map(Math.fround))).toBeUndefined();
  }
  expect(
    certify(
      region,
      unit(random, d).map((value) => 100 * value),
    ),
  ).toBeDefined();
});

test('the own value of a row widens the hull: prefix values and ellipsoid are a union', () => {
  const block = { ...attentionBlock(seededRandom(2), 4, 1, 1), outBias: new Float32Array(4) };
  const narrow = hull({ ...block, valueWeight: new Float32Array(16), valueBias: block.values });
  const u = unit(seededRandom(3), 4);
  expect(hull(block).support(u)).toBeGreaterThan(narrow.support(u));
});

test('heads that do not divide the width are refused', () => {
  expect(() => hull(attentionBlock(seededRandom(1), 4, 3, 1))).toThrow(ShapeError);
});
