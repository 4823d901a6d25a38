import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import type { Context } from '../../src/gpu/context.ts';
import { decodeBF16, encodeBF16 } from '../../src/io/dtype.ts';
import { forward } from '../../src/model/forward.ts';
import { type LoadedModel, loadModel, openModel } from '../../src/model/load.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { invert, invertMany } from '../../src/sipit/invert.ts';
import type { Inversion, StateRecord } from '../../src/sipit/types.ts';
import { take } from '../../src/tensor/tensor.ts';

let context: Context;
let model: LoadedModel;
beforeAll(async () => {
  context = await testContext();
  model = await loadModel(context, await openModel(checkoutSource('weights')));
});
afterAll(() => {
  model.dispose();
  context.destroy();
});

const TEXTS = [
  'It was past midnight when the stranger knocked softly at our door.',
  'Go.',
  'The captain had been three years at sea, and he knew the coast as well as any man alive.',
  '"I have seen nothing of it," said she, "nor do I wish to."',
  'We sailed at dawn.',
];

async function recordOf(ids: Uint32Array, layer: number, on = model): Promise<StateRecord> {
  const values = await take(forward(on, ids, { layer }));
  return { values, width: on.config.width, layer, dtype: 'F32' };
}

const idsOf = (text: string): Uint32Array => model.tokenizer!.encode(text);

/** Noise of this share of each state's RMS. */
function noisy(record: StateRecord, level: number, seed: number): StateRecord {
  const { normal } = seededRandom(seed);
  const { values, width } = record;
  const spoilt = values.slice();
  for (let t = 0; t < values.length; t += width) {
    const rms = Math.sqrt(values.subarray(t, t + width).reduce((sum, value) => sum + value * value, 0) / width);
    normal(width, level * rms).forEach((error, i) => {
      spoilt[t + i] += error;
    });
  }
  return { ...record, values: spoilt };
}

/** No accepted token is another than the true one. */
function expectNoSilentError({ positions }: Inversion, ids: Uint32Array): void {
  for (const { position, verdict, token, reason } of positions) {
    if (verdict === 'accepted') expect(token).toBe(ids[position]);
    else expect(reason).toMatch(/\w+ \w+/);
  }
}

describe('prompts of any lengths, side by side', () => {
  test('come back as each does alone, in their order, at about the cost of a forward pass', async () => {
    const records = await Promise.all(TEXTS.map((text) => recordOf(idsOf(text), 3)));
    const together: Inversion[] = [];
    for await (const { inversion } of invertMany(model, records)) together.push(inversion!);
    expect(together.map(({ text }) => text)).toEqual(TEXTS);
    for (const [i, inversion] of together.entries()) {
      const alone = await invert(model, records[i]);
      expect(inversion).toMatchObject({ exact: true, scope: 'calibrated', tokens: alone.tokens });
      expect(inversion.cost.forwardEquivalents).toBeLessThan(2);
    }
  });

  test('one with NaN is reported, and the others are recovered', async () => {
    const [good, bad, other] = await Promise.all(TEXTS.slice(0, 3).map((text) => recordOf(idsOf(text), 1)));
    bad.values[7] = Number.NaN;
    const results = [];
    for await (const result of invertMany(model, [good, bad, other])) results.push(result);
    expect(results.map(({ record }) => record)).toEqual([good, bad, other]);
    expect(results[1].error?.message).toContain('NaN at position 0, dimension 7');
    expect([results[0].inversion?.text, results[2].inversion?.text]).toEqual([TEXTS[0], TEXTS[2]]);
  });
});

describe('noise', () => {
  test.each([1, 3, 6])('of a hundredth of the RMS costs nothing, told of or not: layer %i', async (layer) => {
    const ids = idsOf(TEXTS[2]);
    const record = noisy(await recordOf(ids, layer), 0.01, layer);
    for (const noise of [{ gaussian: 0.01 }, undefined]) {
      const result = await invert(model, record, { noise });
      expect(result).toMatchObject({ exact: true, tokens: [...ids] });
      expect(result.cost.forwardEquivalents).toBeLessThan(2);
      expect(result.noise).toBeCloseTo(0.01, 2);
    }
  });

  test.each([0.1, 0.2, 0.5])('of %f of the RMS passes no wrong token off as recovered', async (gaussian) => {
    for (const [i, text] of TEXTS.entries()) {
      const ids = idsOf(text);
      const result = await invert(model, noisy(await recordOf(ids, 6), gaussian, i), { noise: { gaussian } });
      expectNoSilentError(result, ids);
      if (gaussian === 0.1) expect(result.exact).toBe(true);
    }
  });

  test('in half precision needs no telling', async () => {
    const ids = idsOf(TEXTS[0]);
    const { values, ...record } = await recordOf(ids, 6);
    const stored = { ...record, dtype: 'BF16' as const, values: values.map((value) => decodeBF16(encodeBF16(value))) };
    expect(await invert(model, stored)).toMatchObject({ exact: true, tokens: [...ids] });
  });
});

test('the state of another prompt is flagged, and every other token comes back', async () => {
  const ids = idsOf(TEXTS[0]);
  const record = await recordOf(ids, 3);
  const other = await recordOf(idsOf(TEXTS[2]), 3);
  const { width } = record;
  const replaced = 7;
  record.values.set(other.values.subarray(replaced * width, (replaced + 1) * width), replaced * width);
  const result = await invert(model, record);
  expect(result.exact).toBe(false);
  expect(result.positions[replaced].verdict).not.toBe('accepted');
  expect(result.tokens.filter((token, t) => t !== replaced && token !== ids[t])).toEqual([]);
});

test('noise that what follows a replaced state seems to show does not explain that state', async () => {
  // Behind a wrong token all later states are a little off: most of the record, if it happens early.
  const random = seededRandom(3);
  const prompt = () => Uint32Array.from({ length: 20 }, () => Math.floor(random.next() * model.config.vocabularySize));
  for (const replaced of [1, 2, 5, 7, 12]) {
    const ids = prompt();
    const record = await recordOf(ids, 1);
    const other = await recordOf(prompt(), 1);
    const { width } = record;
    record.values.set(other.values.subarray(replaced * width, (replaced + 1) * width), replaced * width);
    const { positions } = await invert(model, record);
    const silent = positions.filter(({ token, verdict }, t) => verdict === 'accepted' && token !== ids[t]);
    expect(silent).toEqual([]);
    expect(positions[replaced].verdict).toBe('not found');
  }
});

test('a proof enumerates the vocabulary: true margins are no less than those by calibration', async () => {
  const ids = idsOf('We sailed at dawn.');
  const record = await recordOf(ids, 3);
  const calibrated = await invert(model, record);
  const proved = await invert(model, record, { prove: true });
  expect(proved).toMatchObject({ exact: true, scope: 'vocabulary', tokens: [...ids] });
  for (const [t, { margin, candidates, othersBeyond, runnerUp }] of proved.positions.entries()) {
    expect(candidates).toBe(model.config.vocabularySize);
    expect(othersBeyond).toBeUndefined();
    expect(runnerUp!.distance).toBeGreaterThan(1);
    expect(margin).toBeGreaterThanOrEqual(calibrated.positions[t].margin!);
  }
});

describe('a first position a thousand times longer than the others', () => {
  let massive: LoadedModel;
  beforeAll(async () => {
    massive = await loadModel(context, await openModel(checkoutSource('test/data/gpt2-massive')));
  });
  afterAll(() => massive.dispose());

  const random = seededRandom(8);
  const prompt = () =>
    Uint32Array.from({ length: 12 }, () => Math.floor(random.next() * massive.config.vocabularySize));

  test('is exact at every layer', async () => {
    for (let layer = 0; layer <= massive.config.layers; layer++) {
      const ids = prompt();
      expect(await invert(massive, await recordOf(ids, layer, massive))).toMatchObject({
        exact: true,
        tokens: [...ids],
      });
    }
  });

  test('in bf16 is exact, or ambiguous with the reason', async () => {
    for (let layer = 0; layer <= massive.config.layers; layer++) {
      const ids = prompt();
      const { values, ...record } = await recordOf(ids, layer, massive);
      const stored = {
        ...record,
        dtype: 'BF16' as const,
        values: values.map((value) => decodeBF16(encodeBF16(value))),
      };
      expectNoSilentError(await invert(massive, stored), ids);
    }
  });
});
