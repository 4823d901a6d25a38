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

/**
 * The gradient in a table (the token table or, with positions for ids, the position table): its tangent is embedded as
 * the table is.
 * @param dy `[rows, d]`
 * @param ids `[rows]` the row of the table that each row read.
 * @param count Rows of the table.
 * @returns `[count, d]`: the sum of the rows of `dy` that read each row
 * @throws InputError for an id outside the table.
 * @throws ShapeError when dy is not as many rows as there are ids.
 */
export function embeddingVjp(dy: ArrayLike<number>, ids: ArrayLike<number>, count: number, d: number): Float64Array {
  expectShape('embeddingVjp: dy', dy, [ids.length, d]);
  const dtable = new Float64Array(count * d); // (count, d)
  for (let r = 0; r < ids.length; r++) {
    expectRow('token id', ids[r], r, count);
    for (let j = 0; j < d; j++) dtable[ids[r] * d + j] += dy[r * d + j];
  }
  return dtable;
}

function addRows(kind: string, out: Float64Array, indices: ArrayLike<number>, table: ArrayLike<number>, d: number) {
  const count = countRows(`embedding: the ${kind} table`, table, d);
  for (let r = 0; r < indices.length; r++) {
    const index = indices[r];
    expectRow(kind, index, r, count);
    for (let j = 0; j < d; j++) out[r * d + j] += table[index * d + j];
  }
}

function expectRow(kind: string, index: number, at: number, count: number): void {
  if (Number.isInteger(index) && index >= 0 && index < count) return;
  throw new InputError(`${kind} ${index} (at ${at}) has no row in its table.`, `Use integers from 0 to ${count - 1}.`);
}
