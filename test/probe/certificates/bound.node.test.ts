import { Matrix, SingularValueDecomposition } from 'ml-matrix';
import { describe, expect, test } from 'vitest';
import { InputError } from '../../../src/errors.ts';
import { bound, spectralNorm } from '../../../src/probe/certificates/bound.ts';
import { rowsFrom } from '../../../src/probe/certificates/normed.ts';
import { certify } from '../../../src/probe/certificates/separation.ts';
import { type ActivationName, activations } from '../../../src/reference/activation.ts';
import { dot, mlpBlock, mlpOf, normBlock, seededRandom, unit } from './made-blocks.ts';

const NAMES = Object.keys(activations) as ActivationName[];

describe.each(NAMES)('an MLP with %s after a LayerNorm', (name) => {
  test('stays below the bound at every input of a fine sweep (width 3: a circle of normed rows)', () => {
    for (let seed = 0; seed < 20; seed++) {
      const random = seededRandom(seed);
      // Some see little, so that their activations stay near the dip.
      const plain = mlpBlock(random, 3, 7, name);
      const inWeight = Float64Array.from(plain.inWeight, (value) => value * [0.01, 0.3, 1, 3][seed % 4]);
      const block = { ...plain, inWeight, norm: normBlock(random, 3) };
      const u = unit(random, 3);
      const limit = bound(block).support(u);
      let most = Number.NEGATIVE_INFINITY;
      for (let i = 0; i < 720; i++) {
        const [c, s] = [Math.cos((i * Math.PI) / 360), Math.sin((i * Math.PI) / 360)];
        const x = [c / Math.SQRT2 + s / Math.sqrt(6), -c / Math.SQRT2 + s / Math.sqrt(6), (-2 * s) / Math.sqrt(6)];
        for (const far of [1e6, 1e-3])
          most = Math.max(
            most,
            dot(
              u,
              mlpOf(
                block,
                x.map((value) => far * value),
              ),
            ),
          );
      }
      expect(most).toBeLessThanOrEqual(limit);
      expect(limit).toBeLessThan(most + 60); // and is a bound that says something
    }
  });

  test.each([1, 7, 63, 65])('gives outputs of width %i that are never certified, and far targets that are', (d) => {
    const random = seededRandom(d);
    const block = { ...mlpBlock(random, d, 2 * d + 1, name), norm: normBlock(random, d) };
    const region = bound(block);
    const outputs = Array.from({ length: 20 }, () => mlpOf(block, random.normal(d, 10)));
    for (const y of outputs) expect(certify(region, y.map(Math.fround))).toBeUndefined();
    const far = 60 * Math.max(1, ...outputs.map((y) => Math.hypot(...y)));
    expect(
      certify(
        region,
        unit(random, d).map((value) => far * value),
      ),
    ).toBeDefined();
  });
});

test('without a LayerNorm there is no bound, and the error says so', () => {
  expect(() => bound(mlpBlock(seededRandom(1), 3, 5, 'gelu'))).toThrow(InputError);
});

describe('the spectral norm', () => {
  test.each([
    [1, 1],
    [1, 9],
    [9, 1],
    [7, 63],
    [65, 7],
  ])('of a %i x %i matrix is bounded from above, and closely', (rows, columns) => {
    const values = seededRandom(rows).normal(rows * columns);
    const exact = new SingularValueDecomposition(new Matrix(rowsFrom(values, columns)), { autoTranspose: true }).norm2;
    const got = spectralNorm(rowsFrom(values, columns));
    expect(got).toBeGreaterThanOrEqual(exact);
    expect(got).toBeLessThan(1.02 * exact);
  });

  test('of zeros is 0, and numbers too large to square give no false bound', () => {
    expect(spectralNorm(rowsFrom(new Float64Array(6), 3))).toBe(0);
    expect(spectralNorm(rowsFrom([1e200, 1, 2, 1e200], 2))).toBe(Number.POSITIVE_INFINITY);
  });

  test('is not taken in by a start that is orthogonal to the largest direction', () => {
    // The power method begins with (2 + cos i): here it sees only the smaller singular value.
    const start = Float64Array.of(2 + Math.cos(0), 2 + Math.cos(1));
    const size = Math.hypot(...start);
    const [a, b] = start.map((value) => value / size);
    const rows = [Float64Array.of(a, b), Float64Array.of(-10 * b, 10 * a)];
    expect(spectralNorm(rows)).toBeGreaterThanOrEqual(10);
  });
});
