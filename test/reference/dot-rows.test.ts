import { describe, expect, it } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { dotRows } from '../../src/reference/dot-rows.ts';

describe('dotRows', () => {
  const x = [1, 2, 3, 4]; // (2, 2)
  const table = [1, 0, 0, 1, 10, 100]; // (3, 2)

  it('multiplies each row with the table rows picked for it, repeats included', () => {
    expect([...dotRows(x, table, [0, 2, 1, 2, 2, 0], 2)]).toEqual([1, 210, 2, 430, 430, 3]);
  });

  it('adds the bias of the rows picked', () => {
    expect([...dotRows(x, table, [0, 2], 2, [0.5, 1, -1])]).toEqual([1.5, 429]);
  });

  it('refuses operands that do not fill their shapes', () => {
    expect(() => dotRows(x, table, [0, 1, 2], 2)).toThrow(ShapeError);
    expect(() => dotRows(x, table, [0, 1], 2, [1, 2])).toThrow(ShapeError);
    expect(() => dotRows(x, [1, 2, 3], [0, 1], 2)).toThrow(ShapeError);
  });
});
