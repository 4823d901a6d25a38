import { describe, expect, test } from 'vitest';
import { runsOf } from '../../src/model/weights.ts';
import type { Tensor } from '../../src/tensor/tensor.ts';

describe('runsOf: where equal parts lie in chunks', () => {
  /** (chunk, at, part, begin, count) of each run. */
  const runs = (sizes: number[], parts: number) => {
    const chunks = sizes.map((size) => ({ size }) as Tensor);
    return [...runsOf(chunks, parts)].map(({ tensor, at, part, begin, count }) => [
      chunks.indexOf(tensor),
      at,
      part,
      begin,
      count,
    ]);
  };

  test.each<[string, number[], number, number[][]]>([
    ['a tensor of its own', [12], 1, [[0, 0, 0, 0, 12]]],
    [
      'three parts in one tensor',
      [12],
      3,
      [
        [0, 0, 0, 0, 4],
        [0, 4, 1, 0, 4],
        [0, 8, 2, 0, 4],
      ],
    ],
    [
      'one part in three chunks',
      [5, 5, 2],
      1,
      [
        [0, 0, 0, 0, 5],
        [1, 0, 0, 5, 5],
        [2, 0, 0, 10, 2],
      ],
    ],
    [
      'parts that end inside chunks',
      [5, 5, 2],
      3,
      [
        [0, 0, 0, 0, 4],
        [0, 4, 1, 0, 1],
        [1, 0, 1, 1, 3],
        [1, 3, 2, 0, 2],
        [2, 0, 2, 2, 2],
      ],
    ],
  ])('%s', (_, sizes, parts, want) => {
    expect(runs(sizes, parts)).toEqual(want);
  });
});
