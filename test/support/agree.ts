import { agree, type Bounds } from '../../src/reference/agree.ts';

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
