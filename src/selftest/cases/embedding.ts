import { embedding } from '../../ops/embedding.ts';
import * as reference from '../../reference/index.ts';
import { seededRandom } from '../../reference/random.ts';
import { type Tensor, upload } from '../../tensor/tensor.ts';
import { type Case, normal } from '../case.ts';

/** Random rows of a table that comes in chunks of `chunkRows`. */
function embeddingCase(rows: number, count: number, width: number, chunkRows: number, withPositions: boolean): Case {
  const wte = normal(14, count * width);
  const wpe = normal(15, 9 * width);
  const random = seededRandom(16);
  const ids = Uint32Array.from({ length: rows }, () => Math.floor(random.next() * count));
  const at = Uint32Array.from({ length: rows }, (_, r) => r % 9);
  return {
    op: 'embedding',
    name: `${rows} of ${count}x${width} in chunks of ${chunkRows}${withPositions ? ' with positions' : ''}`,
    bounds: { rel: 1e-6, abs: 1e-7 },
    run(c) {
      const chunks: Tensor[] = [];
      for (let first = 0; first < count; first += chunkRows) {
        const piece = wte.slice(first * width, (first + chunkRows) * width);
        chunks.push(upload(c, piece, [piece.length / width, width]));
      }
      const added = withPositions ? { positions: upload(c, wpe, [9, width]), at } : undefined;
      return embedding(c, { rows: count, width, chunks }, ids, added);
    },
    want: () => reference.embedding(ids, wte, width, withPositions ? at : undefined, wpe),
  };
}

/** Whole tables and tables in chunks, with and without positions. */
export const embeddingCases = (): Case[] => [
  embeddingCase(1, 1, 1, 1, false),
  embeddingCase(65, 97, 33, 97, true),
  embeddingCase(65, 97, 33, 20, true),
  embeddingCase(257, 11, 7, 4, false),
];
