import { describe, expect, it } from 'vitest';
import { InputError, ShapeError } from '../../src/errors.ts';
import { embedding, embeddingVjp } from '../../src/reference/embedding.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { expectTwins } from '../support/twins.ts';

const WTE = [1, 2, 3, 4, 5, 6]; // (3, 2)
const WPE = [10, 20, 30, 40]; // (2, 2)

describe('embedding', () => {
  it('gathers token rows, repeated ones too', () => {
    expect([...embedding([2, 0, 2], WTE, 2)]).toEqual([5, 6, 1, 2, 5, 6]);
  });

  it('adds the rows of the positions', () => {
    expect([...embedding([2, 0], WTE, 2, [1, 0], WPE)]).toEqual([35, 46, 11, 22]);
  });

  it('gives nothing for nothing', () => {
    expect(embedding([], WTE, 2)).toHaveLength(0);
  });

  it.each([-1, 3, 0.5, Number.NaN])('refuses token id %d', (id) => {
    expect(() => embedding([0, id], WTE, 2)).toThrow(InputError);
    expect(() => embedding([0, id], WTE, 2)).toThrow(/\(at 1\).*0 to 2/);
  });

  it('refuses positions outside the table or of another number', () => {
    expect(() => embedding([0], WTE, 2, [2], WPE)).toThrow(/position 2/);
    expect(() => embedding([0], WTE, 2, [0, 1], WPE)).toThrow(ShapeError);
  });

  it('gathers the gradient of a table from the rows that read it', () => {
    const ids = [4, 0, 4, 4, 2];
    const [count, d] = [6, 3];
    const wte = Float64Array.from(seededRandom(1).normal(count * d)); // (6, 3)
    expectTwins({
      f: (x) => embedding(ids, x, d),
      x: wte,
      jvp: (dx) => embedding(ids, dx, d),
      vjp: (dy) => embeddingVjp(dy, ids, count, d),
    });
  });

  it('gathers the gradient of the positions likewise', () => {
    const [ids, positions] = [
      [2, 0, 1],
      [1, 1, 0],
    ];
    expectTwins({
      f: (x) => embedding(ids, WTE, 2, positions, x),
      x: Float64Array.from(WPE),
      vjp: (dy) => embeddingVjp(dy, positions, 2, 2),
    });
    expect(() => embeddingVjp([1, 2], [2], 2, 2)).toThrow(InputError);
    expect(() => embeddingVjp([1], [0], 2, 2)).toThrow(ShapeError);
  });
});
