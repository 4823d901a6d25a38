/** How far two values may lie apart; either bound suffices. */
export interface Bounds {
  readonly rel: number;
  readonly abs: number;
}

/** The element of two arrays that agrees least. */
export interface Worst {
  /** -1 when the lengths differ (`got` and `want` then hold them), or when nothing is there. */
  readonly index: number;
  readonly got: number;
  readonly want: number;
  readonly error: number;
  /** The error as a share of what is allowed there; over 1 is a disagreement. */
  readonly share: number;
}

/** Whether two arrays agree. */
export interface Agreement {
  readonly ok: boolean;
  readonly worst: Worst;
}

/** Compares element by element: `|got - want| <= abs` or `<= rel * |want|`. NaN and arrays of other length never agree. */
export function agree(got: ArrayLike<number>, want: ArrayLike<number>, { rel, abs }: Bounds): Agreement {
  if (got.length !== want.length) {
    return { ok: false, worst: { index: -1, got: got.length, want: want.length, error: Infinity, share: Infinity } };
  }
  let worst: Worst = { index: -1, got: 0, want: 0, error: 0, share: -1 };
  for (let i = 0; i < got.length; i++) {
    const error = got[i] === want[i] ? 0 : Math.abs(got[i] - want[i]);
    const share = error === 0 ? 0 : error / Math.max(abs, rel * Math.abs(want[i]));
    // NaN is no agreement, and compares with nothing.
    if (share <= worst.share) continue;
    worst = { index: i, got: got[i], want: want[i], error, share: Number.isNaN(share) ? Infinity : share };
  }
  return { ok: worst.share <= 1, worst };
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
