import type { Vector } from './requests.ts';
import type { RowMap } from './row-map.ts';

/** Maps one after another, and what is known of them as a whole. */
export interface Chain {
  /** First to last. */
  readonly steps: readonly RowMap[];
  /**
   * All steps in float64 on the CPU: what a solution is verified by, and refined to. Without it both are done in f32.
   * @param slot Of the prefix the row sees.
   */
  readonly twin?: (x: Vector, slot: number) => Vector;
}
