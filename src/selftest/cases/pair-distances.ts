import { binStart, HISTOGRAM_BINS, pairDistances } from '../../ops/pair-distances.ts';
import * as reference from '../../reference/index.ts';
import { reshape, upload } from '../../tensor/tensor.ts';
import { type Case, EXACT, normal } from '../case.ts';

/** Sizes of a case: rows of A and B, their width, and which rows of all they are. */
interface Tiles {
  readonly m: number;
  readonly n: number;
  readonly width: number;
  readonly firstA?: number;
  readonly firstB?: number;
}

/** Distance below which the cases count: between the planted ones. */
const BELOW = 0.25;

/**
 * Rows of small whole numbers, so that products are exact and no square lies at the edge of a bin by rounding; every
 * third row of B is one of A's, equal or moved by 2^-7 (screened away: computed again) or 2^-3.
 */
function operands({ m, n, width, firstA = 0, firstB = 0 }: Tiles) {
  const a = normal(71, m * width).map((x) => Math.round(8 * x));
  const b = normal(72, n * width).map((x) => Math.round(8 * x));
  for (let j = 0; j < n; j += 3) {
    b.set(a.subarray((j % m) * width, ((j % m) + 1) * width), j * width);
    b[j * width] += [0, 2 ** -7, 2 ** -3][(j / 3) % 3];
  }
  const squaresOf = (rows: Float32Array) =>
    Float32Array.from({ length: rows.length / width }, (_, r) =>
      rows.subarray(r * width, (r + 1) * width).reduce((sum, x) => sum + x * x, 0),
    );
  return { a, b, squaresA: squaresOf(a), squaresB: squaresOf(b), firstA, firstB };
}

function pairCases(tiles: Tiles): Case[] {
  const { m, n, width } = tiles;
  const { a, b, squaresA, squaresB, firstA, firstB } = operands(tiles);
  const squares = reference.pairSquares(a, b, { width, firstA, firstB });
  const name = `${m} and ${n} rows of ${width}${firstA || firstB ? `, from ${firstA} and ${firstB}` : ''}`;
  const run = (part: 'summary' | 'histogram'): Case['run'] => {
    return (c) => {
      const result = pairDistances(
        { rows: upload(c, a, [m, width]), squares: upload(c, squaresA), first: firstA },
        { rows: upload(c, b, [n, width]), squares: upload(c, squaresB), first: firstB },
        BELOW,
      );
      return reshape(result[part], result[part].shape);
    };
  };
  return [
    // The least square is a bound: below the square by the error of the screen, at most an eighth.
    {
      op: 'pair-distances',
      name,
      bounds: { rel: 1 / 7, abs: 0 },
      run: run('summary'),
      want: () => summaryOf(squares, n),
    },
    {
      op: 'pair-distances',
      name: `${name}, histogram`,
      bounds: EXACT,
      run: run('histogram'),
      want: () => histogramOf(squares),
    },
  ];
}

/** The least square of each row, and twice how many lie below the bound: none is near it. */
function summaryOf(squares: Float64Array, n: number): number[] {
  const rows = Array.from({ length: squares.length / n }, (_, r) =>
    squares.subarray(r * n, (r + 1) * n).filter((square) => !Number.isNaN(square)),
  );
  return rows.flatMap((row) => {
    const below = row.filter((square) => square < BELOW ** 2).length;
    return [row.length > 0 ? row.reduce((least, x) => Math.min(least, x)) : LARGEST, below, below];
  });
}

const LARGEST = Math.fround(3.402823e38);

function histogramOf(squares: Float64Array): number[] {
  const counts = new Array<number>(HISTOGRAM_BINS).fill(0);
  for (const square of squares) {
    if (Number.isNaN(square)) continue;
    let bin = 0;
    while (bin + 1 < HISTOGRAM_BINS && square >= binStart(bin + 1)) bin++;
    counts[bin]++;
  }
  return counts;
}

/** One pair and many, tiles on the diagonal and beside it, more rows than one workgroup shares. */
export const pairDistancesCases = (): Case[] => [
  ...pairCases({ m: 1, n: 1, width: 1, firstB: 1 }),
  ...pairCases({ m: 7, n: 65, width: 63, firstB: 7 }),
  ...pairCases({ m: 65, n: 65, width: 64 }),
  ...pairCases({ m: 63, n: 257, width: 192, firstA: 3, firstB: 40 }),
];
