/** How far two values may lie apart; either bound suffices. */
export interface Bounds {
  readonly rel: number;
  readonly abs: number;
}

/** Whether two arrays agree, and the element that agrees least. */
export interface Agreement {
  readonly ok: boolean;
  readonly worst: { readonly index: number; readonly got: number; readonly want: number; readonly error: number };
}

/**
 * Compares element by element: `|got - want| <= abs` or `<= rel * |want|`. NaN and arrays of other length never agree.
 * @returns The worst offender by how far it lies beyond its bound; `index` is -1 when the lengths differ or nothing is there.
 */
export function agree(got: ArrayLike<number>, want: ArrayLike<number>, { rel, abs }: Bounds): Agreement {
  const same = got.length === want.length;
  let worst = { index: -1, got: got.length, want: want.length, error: same ? 0 : Infinity };
  let worstExcess = -Infinity;
  for (let i = 0; same && i < got.length; i++) {
    const error = got[i] === want[i] ? 0 : Math.abs(got[i] - want[i]);
    const excess = Number.isFinite(error) ? error - Math.max(abs, rel * Math.abs(want[i])) : Infinity;
    if (excess <= worstExcess) continue;
    worstExcess = excess;
    worst = { index: i, got: got[i], want: want[i], error };
  }
  return { ok: same && worstExcess <= 0, worst };
}

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

/** The largest difference in units of the root mean square of `want`; NaN or Infinity when there is none to speak of. */
export function rmsError(got: ArrayLike<number>, want: ArrayLike<number>): number {
  if (got.length !== want.length) return Infinity;
  let largest = 0;
  let squares = 0;
  for (let i = 0; i < want.length; i++) {
    largest = Math.max(largest, Math.abs(got[i] - want[i]));
    squares += want[i] ** 2;
  }
  return largest === 0 ? 0 : largest / Math.sqrt(squares / want.length);
}

/** A stream of random numbers that is the same for the same seed (mulberry32). */
export function seededRandom(seed: number) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
  const gauss = () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
  return {
    /** One number in [0, 1). */
    next,
    /** `count` numbers in [low, high). */
    uniform: (count: number, low = 0, high = 1) =>
      Float32Array.from({ length: count }, () => low + (high - low) * next()),
    /** `count` normal numbers with mean 0. */
    normal: (count: number, std = 1) => Float32Array.from({ length: count }, () => std * gauss()),
  };
}
