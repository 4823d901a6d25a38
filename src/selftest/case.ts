import type { Context } from '../gpu/context.ts';
import type { Bounds } from '../reference/agree.ts';
import { seededRandom } from '../reference/random.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** One comparison of a kernel with the float64 reference. */
export interface Case {
  /** The operation, as its file is called. */
  readonly op: string;
  /** Sizes and options. */
  readonly name: string;
  readonly bounds: Bounds;
  /** Records the kernel; f32 and u32 results alike are compared as numbers. */
  run(context: Context): Tensor;
  /** What the result should be. */
  want(): ArrayLike<number>;
}

/** The project's bound: relative 1e-5 or absolute 1e-6 per element. */
export const BOUNDS: Bounds = { rel: 1e-5, abs: 1e-6 };
export const EXACT: Bounds = { rel: 0, abs: 0 };

/** Seeded operands, so that a case is the same on every device. */
export const normal = (seed: number, count: number, std = 1) => seededRandom(seed).normal(count, std);

/** A case over a matrix, named by its shape. */
export function rowCase(
  op: string,
  rows: number,
  width: number,
  run: Case['run'],
  want: Case['want'],
  bounds = BOUNDS,
): Case {
  return { op, name: `${rows}x${width}`, bounds, run, want };
}
