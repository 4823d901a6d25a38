import code from '../../shaders/topk.wgsl?raw';
import { ShapeError } from '../errors.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { grid, matrixShape } from './kernels.ts';
import { expectUntracked } from './op.ts';

const shader = { file: 'shaders/topk.wgsl', code };

/** The k best values of each row, best first, and where they stand; ties go to the lower index. */
export interface TopK {
  /** [rows, k] */
  readonly values: Tensor;
  /** [rows, k] u32 */
  readonly indices: Tensor;
}

/** The most values `topk` keeps. */
export const MAX_K = 256;

/**
 * The k smallest or largest values of each row.
 * @param x [rows, width]
 * @param k At most `MAX_K` and the width.
 * @throws ShapeError, and InputError where a derivative by x is being recorded.
 */
export function topk(x: Tensor, k: number, order: 'smallest' | 'largest'): TopK {
  expectUntracked('topk', x);
  const { rows, width } = matrixShape(x);
  if (!(k >= 1 && k <= MAX_K && k <= width)) {
    throw new ShapeError(`Cannot take the ${k} ${order} of [${x.shape}].`, `Ask for 1 to ${Math.min(MAX_K, width)}.`);
  }
  const { context } = x;
  let candidates: { values: Tensor; indices?: Tensor; width: number } = { values: x, width };
  for (;;) {
    const chunks = context.adapter.kind === 'cpu' ? 1 : chunksOf(candidates.width, k);
    const values = empty(context, [rows, chunks * k], 'f32', 'topk');
    const indices = empty(context, [rows, chunks * k], 'u32', 'topk');
    context.run({
      kernel: {
        shader,
        entry: 'main',
        tiles: { K: k },
        constants: { LARGEST: Number(order === 'largest'), WITH_INDICES: Number(candidates.indices !== undefined) },
      },
      buffers: [candidates.values.buffer, candidates.indices?.buffer, values.buffer, indices.buffer],
      uniforms: [rows, candidates.width, Math.ceil(candidates.width / chunks), chunks],
      workgroups: grid(Math.ceil((rows * chunks) / 16)),
      cost: 2 * rows * candidates.width,
    });
    if (candidates.indices) {
      candidates.values.dispose();
      candidates.indices.dispose();
    }
    if (chunks === 1) return { values, indices };
    candidates = { values, indices, width: chunks * k };
  }
}

/** Chunks of a row: each at least four times what is kept of it, so that every round shortens the row. */
const chunksOf = (width: number, k: number): number => Math.max(1, Math.min(256, Math.floor(width / (4 * k))));

/** Index and value of the smallest entry of each row. */
export const argmin = (x: Tensor): TopK => topk(x, 1, 'smallest');
