import type { seededRandom } from '../../reference/random.ts';

/** Points of the plane, x and y in turn. */

/** A stream of random numbers. */
export type Random = ReturnType<typeof seededRandom>;

/** How many Gaussians stand on the ring. */
export const MODES = 8;
/** So that the variance of each coordinate is about 1. */
export const RING_RADIUS = Math.SQRT2;
const SPREAD = 0.15;

/** The point of a circle at an angle in turns: 0 to the right, 1/4 up. */
export const onCircle = (radius: number, turns: number): [number, number] => [
  radius * Math.cos(2 * Math.PI * turns),
  radius * Math.sin(2 * Math.PI * turns),
];

/** Draws from eight narrow Gaussians on a ring, [count, 2]. */
export function ringOfGaussians({ next, normal }: Random, count: number): Float32Array {
  const noise = normal(2 * count, SPREAD);
  for (let r = 0; r < count; r++) {
    const [x, y] = onCircle(RING_RADIUS, Math.floor(MODES * next()) / MODES);
    noise[2 * r] += x;
    noise[2 * r + 1] += y;
  }
  return noise;
}

/** Turns from one point to the next that spread any number of them evenly around. */
const GOLDEN = (Math.sqrt(5) - 1) / 2;

/** Points to be reached, by kind. */
export interface TargetSet {
  readonly kind: string;
  /** [n, 2] */
  readonly points: Float32Array;
}

/**
 * Outputs that a model of the ring is asked for: new draws of the data; points on the ring halfway between the modes,
 * and around its empty centre; and points 5 to 10 away, where no data ever was.
 * @param count Of each kind.
 */
export function ringTargets(random: Random, count: number): TargetSet[] {
  const { next } = random;
  const each = (place: (i: number) => [number, number]) =>
    Float32Array.from(Array.from({ length: count }, (_, i) => place(i)).flat());
  return [
    { kind: 'data', points: ringOfGaussians(random, count) },
    { kind: 'between the modes', points: each((i) => onCircle(RING_RADIUS * (0.9 + 0.2 * next()), (i + 0.5) / MODES)) },
    { kind: 'around the centre', points: each((i) => onCircle(0.2 + 0.5 * next(), GOLDEN * i)) },
    { kind: 'far outside', points: each((i) => onCircle(5 + 5 * next(), GOLDEN * i)) },
  ];
}
