import { describe, expect, test } from 'vitest';
import { InputError } from '../../src/errors.ts';
import { countFrom } from '../../src/model/model.ts';
import { batchOf, checkData, evenWindows, holdOut, someWindows, unigramLoss } from '../../src/train/data.ts';

const tokens = countFrom(0, 1000);
const plan = { seed: 3, batch: 64, window: 10 };

describe('the batch of a step', () => {
  const batch = batchOf(tokens, plan, 5);

  test('is windows of the text, with the token that follows each', () => {
    expect(batch).toMatchObject({ count: 64, length: 10 });
    expect(batch.labels).toEqual(batch.inputs.map((token) => token + 1));
    for (let w = 0; w < 64; w++) {
      const window = [...batch.inputs.subarray(10 * w, 10 * w + 10)];
      expect(window).toEqual(window.map((_, i) => window[0] + i));
    }
  });

  test('depends on nothing but seed and step', () => {
    expect(batchOf(tokens, plan, 5)).toEqual(batch);
    expect(batchOf(tokens, plan, 6)).not.toEqual(batch);
    expect(batchOf(tokens, { ...plan, seed: 4 }, 5)).not.toEqual(batch);
  });

  test('comes from anywhere in the text, its last token included', () => {
    const short = tokens.subarray(0, 13);
    const seen = new Set<number>();
    for (let step = 0; step < 20; step++) for (const id of batchOf(short, plan, step).labels) seen.add(id);
    expect(seen).toEqual(new Set(countFrom(1, 12)));
  });
});

test('held-out windows are spread over the text and always the same', () => {
  const windows = evenWindows(tokens, 100, 4);
  expect(windows.count).toBe(4);
  expect([0, 100, 200, 300].map((i) => windows.inputs[i])).toEqual([0, 200, 400, 600]);
  expect(evenWindows(tokens, 100, 50).count).toBe(9);
  const last = someWindows(evenWindows(tokens, 100, 50), 8, 9);
  expect([last.inputs[0], last.labels[99]]).toEqual([800, 900]);
});

test('the last twentieth of a text is held out', () => {
  const { train, heldOut } = holdOut(tokens);
  expect([train.length, heldOut.length, heldOut[0]]).toEqual([950, 50, 950]);
});

test('guessing by frequency costs the entropy of the frequencies', () => {
  // Counted once more than they occur: 3 + 1 and 1 + 1 of 6.
  const want = -(Math.log(4 / 6) + Math.log(2 / 6)) / 2;
  expect(unigramLoss(Uint8Array.of(0, 0, 1, 0), Uint32Array.of(0, 1), 2)).toBeCloseTo(want, 12);
});

describe('text that cannot be trained on is refused', () => {
  const check = (train: Uint32Array, heldOut: Uint32Array, vocabulary = 1000) =>
    expect(() => checkData({ train, heldOut }, plan, vocabulary));

  test('shorter than a batch', () => {
    check(tokens.subarray(0, 640), tokens).toThrow(/has 640 tokens to train on; a batch of 64 windows of 10 takes 641/);
    check(tokens.subarray(0, 641), tokens).not.toThrow();
  });
  test('held-out text shorter than a window', () => {
    check(tokens, tokens.subarray(0, 10)).toThrow(/There are 10 held-out tokens; a window of 10 takes 11/);
  });
  test('tokens beyond the vocabulary', () => {
    check(tokens, tokens, 999).toThrow(/token id 999; the model's vocabulary is 999/);
    check(tokens, tokens, 999).toThrow(InputError);
  });
});
