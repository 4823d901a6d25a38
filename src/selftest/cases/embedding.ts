import { linearize } from '../../autograd/tape.ts';
import type { Context } from '../../gpu/context.ts';
import { embedding } from '../../ops/embedding.ts';
import * as reference from '../../reference/index.ts';
import { seededRandom } from '../../reference/random.ts';
import { type Tensor, upload } from '../../tensor/tensor.ts';
import { type Case, normal } from '../case.ts';

const POSITIONS = 9;

/** Random rows of a table that comes in chunks of `chunkRows`, and its derivatives. */
function tableCases(rows: number, count: number, width: number, chunkRows: number, withPositions: boolean): Case[] {
  const wte = normal(14, count * width);
  const wpe = normal(15, POSITIONS * width);
  const dy = normal(16, rows * width);
  const random = seededRandom(16);
  const ids = Uint32Array.from({ length: rows }, () => Math.floor(random.next() * count));
  const at = Uint32Array.from({ length: rows }, (_, r) => r % POSITIONS);
  const name = `${rows} of ${count}x${width} in chunks of ${chunkRows}${withPositions ? ' with positions' : ''}`;
  const bounds = { rel: 1e-6, abs: 1e-7 };
  // A sum of n rows of size 1 that cancel errs by some roundings of its partial sums.
  const sumBounds = { rel: 1e-5, abs: 1e-6 * Math.ceil(rows / count) };

  const inChunks = (c: Context, values: Float32Array) => {
    const chunks: Tensor[] = [];
    for (let first = 0; first < count; first += chunkRows) {
      const piece = values.slice(first * width, (first + chunkRows) * width);
      chunks.push(upload(c, piece, [piece.length / width, width]));
    }
    return chunks;
  };
  const positionTable = (c: Context) => upload(c, wpe, [POSITIONS, width]);
  const read = (c: Context, chunks: Tensor[], positions?: Tensor) =>
    embedding(c, { rows: count, width, chunks }, ids, positions && { positions, at });
  /** The embedding as a function of its last chunk. */
  const linearizeLast = (c: Context) => {
    const chunks = inChunks(c, wte);
    return linearize(() => read(c, chunks, withPositions ? positionTable(c) : undefined), chunks.slice(-1));
  };
  const lastRows = ((count - 1) % chunkRows) + 1;
  const lastOnly = Float32Array.from(wte, (v, i) => (i < (count - lastRows) * width ? 0 : v));

  return [
    {
      op: 'embedding',
      name,
      bounds,
      run: (c) => read(c, inChunks(c, wte), withPositions ? positionTable(c) : undefined),
      want: () => reference.embedding(ids, wte, width, withPositions ? at : undefined, wpe),
    },
    {
      op: 'embedding',
      name: `vjp in the last chunk, ${name}`,
      bounds: sumBounds,
      run: (c) => linearizeLast(c).vjp(upload(c, dy, [rows, width]))[0],
      want: () => reference.embeddingVjp(dy, ids, count, width).subarray((count - lastRows) * width),
    },
    {
      op: 'embedding',
      name: `jvp in the last chunk, ${name}`,
      bounds,
      run: (c) => linearizeLast(c).jvp(inChunks(c, wte).slice(-1)),
      want: () => reference.embedding(ids, lastOnly, width),
    },
  ];
}

/** Derivatives in the positions. */
function positionCases(rows: number, width: number): Case[] {
  const wte = normal(14, width);
  const wpe = normal(15, POSITIONS * width);
  const dy = normal(16, rows * width);
  const ids = new Uint32Array(rows);
  const at = Uint32Array.from({ length: rows }, (_, r) => (5 * r) % (POSITIONS - 1)); // the last is never read
  const linearizePositions = (c: Context) => {
    const table = { rows: 1, width, chunks: [upload(c, wte, [1, width])] };
    return linearize((positions) => embedding(c, table, ids, { positions, at }), [upload(c, wpe, [POSITIONS, width])]);
  };
  return [
    {
      op: 'embedding',
      name: `vjp in the positions of ${rows}x${width}`,
      bounds: { rel: 1e-5, abs: 1e-6 * Math.ceil(rows / POSITIONS) },
      run: (c) => linearizePositions(c).vjp(upload(c, dy, [rows, width]))[0],
      want: () => reference.embeddingVjp(dy, at, POSITIONS, width),
    },
    {
      op: 'embedding',
      name: `jvp in the positions of ${rows}x${width}`,
      bounds: { rel: 1e-6, abs: 1e-7 },
      run: (c) => linearizePositions(c).jvp([upload(c, wpe, [POSITIONS, width])]),
      want: () => reference.embedding(at, wpe, width),
    },
  ];
}

/** Whole tables and tables in chunks, with and without positions, and their derivatives. */
export const embeddingCases = (): Case[] => [
  ...tableCases(1, 1, 1, 1, false),
  ...tableCases(65, 97, 33, 97, true),
  ...tableCases(65, 97, 33, 20, true),
  ...tableCases(257, 11, 7, 4, false),
  ...tableCases(63, 2500, 3, 2500, false),
  ...positionCases(65, 33),
];
