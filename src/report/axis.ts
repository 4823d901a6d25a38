/** What an axis spans, and the round numbers on it. */
export interface Axis {
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
  /** Where a value lies: 0 at `low`, 1 at `high`. */
  at(value: number): number;
}

/**
 * An axis with even steps of 1, 2 or 5 times a power of ten; of whole numbers if all values are.
 * @param count About how many ticks.
 * @param rounded Whether it ends at ticks; else at the extreme values.
 */
export function linearAxis(values: readonly number[], count = 6, rounded = true): Axis {
  let [low, high] = extremes(values) ?? [0, 1];
  const isWhole = values.every(Number.isInteger);
  const size = Math.max(Math.abs(low), Math.abs(high));
  // Values that agree to nine digits are not told apart.
  if (high - low <= 1e-9 * size) {
    const around = isWhole ? Math.max(1, 1e-8 * size) : size / 10;
    [low, high] = size === 0 ? [0, 1] : [low - around, high + around];
  }
  const step = Math.max(roundUp((high - low) / count), isWhole ? 1 : 0);
  const first = rounded ? Math.floor(low / step) : Math.ceil(low / step);
  const last = rounded ? Math.ceil(high / step) : Math.floor(high / step);
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  if (rounded) [low, high] = [ticks[0], ticks[ticks.length - 1]];
  return { low, high, ticks, at: (value) => (value - low) / (high - low) };
}

/** A logarithmic axis of the positive values, from tick to tick; what is not positive lies at its low end. */
export function logAxis(values: readonly number[], count = 6): Axis {
  const [least, most] = extremes(values.filter((value) => value > 0)) ?? [1, 10];
  let ticks = decades(Math.floor(exponent(least)), Math.ceil(exponent(most)), count);
  if (ticks.length <= 3) {
    const all = decades(Math.floor(exponent(least)), Math.ceil(exponent(most)) + 1, Number.POSITIVE_INFINITY);
    const steps = all.flatMap((power) => [1, 2, 5].map((factor) => Number((factor * power).toPrecision(12))));
    const begin = steps.findLastIndex((step) => step <= least * (1 + 1e-9));
    const end = steps.findIndex((step, i) => i > begin && step >= most * (1 - 1e-9));
    ticks = steps.slice(begin, end + 1);
  }
  const [low, high] = [ticks[0], ticks[ticks.length - 1]];
  const span = Math.log(high / low);
  return { low, high, ticks, at: (value) => (value > 0 ? Math.max(Math.log(value / low) / span, 0) : 0) };
}

/** Powers of ten, every one or every few, the last of them not below 10^high. */
function decades(low: number, high: number, count: number): number[] {
  const stride = Math.max(Math.ceil((high - low) / count), 1);
  return Array.from({ length: Math.ceil((high - low) / stride) + 1 }, (_, i) => Number(`1e${low + i * stride}`));
}

const exponent = (value: number): number => Number(Math.log10(value).toFixed(9));

/** The next 1, 2, 5 or 10 times a power of ten. */
function roundUp(value: number): number {
  const power = Number(`1e${Math.floor(exponent(value))}`);
  return power * ([1, 2, 5].find((factor) => factor * power >= value * (1 - 1e-9)) ?? 10);
}

function extremes(values: readonly number[]): [number, number] | undefined {
  const finite = values.filter(Number.isFinite);
  if (finite.length === 0) return undefined;
  return finite.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [finite[0], finite[0]]);
}

/** A tick as it is written: `1,500`, `0.25`, `1e-5`. */
export function tickText(value: number): string {
  const size = Math.abs(value);
  if (value !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential().replace('e+', 'e');
  return value.toLocaleString('en', { maximumFractionDigits: 9 });
}
