import { describe, expect, it } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { topk } from '../../src/reference/topk.ts';

describe('topk', () => {
  it('finds both ends of each row, best first', () => {
    const x = [3, 1, 2, 7, 9, 8]; // (2, 3)
    const low = topk(x, 3, 2, 'smallest');
    expect([...low.values]).toEqual([1, 2, 7, 8]);
    expect([...low.indices]).toEqual([1, 2, 0, 2]);
    expect([...topk(x, 3, 1, 'largest').indices]).toEqual([0, 1]);
  });

  it('gives ties to the lower index', () => {
    expect([...topk([5, 1, 5, 1, 1], 5, 3, 'smallest').indices]).toEqual([1, 3, 4]);
    expect([...topk([5, 1, 5, 1, 1], 5, 3, 'largest').indices]).toEqual([0, 2, 1]);
  });

  it.each(['smallest', 'largest'] as const)('puts NaN after every number, infinities included (%s)', (order) => {
    const x = [Number.NaN, Infinity, 0, -Infinity];
    expect(topk(x, 4, 4, order).indices[3]).toBe(0);
  });

  it('takes k from 0 to the width', () => {
    expect(topk([1, 2], 2, 0, 'largest').values).toHaveLength(0);
    expect(() => topk([1, 2], 2, 3, 'largest')).toThrow(ShapeError);
  });
});
