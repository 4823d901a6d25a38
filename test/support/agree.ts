import { agree, type Bounds, rmsError } from '../../src/reference/agree.ts';

export { type Agreement, agree, type Bounds, rmsError } from '../../src/reference/agree.ts';
export { seededRandom } from '../../src/reference/random.ts';

/**
 * Fails a test unless two arrays agree.
 * @param what What is compared, for the message.
 */
export function expectAgree(got: ArrayLike<number>, want: ArrayLike<number>, bounds: Bounds, what = 'arrays'): void {
  const { ok, worst } = agree(got, want, bounds);
  if (ok) return;
  if (got.length !== want.length) throw new Error(`${what}: got ${got.length} values, want ${want.length}`);
  throw new Error(
    `${what}: at ${worst.index} got ${worst.got}, want ${worst.want}: off by ${worst.error} (rel ${bounds.rel}, abs ${bounds.abs})`,
  );
}

/** The worst error of any row, in units of its RMS. */
export function worstRow(got: ArrayLike<number>, want: Float64Array, width: number): number {
  const rows = Array.from({ length: want.length / width }, (_, r) =>
    rmsError(Array.prototype.slice.call(got, r * width, (r + 1) * width), want.subarray(r * width, (r + 1) * width)),
  );
  return got.length === want.length ? Math.max(...rows) : Number.POSITIVE_INFINITY;
}
