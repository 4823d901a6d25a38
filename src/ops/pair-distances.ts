import code from '../../shaders/pair-distances.wgsl?raw';
import { f32 } from '../gpu/uniforms.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { expectSize, matrixShape } from './kernels.ts';
import { matmul } from './matmul.ts';
import { expectUntracked } from './op.ts';
import { columnSums } from './reduce.ts';

const shader = { file: 'shaders/pair-distances.wgsl', code };

/** Rows with their squared norms, of which a set of all pairs is made. */
export interface NormedRows {
  /** [n, width] */
  readonly rows: Tensor;
  /** [n]: the squared norm of each row, computed in float64 and rounded to f32. */
  readonly squares: Tensor;
  /** Number of the first row among all: of equal or overlapping sets, only pairs i < j count. */
  readonly first: number;
}

/** What is known of the distances of all pairs of two sets of rows. */
export interface PairDistances {
  /** [m, 3], for each row of A: the least squared distance there can be, pairs surely below, pairs possibly below. */
  readonly summary: Tensor;
  /** [HISTOGRAM_BINS]: how many pairs lie in each bin; exact up to 2^24 pairs. */
  readonly histogram: Tensor;
}

/** Bins of squared distances, four to a factor of two; the first holds all below 2^-40, the last all above 1.5 * 2^23. */
export const HISTOGRAM_BINS = 256;

/** The squared distance a bin begins at. */
export const binStart = (bin: number): number =>
  bin === 0 ? 0 : 2 ** (Math.floor((bin - 1) / 4) - 40) * (1 + ((bin - 1) % 4) / 4);

/** WGSL leaves the rounding of f32 to either neighbour. */
const UNIT_ROUNDOFF = 2 ** -23;
/** For terms of second order, and the rounding of the bound itself. */
const SLACK = 1 + 2 ** -8;

/**
 * What the screen |a|^2 + |b|^2 - 2 a.b may be wrong by, as a share of |a|^2 + |b|^2: with unit roundoff u, a sum of
 * `width` products in any order is within width u |a||b| (Higham 2002, section 3.1), and 2 |a||b| <= |a|^2 + |b|^2; the
 * norms, their sum, the difference and the bound taken from it add no more than 8 u.
 */
export const screenError = (width: number): number => (width + 8) * UNIT_ROUNDOFF * SLACK;

/** What a sum of squared differences, and the square it is compared with, may be wrong by, relative to themselves. */
export const differenceError = (width: number): number => (width + 8) * UNIT_ROUNDOFF * SLACK;

/** Rows of A that share a workgroup on a GPU, as in the shader. */
const SHARED_ROWS = 8;

/**
 * The distances of all pairs of rows of A and B, no pair kept: what a test of all pairs needs to know of each tile.
 * Rows must be finite.
 * @param below Distance below which pairs are counted.
 * @throws ShapeError, and InputError where a derivative is being recorded.
 */
export function pairDistances(a: NormedRows, b: NormedRows, below: number): PairDistances {
  for (const { rows } of [a, b]) expectUntracked('pairDistances', rows);
  const { context } = a.rows;
  const { rows, width } = matrixShape(a.rows);
  const { rows: columns } = matrixShape(b.rows);
  expectSize('The squared norms', a.squares, [rows]);
  expectSize('The squared norms', b.squares, [columns]);
  const isCpu = context.adapter.kind === 'cpu';
  const groups = isCpu ? rows : Math.ceil(rows / SHARED_ROWS);
  return context.scope(() => {
    const dots = matmul(a.rows, b.rows, { transposeB: true }); // (m, n)
    const summary = empty(context, [rows, 3], 'f32', 'pair summary');
    const counts = empty(context, [groups, HISTOGRAM_BINS], 'f32', 'pair histogram');
    context.run({
      kernel: { shader, entry: isCpu ? 'direct' : 'shared_rows' },
      buffers: [dots, a.rows, b.rows, a.squares, b.squares, summary, counts].map(({ buffer }) => buffer),
      uniforms: [
        rows,
        columns,
        width,
        a.first,
        b.first,
        f32(screenError(width)),
        f32(differenceError(width)),
        f32(below ** 2),
      ],
      workgroups: [isCpu ? Math.ceil(rows / 4) : groups],
      cost: 12 * rows * columns,
    });
    return { summary, histogram: columnSums(counts, HISTOGRAM_BINS) };
  });
}
