import { InputError } from '../../errors.ts';
import { dot } from '../../linalg/dense.ts';
import { norm as length } from '../../linalg/vector.ts';
import type { Region, SeparationCertificate } from './types.ts';

/** How far, relative to its size, a reachable vector that went through f32 may lie outside: ten times what is seen. */
const RELATIVE_ROUNDING = 1e-5;

/** A unit vector and the numbers of its half-space. */
type Separation = Pick<SeparationCertificate, 'value' | 'bound' | 'tolerance'>;

/**
 * Looks for a direction along which a target lies beyond every output of a block. As it does so by more than 1e-5 of the
 * target and the bias together, no output in f32 is ever taken for unreachable.
 * @param target `[d]`
 * @returns Undefined when none is found: the target may be reachable or not.
 * @throws InputError for a target of another width or with a number that is not finite.
 */
export function certify(region: Region, target: ArrayLike<number>): SeparationCertificate | undefined {
  const y = expectTarget(target, region.width);
  for (const direction of region.directions(y)) {
    const size = length(direction);
    if (!(size > 0 && Number.isFinite(size))) continue;
    const u = direction.map((value) => value / size);
    const numbers = separation(region, y, u);
    if (!separates(numbers)) continue;
    const { kind, subject } = region;
    return { kind, subject, target: Array.from(y), direction: Array.from(u), ...numbers };
  }
  return undefined;
}

/** The half-space that a unit vector gives. @param target `[d]` @param u `[d]` */
export function separation(region: Region, target: Float64Array, u: Float64Array): Separation {
  const tolerance = RELATIVE_ROUNDING * (length(target) + length(region.offset));
  return { value: dot(u, target), bound: region.support(u), tolerance };
}

/** Whether the target lies clearly outside. */
export const separates = ({ value, bound, tolerance }: Separation): boolean => value - bound > tolerance;

/** A target as float64. @throws InputError */
export function expectTarget(target: ArrayLike<number>, width: number): Float64Array {
  if (target.length !== width) {
    throw new InputError(
      `The target holds ${target.length} numbers, the block returns ${width}.`,
      `Give a target of width ${width}.`,
    );
  }
  const y = Float64Array.from(target);
  const bad = y.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) throw new InputError(`Element ${bad} of the target is ${y[bad]}.`, 'Give finite numbers.');
  return y;
}
