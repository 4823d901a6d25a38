import { dotRows } from '../../ops/dot-rows.ts';
import type { Table } from '../../ops/embedding.ts';
import * as reference from '../../reference/index.ts';
import { seededRandom } from '../../reference/random.ts';
import { upload } from '../../tensor/tensor.ts';
import { BOUNDS, type Case, normal } from '../case.ts';

/** @param chunkRows Rows of a chunk of the table. */
function dotRowsCase(rows: number, picks: number, width: number, vocabulary: number, chunkRows = vocabulary): Case {
  // Products of size 1 / sqrt(width), so that their sums are of size 1.
  const x = normal(61, rows * width, 1 / Math.sqrt(width));
  const values = normal(62, vocabulary * width);
  const bias = chunkRows < vocabulary ? undefined : normal(63, vocabulary);
  const { next } = seededRandom(64);
  const ids = Uint32Array.from({ length: rows * picks }, () => Math.floor(next() * vocabulary));
  const chunkCount = Math.ceil(vocabulary / chunkRows);
  return {
    op: 'dot-rows',
    name: `${picks} of ${vocabulary} for ${rows}x${width}${chunkCount > 1 ? `, ${chunkCount} chunks` : ', bias'}`,
    bounds: BOUNDS,
    run(c) {
      const chunks = Array.from({ length: chunkCount }, (_, i) => {
        const chunk = values.subarray(i * chunkRows * width, (i + 1) * chunkRows * width);
        return upload(c, chunk, [chunk.length / width, width]);
      });
      const table: Table = { rows: vocabulary, width, chunks };
      return dotRows(upload(c, x, [rows, width]), table, upload(c, ids, [rows, picks]), bias && upload(c, bias));
    },
    want: () => reference.dotRows(x, values, ids, width, bias),
  };
}

/** One pick and many, tables whole and in chunks, more products than one row of workgroups holds. */
export const dotRowsCases = (): Case[] => [
  dotRowsCase(1, 1, 1, 1),
  dotRowsCase(3, 7, 63, 65),
  dotRowsCase(65, 64, 192, 257),
  dotRowsCase(7, 16, 65, 257, 100),
  dotRowsCase(65537, 3, 3, 5),
];
