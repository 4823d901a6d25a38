import { describe, expect, test } from 'vitest';
import { InputError } from '../../../src/errors.ts';
import { certifyDominated, unembedding } from '../../../src/probe/certificates/dominated.ts';
import { rowsFrom } from '../../../src/probe/certificates/normed.ts';
import type { UnembeddingBlock } from '../../../src/probe/certificates/types.ts';
import { dot, headBlock, normOf, seededRandom } from './made-blocks.ts';

const logitsOf = ({ weight, bias, norm }: UnembeddingBlock, y: ArrayLike<number>): number[] =>
  rowsFrom(weight, norm.bias.length).map((row, j) => dot(row, y) + (bias?.[j] ?? 0));

const argmax = (logits: readonly number[]) => logits.indexOf(Math.max(...logits));

describe.each([
  ['with a bias', true],
  ['without', false],
])('an unembedding %s', (_, bias) => {
  // Few dimensions, many rows: about half of them lie inside of the hull of the others.
  const block = headBlock(seededRandom(4), 5, 120, bias);
  const head = unembedding(block);

  test('has for every token a state at which it wins, or a proof that there is none', () => {
    let dominated = 0;
    for (let token = 0; token < 120; token++) {
      const certificate = certifyDominated(head, token);
      const { state } = head.search(token);
      if (certificate) dominated++;
      expect(certificate === undefined).toBe(state !== undefined);
      if (state) expect(argmax(logitsOf(block, state))).toBe(token);
    }
    expect(dominated).toBeGreaterThan(10);
    expect(dominated).toBeLessThan(110);
  });

  test('never certifies a token that random states let win', () => {
    const random = seededRandom(5);
    for (let i = 0; i < 300; i++) {
      const y = normOf(block.norm, random.normal(5, [0.001, 10][i % 2])).map(Math.fround);
      expect(certifyDominated(head, argmax(logitsOf(block, y)))).toBeUndefined();
    }
  });
});

describe.each([3, 64, 65])('rows of width %i', (d) => {
  const random = seededRandom(d);
  const plain = headBlock(random, d, 2 * d, true);
  const rows = rowsFrom(plain.weight, d);
  const bias = Array.from(plain.bias!);
  const withRow = (row: ArrayLike<number>, own: number) =>
    unembedding({ ...plain, weight: [...Array.from(plain.weight), ...Array.from(row)], bias: [...bias, own] });

  test('of which two are equal never let either win, exactly', () => {
    const certificate = certifyDominated(withRow(rows[1], bias[1]), 2 * d)!;
    expect(certificate.dominators).toEqual([{ token: 1, weight: 1 }]);
    expect(certificate.lead).toBe(0);
    expect(certifyDominated(withRow(rows[1], bias[1]), 1)!.dominators[0].token).toBe(2 * d);
  });

  test('that differ in their bias alone: the lower is dominated, the higher is not by it', () => {
    const head = withRow(rows[1], bias[1] - 0.1);
    expect(certifyDominated(head, 2 * d)!.lead).toBeLessThanOrEqual(0);
    expect(head.lead(2 * d, [{ token: 1, weight: 1 }]).lead).toBeCloseTo(-0.1, 12);
    expect(head.search(1).state === undefined).toBe(certifyDominated(head, 1) !== undefined);
  });

  test('that are mixtures of others are dominated', () => {
    const mean = rows[0].map((_, k) => (rows[0][k] + rows[1][k] + rows[2][k]) / 3);
    const certificate = certifyDominated(withRow(mean, (bias[0] + bias[1] + bias[2]) / 3), 2 * d)!;
    expect(certificate.lead).toBeLessThan(1e-9);
  });

  test('a certificate of its own holds no more rows than it speaks of', () => {
    const certificate = certifyDominated(withRow(rows[1], bias[1]), 2 * d)!;
    expect(certificate.subject).toMatchObject({ block: { tokens: [2 * d, 1] } });
    const { block } = certificate.subject as { block: UnembeddingBlock };
    expect(block.weight).toHaveLength(2 * d);
  });
});

test('rows of zeros, a vocabulary of one, and a gain of 0 have answers', () => {
  const norm = { weight: [1, 1, 1], bias: [0, 0, 0] };
  const zeros = unembedding({ norm, weight: [0, 0, 0, 1, -1, 0, -1, 1, 0] });
  expect(certifyDominated(zeros, 0)!.dominators.map(({ weight }) => weight)).toEqual([0.5, 0.5]);
  expect(certifyDominated(zeros, 1)).toBeUndefined();
  expect(certifyDominated(unembedding({ norm, weight: [1, 2, 3] }), 0)).toBeUndefined();
  const constant = unembedding({ norm: { weight: [0, 0, 0], bias: [1, 0, 0] }, weight: [1, 2, 3, 2, 9, 9] });
  expect(certifyDominated(constant, 0)!.dominators).toEqual([{ token: 1, weight: 1 }]);
  expect(certifyDominated(constant, 1)).toBeUndefined();
});

test('a token beyond the vocabulary is refused', () => {
  const head = unembedding(headBlock(seededRandom(1), 3, 5, false));
  for (const token of [5, -1, 1.5, Number.NaN]) expect(() => certifyDominated(head, token)).toThrow(InputError);
});
