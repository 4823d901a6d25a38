import { expect } from 'vitest';
import { seededRandom } from '../../src/reference/random.ts';

/** A function in float64 with its derivatives at a point. */
export interface Twin {
  readonly f: (x: Float64Array) => Float64Array;
  readonly x: Float64Array;
  readonly jvp?: (dx: Float64Array) => Float64Array;
  readonly vjp?: (dy: Float64Array) => Float64Array;
  /** Step of the differences, relative to inputs of size 1; default 1e-3. */
  readonly step?: number;
}

export const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a, (v, i) => v * b[i]).reduce((sum, v) => sum + v, 0);

/** J dx by central differences of fourth order. */
function difference({ f, x, step: h = 1e-3 }: Twin, dx: Float64Array): Float64Array {
  const at = (t: number) => f(x.map((v, i) => v + t * dx[i]));
  const [a, b, c, d] = [at(-2 * h), at(-h), at(h), at(2 * h)];
  return a.map((v, i) => (v - 8 * b[i] + 8 * c[i] - d[i]) / (12 * h));
}

/**
 * Checks float64 derivatives along three random directions: jvp against central differences, vjp against their inner
 * product with a random cotangent, both to 1e-8 of their size.
 */
export function expectTwins(twin: Twin): void {
  const random = seededRandom(99);
  for (let i = 0; i < 3; i++) {
    const dx = Float64Array.from(random.normal(twin.x.length));
    const want = difference(twin, dx);
    const size = Math.sqrt(dot(want, want) / want.length) || 1;
    const got = twin.jvp?.(dx);
    expect(got?.length ?? want.length).toBe(want.length);
    got?.forEach((v, j) => {
      expect(Math.abs(v - want[j]), `jvp at ${j}`).toBeLessThan(1e-8 * size);
    });
    if (!twin.vjp) continue;
    const dy = Float64Array.from(random.normal(want.length));
    const gradient = twin.vjp(dy);
    expect(gradient.length).toBe(twin.x.length);
    const scale = Math.sqrt(dot(dy, dy) * dot(want, want)) || 1;
    expect(Math.abs(dot(gradient, dx) - dot(dy, want)), 'vjp').toBeLessThan(1e-8 * scale);
  }
}
