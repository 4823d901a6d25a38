import { describe, expect, it } from 'vitest';
import { InputError, ShapeError } from '../../src/errors.ts';
import { distance, distanceJvp, distanceVjp } from '../../src/reference/distance.ts';
import { seededRandom } from '../support/agree.ts';
import { expectTwins } from '../support/twins.ts';

describe('distance', () => {
  it('measures every row against one target', () => {
    expect([...distance([3, 4, 0, 0, 6, 8], [0, 0], 2)]).toEqual([5, 0, 10]);
  });

  it('takes a target for each row', () => {
    expect([...distance([3, 4, 3, 4], [0, 0, 3, 0], 2, [1, 0])]).toEqual([4, 5]);
  });

  it('tells rows apart that differ by a millionth of their norm', () => {
    expect(distance([1e8, 1e8 + 1], [1e8, 1e8], 2)[0]).toBe(1);
  });

  it('refuses a target that does not exist', () => {
    expect(() => distance([1, 2], [1, 2], 2, [1])).toThrow(InputError);
  });
});

describe.each([
  ['one target', 1],
  ['a target for each row', 3],
])('the derivatives of distance to %s', (_, count) => {
  const [rows, d] = [3, 5];
  const x = Float64Array.from(seededRandom(1).normal(rows * d));
  const targets = Float64Array.from(seededRandom(2).normal(count * d));
  const f = (a: Float64Array, b: Float64Array) => distance(a, b, d, count === 1 ? undefined : [0, 1, 2]);

  it('in x agree with differences', () => {
    expectTwins({
      f: (at) => f(at, targets),
      x,
      jvp: (dx) => distanceJvp({ dx }, x, targets, d),
      vjp: (dy) => distanceVjp(dy, x, targets, d).dx,
    });
  });

  it('in the targets agree with differences', () => {
    expectTwins({
      f: (at) => f(x, at),
      x: targets,
      jvp: (dtargets) => distanceJvp({ dtargets }, x, targets, d),
      vjp: (dy) => distanceVjp(dy, x, targets, d).dtargets,
    });
  });

  it('are zero where a row meets its target', () => {
    const met = Float64Array.from(x, (v, i) => (i < d ? targets[i] : v));
    expect([...distanceVjp([1, 1, 1], met, targets, d).dx.subarray(0, d)]).toEqual([0, 0, 0, 0, 0]);
    expect(distanceJvp({ dx: x }, met, targets, d)[0]).toBe(0);
  });

  it('refuse derivatives of another shape', () => {
    expect(() => distanceVjp([1], x, targets, d)).toThrow(ShapeError);
    expect(() => distanceJvp({ dx: [1] }, x, targets, d)).toThrow(ShapeError);
  });
});
