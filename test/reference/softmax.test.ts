import { describe, expect, it } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { logSoftmax, logSoftmaxJvp, logSoftmaxVjp, softmax, softmaxDerivative } from '../../src/reference/softmax.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';
import { expectTwins } from '../support/twins.ts';

describe('softmax', () => {
  it.each([1, 3, 64, 257])('rows of %d sum to 1 and do not feel a shift', (width) => {
    const x = seededRandom(width).normal(5 * width, 3);
    const p = softmax(x, width); // (5, width)
    const sums = Array.from({ length: 5 }, (_, r) => p.subarray(r * width, (r + 1) * width).reduce((a, b) => a + b));
    expectAgree(sums, [1, 1, 1, 1, 1], { rel: 1e-14, abs: 0 });
    expectAgree(
      softmax(
        Float64Array.from(x, (v) => v + 4096),
        width,
      ),
      p,
      { rel: 1e-11, abs: 0 },
    );
  });

  it('gives logistic values for two entries', () => {
    expectAgree(softmax([0, Math.log(3)], 2), [0.25, 0.75], { rel: 1e-15, abs: 0 });
  });

  it('survives huge scores and masked entries', () => {
    expect([...softmax([1e300, -Infinity, 0], 3)]).toEqual([1, 0, 0]);
    expectAgree(softmax([1e6, 1e6, 1e6], 3), [1 / 3, 1 / 3, 1 / 3], { rel: 1e-15, abs: 0 });
  });

  it('logSoftmax is finite where softmax underflows', () => {
    expectAgree(logSoftmax([0, -2000], 2), [0, -2000], { rel: 1e-15, abs: 0 });
  });

  it('refuses ragged rows', () => {
    expect(() => softmax([1, 2, 3], 2)).toThrow(ShapeError);
    expect(() => softmax([1, 2, 3], 0)).toThrow(/rows of 0/);
  });
});

describe('the derivatives of softmax', () => {
  const width = 7;
  const x = Float64Array.from(seededRandom(1).normal(3 * width, 2));

  it('agree with differences, one formula for both', () => {
    const derivative = (d: Float64Array) => softmaxDerivative(d, x, width);
    expectTwins({ f: (at) => softmax(at, width), x, jvp: derivative, vjp: derivative });
  });

  it('of its logarithm agree with differences', () => {
    expectTwins({
      f: (at) => logSoftmax(at, width),
      x,
      jvp: (dx) => logSoftmaxJvp(dx, x, width),
      vjp: (dy) => logSoftmaxVjp(dy, x, width),
    });
  });

  it('refuse derivatives of another shape', () => {
    for (const derivative of [softmaxDerivative, logSoftmaxVjp, logSoftmaxJvp]) {
      expect(() => derivative([1, 2], x, width)).toThrow(ShapeError);
    }
  });
});
