import { describe, expect, it } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { layernorm, layernormJvp, layernormVjp } from '../../src/reference/layernorm.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';
import { expectTwins } from '../support/twins.ts';

describe('layernorm', () => {
  it('norms a known row', () => {
    const { y, mean, rstd } = layernorm([1, 2, 3, 6], [1, 1, 1, 2], [0, 0, 0, 10], 0.5);
    // mean 3, variance (4 + 1 + 0 + 9) / 4 = 3.5, rstd 1 / sqrt(4)
    expect([mean[0], rstd[0]]).toEqual([3, 0.5]);
    expect([...y]).toEqual([-1, -0.5, 0, 13]);
  });

  it.each([2, 3, 63, 257])('rows of %d come out with mean 0 and variance 1', (d) => {
    const x = seededRandom(d)
      .normal(3 * d, 7)
      .map((v) => v + 1000);
    const { y } = layernorm(x, new Float64Array(d).fill(1), new Float64Array(d), 1e-9);
    for (let r = 0; r < 3; r++) {
      const row = y.subarray(r * d, (r + 1) * d); // (d)
      expectAgree([row.reduce((a, b) => a + b) / d], [0], { rel: 0, abs: 1e-11 });
      expectAgree([row.reduce((a, b) => a + b * b, 0) / d], [1], { rel: 1e-7, abs: 0 });
    }
  });

  it('gives the bias for a constant row', () => {
    expect([...layernorm([5, 5], [3, 4], [1, 2], 1e-5).y]).toEqual([1, 2]);
  });

  it('refuses a bias of another width', () => {
    expect(() => layernorm([1, 2], [1, 1], [0], 1e-5)).toThrow(ShapeError);
  });
});

describe('the derivatives of layernorm', () => {
  const [rows, d, epsilon] = [3, 7, 1e-3];
  const random = seededRandom(1);
  const x = Float64Array.from(random.normal(rows * d, 2));
  const weight = Float64Array.from(random.normal(d));
  const bias = Float64Array.from(random.normal(d));

  it('in x agree with differences', () => {
    expectTwins({
      f: (at) => layernorm(at, weight, bias, epsilon).y,
      x,
      jvp: (dx) => layernormJvp({ dx }, x, weight, epsilon),
      vjp: (dy) => layernormVjp(dy, x, weight, epsilon).dx,
    });
  });

  it('in the weight agree with differences', () => {
    expectTwins({
      f: (at) => layernorm(x, at, bias, epsilon).y,
      x: weight,
      jvp: (dweight) => layernormJvp({ dweight }, x, weight, epsilon),
      vjp: (dy) => layernormVjp(dy, x, weight, epsilon).dweight,
    });
  });

  it('in the bias agree with differences', () => {
    expectTwins({
      f: (at) => layernorm(x, weight, at, epsilon).y,
      x: bias,
      jvp: (dbias) => layernormJvp({ dbias }, x, weight, epsilon),
      vjp: (dy) => layernormVjp(dy, x, weight, epsilon).dbias,
    });
  });

  it('do not feel a shift of the row', () => {
    const { dx } = layernormVjp(random.normal(rows * d), x, weight, epsilon);
    for (let r = 0; r < rows; r++) {
      expectAgree([dx.subarray(r * d, (r + 1) * d).reduce((a, b) => a + b)], [0], { rel: 0, abs: 1e-14 });
    }
  });

  it('refuses derivatives of another shape', () => {
    expect(() => layernormVjp([1], x, weight, epsilon)).toThrow(ShapeError);
    expect(() => layernormJvp({ dweight: [1] }, x, weight, epsilon)).toThrow(ShapeError);
  });
});
