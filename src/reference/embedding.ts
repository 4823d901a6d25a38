import { InputError } from '../errors.ts';
import { countRows, expectShape } from './shape.ts';

/**
 * Rows of the token table plus rows of the position table.
 * @param ids `[rows]` token ids.
 * @param wte `[vocabulary, d]`
 * @param positions `[rows]` the position of each token; leave out for token rows alone.
 * @param wpe `[context, d]`
 * @returns `[rows, d]`: `wte[ids] + wpe[positions]`
 * @throws InputError for an id or position outside its table.
 * @throws ShapeError when a table is not whole rows or there are not as many positions as ids.
 */
export function embedding(
  ids: ArrayLike<number>,
  wte: ArrayLike<number>,
  d: number,
  positions?: ArrayLike<number>,
  wpe: ArrayLike<number> = [],
): Float64Array {
  const out = new Float64Array(ids.length * d); // (rows, d)
  addRows('token id', out, ids, wte, d);
  if (positions) {
    expectShape('embedding: positions', positions, [ids.length]);
    addRows('position', out, positions, wpe, d);
  }
  return out;
}

function addRows(kind: string, out: Float64Array, indices: ArrayLike<number>, table: ArrayLike<number>, d: number) {
  const count = countRows(`embedding: the ${kind} table`, table, d);
  for (let r = 0; r < indices.length; r++) {
    const index = indices[r];
    if (!Number.isInteger(index) || index < 0 || index >= count)
      throw new InputError(
        `${kind} ${index} (at ${r}) has no row in its table.`,
        `Use integers from 0 to ${count - 1}.`,
      );
    for (let j = 0; j < d; j++) out[r * d + j] += table[index * d + j];
  }
}
