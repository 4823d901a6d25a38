import { InputError } from '../errors.ts';
import { seededRandom } from '../reference/random.ts';
import type { TrainingPlan } from './plan.ts';

/** Token ids of a text. */
export type Tokens = Uint8Array | Uint16Array | Uint32Array;

/** A text to train on, and one to judge the model by. */
export interface TrainingData {
  readonly train: Tokens;
  readonly heldOut: Tokens;
}

/** Windows of one length, and for each of their tokens the one that follows it. */
export interface Windows {
  readonly count: number;
  readonly length: number;
  /** [count * length] */
  readonly inputs: Uint32Array<ArrayBuffer>;
  /** [count * length] */
  readonly labels: Uint32Array<ArrayBuffer>;
}

/** Share of a text that is held out where no other text is given. */
export const HELD_OUT_SHARE = 1 / 20;

/** Holds out the end of a text. */
export function holdOut(tokens: Tokens): TrainingData {
  const begin = tokens.length - Math.floor(tokens.length * HELD_OUT_SHARE);
  return { train: tokens.subarray(0, begin), heldOut: tokens.subarray(begin) };
}

/**
 * @throws InputError when there is less text than a batch takes, or than a window of evaluation, or a token that the
 * model does not have.
 */
export function checkData(
  { train, heldOut }: TrainingData,
  { batch, window }: Pick<TrainingPlan, 'batch' | 'window'>,
  vocabularySize: number,
): void {
  const needed = batch * window + 1;
  if (train.length < needed) {
    throw new InputError(
      `The text has ${train.length} tokens to train on; a batch of ${batch} windows of ${window} takes ${needed}.`,
      'Give a longer text, or make the batch or its windows smaller.',
    );
  }
  if (heldOut.length < window + 1) {
    throw new InputError(
      `There are ${heldOut.length} held-out tokens; a window of ${window} takes ${window + 1}.`,
      'Give a longer text, a held-out text of its own, or shorter windows.',
    );
  }
  for (const tokens of [train, heldOut]) {
    const beyond = tokens.find((token) => token >= vocabularySize);
    if (beyond === undefined) continue;
    throw new InputError(
      `The text has the token id ${beyond}; the model's vocabulary is ${vocabularySize}.`,
      'Use the tokenizer that belongs to the model, or a model of its vocabulary.',
    );
  }
}

/** The windows of a step: drawn anywhere in the text, and by nothing but the seed and the step. */
export function batchOf(tokens: Tokens, plan: Pick<TrainingPlan, 'seed' | 'batch' | 'window'>, step: number): Windows {
  const { batch, window, seed } = plan;
  const random = seededRandom(mix(seed, step));
  return windowsAt(
    tokens,
    Array.from({ length: batch }, () => Math.floor(random.next() * (tokens.length - window))),
    window,
  );
}

/** Windows spread evenly over a text, as many as there is room for and at most `most`: the same ones every time. */
export function evenWindows(tokens: Tokens, window: number, most: number): Windows {
  const room = Math.floor((tokens.length - 1) / window);
  const count = Math.min(most, room);
  return windowsAt(
    tokens,
    Array.from({ length: count }, (_, i) => Math.floor((i * room) / count) * window),
    window,
  );
}

/** Windows [begin, end) of these. */
export function someWindows({ length, inputs, labels }: Windows, begin: number, end: number): Windows {
  const part = (ids: Uint32Array<ArrayBuffer>) => ids.subarray(begin * length, end * length);
  return { count: end - begin, length, inputs: part(inputs), labels: part(labels) };
}

function windowsAt(tokens: Tokens, offsets: readonly number[], length: number): Windows {
  const inputs = new Uint32Array(offsets.length * length);
  const labels = new Uint32Array(offsets.length * length);
  offsets.forEach((offset, i) => {
    inputs.set(tokens.subarray(offset, offset + length), i * length);
    labels.set(tokens.subarray(offset + 1, offset + length + 1), i * length);
  });
  return { count: offsets.length, length, inputs, labels };
}

/** A seed for each step, so that neighbouring steps and seeds share nothing. */
function mix(seed: number, step: number): number {
  let x = Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(step + 1, 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
  x = Math.imul(x ^ (x >>> 12), 0x297a2d39);
  return (x ^ (x >>> 15)) >>> 0;
}

/**
 * What guessing by frequency alone would cost: the cross-entropy, in nats, of labels under the frequencies of the
 * tokens of a text, each counted once more than it occurs.
 */
export function unigramLoss(text: Tokens, labels: Uint32Array, vocabularySize: number): number {
  const counts = new Float64Array(vocabularySize).fill(1);
  for (const token of text) counts[token]++;
  const total = Math.log(text.length + vocabularySize);
  return labels.reduce((sum, label) => sum + total - Math.log(counts[label]), 0) / labels.length;
}
