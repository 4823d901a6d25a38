import { describe, expect, test } from 'vitest';
import { factored } from '../../src/linalg/lu.ts';
import { difference, norm } from '../../src/linalg/vector.ts';
import { type GmresOptions, gmres } from '../../src/probe/gmres.ts';
import { ask, type Vector } from '../../src/probe/requests.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';
import { searched } from './float64-search.ts';

const times = (rows: readonly Vector[], x: Vector): Vector =>
  Float64Array.from(rows, (row) => row.reduce((sum, value, i) => sum + value * x[i], 0));
/** I + a random matrix whose norm is about `size`. */
function near(seed: number, d: number, size: number): Vector[] {
  const { normal } = seededRandom(seed);
  return Array.from({ length: d }, (_, i) => {
    const row = Float64Array.from(normal(d, size / (2 * Math.sqrt(d))));
    row[i] += 1;
    return row;
  });
}

function solved(a: readonly Vector[], b: Vector, options: GmresOptions): { z: Vector; products: number } {
  const step = { g: (x: Vector) => times(a, x), jacobian: () => a };
  const search = (function* () {
    yield* ask({ kind: 'linearize', step: 0, x: b });
    return yield* gmres((tangent) => ask({ kind: 'jvp', tangent }), b, options);
  })();
  const { result: z, asked } = searched(search, [step]);
  return { z, products: asked.rows - 1 };
}

describe.each([1, 3, 24, 65])('a system of %i unknowns', (d) => {
  const a = near(d, d, 1.5);
  const b = Float64Array.from(seededRandom(d + 1).normal(d));
  const want = factored(a.map((row) => row.slice())).solve(b);

  test('has the solution that LU finds, after no more products than unknowns', () => {
    const { z, products } = solved(a, b, { tolerance: 1e-13, iterations: 100 });
    expectAgree(z, want, { rel: 1e-9, abs: 1e-9 });
    expect(products).toBeLessThanOrEqual(d);
  });

  test('is solved as far as it was asked, by as few products as that takes', () => {
    const { z, products } = solved(a, b, { tolerance: 0.1, iterations: 100 });
    expect(norm(difference(b, times(a, z)))).toBeLessThanOrEqual(0.1 * norm(b) * (1 + 1e-9));
    if (d > 3) expect(products).toBeLessThan(d / 3);
    expect(solved(a, b, { tolerance: 0, iterations: 2 }).products).toBeLessThanOrEqual(2);
  });

  test('scales with its right side, however small or large', () => {
    for (const factor of [1e-12, 1e12]) {
      const { z, products } = solved(
        a,
        b.map((value) => factor * value),
        { tolerance: 1e-12, iterations: 100 },
      );
      expectAgree(
        z.map((value) => value / factor),
        want,
        { rel: 1e-8, abs: 1e-8 },
      );
      expect(products).toBeLessThanOrEqual(d);
    }
  });

  test('takes one product where its inverse is the preconditioner', () => {
    const { solve } = factored(a.map((row) => row.slice()));
    const { z, products } = solved(a, b, { tolerance: 1e-10, iterations: 100, precondition: solve });
    expect(products).toBe(1);
    expectAgree(z, want, { rel: 1e-9, abs: 1e-9 });
  });
});

test('zero is solved by zero, without a product', () => {
  const { z, products } = solved(near(1, 3, 1), new Float64Array(3), { tolerance: 1e-3, iterations: 9 });
  expect([...z]).toEqual([0, 0, 0]);
  expect(products).toBe(0);
});

test('a system without a solution ends with the nearest thing to one, not with NaN', () => {
  const b = Float64Array.of(1, 2, 0);
  const flat = [Float64Array.of(2, 0, 0), Float64Array.of(0, 0, 0), Float64Array.of(0, 0, 0)];
  const { z } = solved(flat, b, { tolerance: 1e-10, iterations: 9 });
  expect(norm(difference(b, times(flat, z)))).toBeCloseTo(2, 10);
  const zero = flat.map((row) => row.fill(0));
  expect([...solved(zero, b, { tolerance: 1e-10, iterations: 9 }).z]).toEqual([0, 0, 0]);
});
