import type { StateRecord } from './types.ts';

type Rows = Pick<StateRecord, 'values' | 'width'>;

/** Positions of a record. */
export const lengthOf = ({ values, width }: Rows): number => values.length / width;

/** The state of row t, [d]. */
export const stateAt = ({ values, width }: Rows, t: number): Float32Array =>
  values.subarray(t * width, (t + 1) * width);

/** Place of row t in the model's position table. */
export const positionOf = ({ firstPosition = 0 }: Pick<StateRecord, 'firstPosition'>, t: number): number =>
  firstPosition + t;
