import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import type { UnembeddingBlock } from '../../src/probe/certificates/types.ts';
import { forcedStates, randomState, stateStatistics } from '../../src/probe/targets.ts';
import { layernorm } from '../../src/reference/layernorm.ts';
import { seededRandom } from '../support/agree.ts';

const D = 16;
const TOKENS = 31;
const NORM = 40;

function head(seed: number, { isBiased = false } = {}): UnembeddingBlock {
  const { normal } = seededRandom(seed);
  return {
    norm: { weight: normal(D, 0.3).map((v) => 1 + v), bias: normal(D, 0.3) },
    weight: normal(TOKENS * D, 0.3),
    ...(isBiased && { bias: normal(TOKENS, 0.5) }),
  };
}

/** By how much a token is ahead of the next after a state, by the float64 LayerNorm and a plain product. */
function margin({ norm, weight, bias }: UnembeddingBlock, state: Float64Array, token: number): number {
  const [gain, shift] = [Float64Array.from(norm.weight), Float64Array.from(norm.bias)];
  const { y } = layernorm(state, gain, shift, 1e-5);
  const logits = Array.from({ length: weight.length / D }, (_, v) =>
    y.reduce((sum, value, i) => sum + value * weight[v * D + i], bias?.[v] ?? 0),
  );
  return logits[token] - Math.max(...logits.filter((_, v) => v !== token));
}

describe.each([false, true])('forced states, a head with biases: %s', (isBiased) => {
  test('make their token the likeliest by the margin, at the norm of natural states', () => {
    const block = head(1, { isBiased });
    const force = forcedStates(block, { centredNorm: NORM, margin: 1 });
    for (let token = 0; token < TOKENS; token++) {
      const found = force(token);
      expect(margin(block, found.state, token)).toBeCloseTo(found.margin, 2);
      expect(found.margin).toBeGreaterThanOrEqual(1);
      expect(Math.hypot(...found.state)).toBeCloseTo(NORM, 6);
    }
  });

  test('of a margin that is too large, the best that can be proved to win is given', () => {
    const block = head(2, { isBiased });
    const { state, margin: ahead } = forcedStates(block, { centredNorm: NORM, margin: 100 })(5);
    expect(ahead).toBeLessThan(100);
    expect(margin(block, state, 5)).toBeCloseTo(ahead, 2);
    expect(ahead).toBeGreaterThan(0);
  });
});

describe('a token that can never win is refused:', () => {
  const row = (block: UnembeddingBlock, v: number) => Array.from({ length: D }, (_, i) => block.weight[v * D + i]);
  const withRow = (block: UnembeddingBlock, v: number, values: readonly number[]): UnembeddingBlock => {
    const weight = Float64Array.from(block.weight);
    weight.set(values, v * D);
    return { ...block, weight };
  };
  const block = head(3);
  const meanOf = (of: UnembeddingBlock, i: number, without: number) => {
    let sum = 0;
    for (let v = 0; v < TOKENS; v++) if (v !== without) sum += of.weight[v * D + i] / (TOKENS - 1);
    return sum;
  };
  test.each<[string, UnembeddingBlock, number]>([
    ['one of two equal rows', withRow(block, 7, row(block, 8)), 7],
    [
      'a row between two others',
      withRow(
        block,
        7,
        row(block, 8).map((v, i) => (v + row(block, 9)[i]) / 2),
      ),
      7,
    ],
    [
      'the mean of all others, which leaves no direction to begin with',
      withRow(
        block,
        7,
        row(block, 0).map((_, i) => meanOf(block, i, 7)),
      ),
      7,
    ],
    [
      'a row like others, behind their bias',
      { ...block, bias: Float64Array.from({ length: TOKENS }, (_, v) => (v === 7 ? -1e4 : 0)) },
      7,
    ],
  ])('%s', (_, dominated, token) => {
    const force = forcedStates(dominated, { centredNorm: NORM, margin: 0.5 });
    expect(() => force(token)).toThrow(InputError);
    expect(() => force(token)).toThrow(/token 7 .*0.5 logits/);
    expect(force(0).margin).toBeGreaterThan(0);
  });
});

test('a token that there is not is told as such', () => {
  const force = forcedStates(head(1), { centredNorm: NORM, margin: 1 });
  for (const token of [TOKENS, -1, 1.5]) expect(() => force(token)).toThrow(InputError);
  expect(() => force(TOKENS)).toThrow(/no token 31 among 31/);
});

describe('what states are like', () => {
  test('is told element by element, and of each state about its own mean', () => {
    const { mean, deviation, centredNorm } = stateStatistics([1, 2, 6, 3, 2, 1, 5, 2, 2], 3);
    expect([...mean]).toEqual([3, 2, 3].map((v) => expect.closeTo(v, 12)));
    expect([...deviation]).toEqual([Math.sqrt(8 / 3), 0, Math.sqrt(14 / 3)].map((v) => expect.closeTo(v, 12)));
    expect(centredNorm).toBeCloseTo(Math.sqrt((14 + 2 + 6) / 3), 12);
  });

  test('is what random states are like, the same for the same seed', () => {
    const like = { mean: Float64Array.of(5, -3, 0), deviation: Float64Array.of(2, 0.1, 0), centredNorm: 1 };
    const random = seededRandom(1);
    const states = Array.from({ length: 4000 }, () => [...randomState(like, random)]);
    const { mean, deviation } = stateStatistics(states.flat(), 3);
    expect(mean[0]).toBeCloseTo(5, 0);
    expect(mean[1]).toBeCloseTo(-3, 1);
    expect(deviation[0] / 2).toBeCloseTo(1, 1);
    expect(deviation[1] / 0.1).toBeCloseTo(1, 1);
    expect(states.every(([, , last]) => last === 0)).toBe(true);
    expect([...randomState(like, seededRandom(1))]).toEqual(states[0]);
  });
});
