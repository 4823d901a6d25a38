import { decodeBF16, decodeF16, encodeBF16, encodeF16 } from '../io/dtype.ts';

/** How states are stored: as computed, rounded to 16 bits, or as whole numbers on one scale for a layer. */
export type Precision = 'f32' | 'f16' | 'bf16' | 'int8' | 'int4';
export const PRECISIONS: readonly Precision[] = ['f32', 'f16', 'bf16', 'int8', 'int4'];

/** Whether a precision needs the largest number of a layer. */
export const isScaled = (precision: Precision): boolean => precision === 'int8' || precision === 'int4';

/**
 * States as they come back from storage. Whole numbers are symmetric, from -(2^(bits - 1) - 1) to 2^(bits - 1) - 1, with
 * one scale for all states of a layer; what lies beyond it is clipped.
 * @param largest What the largest whole number stands for.
 */
export function quantised(states: Float32Array, precision: Precision, largest: number): Float32Array {
  if (precision === 'f32') return states;
  if (precision === 'f16') return states.map((value) => decodeF16(encodeF16(value)));
  if (precision === 'bf16') return states.map((value) => decodeBF16(encodeBF16(value)));
  const steps = precision === 'int8' ? 127 : 7;
  const scale = largest / steps || 1;
  return states.map((value) => scale * Math.min(Math.max(Math.round(value / scale), -steps), steps));
}
