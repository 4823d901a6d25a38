const FROM_SERIES_TO_FRACTION = 2;

/**
 * The error function, to about 1e-15 relative.
 * @param x Any number.
 * @returns `2 / sqrt(pi) * integral of exp(-t^2) from 0 to x`.
 */
export function erf(x: number): number {
  const size = Math.abs(x);
  if (size < FROM_SERIES_TO_FRACTION) return series(x);
  return Math.sign(x) * (1 - fraction(size));
}

/**
 * The complementary error function `1 - erf(x)`, to about 1e-12 relative, also where `erf(x)` rounds to 1.
 * @param x Any number.
 */
export function erfc(x: number): number {
  if (x >= FROM_SERIES_TO_FRACTION) return fraction(x);
  return 1 - erf(x);
}

/** Abramowitz and Stegun 7.1.6: all terms have one sign, so nothing cancels. */
function series(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** Abramowitz and Stegun 7.1.14, erfc as a continued fraction, from the inside out; 60 levels suffice from x = 2 on. */
function fraction(x: number): number {
  if (x > 30) return 0;
  let tail = x;
  for (let n = 60; n >= 1; n--) tail = x + n / 2 / tail;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * tail);
}
