import { describe, expect, it } from 'vitest';
import { InputError, ShapeError } from '../../src/errors.ts';
import { crossEntropy, crossEntropyJvp, crossEntropyVjp } from '../../src/reference/cross-entropy.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';
import { expectTwins } from '../support/twins.ts';

describe('crossEntropy', () => {
  it('is the mean surprise of the labels in nats', () => {
    const logits = [0, Math.log(3), 5, 5]; // probabilities 1/4 3/4, 1/2 1/2
    expectAgree([crossEntropy(logits, [0, 1])], [(Math.log(4) + Math.log(2)) / 2], { rel: 1e-15, abs: 0 });
  });

  it('leaves out rows whose label is -100, or the one named', () => {
    const logits = [0, Math.log(3), 9, 1];
    expectAgree([crossEntropy(logits, [0, -100])], [Math.log(4)], { rel: 1e-15, abs: 0 });
    expectAgree([crossEntropy(logits, [0, 1], 1)], [Math.log(4)], { rel: 1e-15, abs: 0 });
    expect([...crossEntropyVjp(1, logits, [0, -100]).subarray(2)]).toEqual([0, 0]);
  });

  it('has derivatives that agree with differences', () => {
    const x = Float64Array.from(seededRandom(1).normal(4 * 11, 2));
    const labels = [3, 0, -100, 10];
    expectTwins({
      f: (at) => Float64Array.of(crossEntropy(at, labels)),
      x,
      jvp: (dx) => Float64Array.of(crossEntropyJvp(dx, x, labels)),
      vjp: ([dy]) => crossEntropyVjp(dy, x, labels),
    });
  });

  it('refuses labels outside the vocabulary, none that count, and ragged rows', () => {
    expect(() => crossEntropy([1, 2, 3, 4], [0, 2])).toThrow(/Row 1 has the label 2 in a vocabulary of 2/);
    expect(() => crossEntropy([1, 2], [-1])).toThrow(InputError);
    expect(() => crossEntropy([1, 2], [-100])).toThrow(/No row has a label/);
    expect(() => crossEntropy([1, 2, 3], [0, 1])).toThrow(ShapeError);
  });
});
