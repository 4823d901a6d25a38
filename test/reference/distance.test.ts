import { describe, expect, it } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { distance } from '../../src/reference/distance.ts';

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
