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

/** 0 .. count - 1 in a random order that is the same for the same seed (Fisher and Yates). */
export function permutation(count: number, seed: number): Uint32Array {
  const { next } = seededRandom(seed);
  const order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let last = count - 1; last > 0; last--) {
    const other = Math.floor(next() * (last + 1));
    [order[last], order[other]] = [order[other], order[last]];
  }
  return order;
}
