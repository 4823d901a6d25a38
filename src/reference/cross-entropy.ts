import { InputError } from '../errors.ts';
import { countRows, expectShape } from './shape.ts';
import { logSoftmax } from './softmax.ts';

/** The label of a row that does not count, unless another is named; PyTorch's. */
export const IGNORE_INDEX = -100;

/**
 * Cross-entropy of next-token logits in nats: the mean of `-logSoftmax(logits)[r, label_r]` over the rows that count.
 * @param logits `[rows, vocabulary]`
 * @param labels `[rows]`
 * @param ignoreIndex The label of rows that do not count.
 * @throws InputError for a label outside the vocabulary, or when no row counts.
 * @throws ShapeError when the logits are not as many rows as there are labels.
 */
export function crossEntropy(
  logits: ArrayLike<number>,
  labels: ArrayLike<number>,
  ignoreIndex: number = IGNORE_INDEX,
): number {
  const width = logits.length / labels.length;
  const counted = countedRows(logits, labels, ignoreIndex);
  const logs = logSoftmax(logits, width); // (rows, vocabulary)
  return -counted.reduce((sum, r) => sum + logs[r * width + labels[r]], 0) / counted.length;
}

/**
 * The gradient of `dy * crossEntropy(logits)`: `(softmax - one at the label) dy / count`, zero in rows that do not count.
 * @returns `[rows, vocabulary]`
 * @throws As `crossEntropy`.
 */
export function crossEntropyVjp(
  dy: number,
  logits: ArrayLike<number>,
  labels: ArrayLike<number>,
  ignoreIndex: number = IGNORE_INDEX,
): Float64Array {
  const width = logits.length / labels.length;
  const counted = countedRows(logits, labels, ignoreIndex);
  const logs = logSoftmax(logits, width); // (rows, vocabulary)
  const dlogits = new Float64Array(logits.length); // (rows, vocabulary)
  for (const r of counted) {
    for (let v = 0; v < width; v++) {
      const hit = v === labels[r] ? 1 : 0;
      dlogits[r * width + v] = ((Math.exp(logs[r * width + v]) - hit) * dy) / counted.length;
    }
  }
  return dlogits;
}

/**
 * The tangent of `crossEntropy(logits)`.
 * @param dlogits `[rows, vocabulary]`
 * @throws As `crossEntropy`.
 */
export function crossEntropyJvp(
  dlogits: ArrayLike<number>,
  logits: ArrayLike<number>,
  labels: ArrayLike<number>,
  ignoreIndex: number = IGNORE_INDEX,
): number {
  expectShape('crossEntropyJvp: dlogits', dlogits, [logits.length]);
  return crossEntropyVjp(1, logits, labels, ignoreIndex).reduce((sum, slope, i) => sum + slope * dlogits[i], 0);
}

/** The rows whose label is not `ignoreIndex`. */
function countedRows(logits: ArrayLike<number>, labels: ArrayLike<number>, ignoreIndex: number): number[] {
  const width = logits.length / labels.length;
  countRows('crossEntropy: logits', logits, width);
  const counted = Array.from(labels, (_, r) => r).filter((r) => labels[r] !== ignoreIndex);
  const wrong = counted.find((r) => !Number.isInteger(labels[r]) || labels[r] < 0 || labels[r] >= width);
  if (wrong !== undefined) {
    throw new InputError(
      `Row ${wrong} has the label ${labels[wrong]} in a vocabulary of ${width}.`,
      `Use labels from 0 to ${width - 1}, or ${ignoreIndex} for rows that do not count.`,
    );
  }
  if (counted.length === 0) throw new InputError('No row has a label that counts.', 'Give at least one label.');
  return counted;
}
