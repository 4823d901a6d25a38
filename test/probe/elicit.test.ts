import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { InputError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { type ElicitOptions, type ElicitTask, elicit } from '../../src/probe/elicit.ts';
import { stateStatistics } from '../../src/probe/targets.ts';
import { type TinyModel, tinyModel } from './tiny-model.ts';

let context: Context;
let tiny: TinyModel;
beforeAll(async () => {
  context = await testContext();
  tiny = await tinyModel(context, 3);
});
afterAll(() => {
  tiny.model.dispose();
  context.destroy();
});

const D = 16;
const TEXT = Uint32Array.of(7, 7, 0, 30);
const PREFIX = Uint32Array.of(3, 1, 4);

function forced(tasks: readonly ElicitTask[], options?: ElicitOptions) {
  const { model, twin, head } = tiny;
  const natural = { ...stateStatistics(twin.residualStates([1, 2, 3, 4, 5]).at(-1)!, D), centredNorm: 40 };
  return elicit(model, twin, tasks, { head, natural }, { margin: 0.2, ...options });
}

/** Margins of a text after rows of free vectors in float64, by the twin and nothing of the probe. */
function margins(rows: Float32Array, prefix: Uint32Array, text: Uint32Array): number[] {
  const { twin } = tiny;
  const held = twin.prefix();
  twin.extend(twin.embed(prefix), held);
  const logits = twin.logits(twin.extend(rows, held));
  const size = twin.config.vocabularySize;
  return Array.from(text, (token, t) => {
    const row = [...logits.subarray(t * size, (t + 1) * size)];
    return row[token] - Math.max(...row.filter((_, v) => v !== token));
  });
}

test('texts are forced with and without a prefix, by the margin, in f32 and in float64', async () => {
  const tasks = [{ text: TEXT }, { text: TEXT, prefix: PREFIX }, { text: Uint32Array.of(11), prefix: PREFIX }];
  const results = await forced(tasks);
  results.forEach(({ forced, solved, tokens, rows, prefix, continuation }, i) => {
    const { text } = tasks[i];
    expect(forced && solved).toBe(true);
    expect(tokens.map(({ token }) => token)).toEqual([...text]);
    expect(rows).toHaveLength(text.length * D);
    margins(rows, prefix, text).forEach((margin, t) => {
      expect(margin).toBeGreaterThanOrEqual(0.2);
      expect(tokens[t].exactMargin).toBeCloseTo(margin, 10);
      expect(tokens[t].margin).toBeCloseTo(margin, 3);
    });
    expect(continuation[0]).toBe(text.at(-1));
  });
});

test('what the model says then is what the twin says, to the end of the context', async () => {
  const [{ rows, continuation }] = await forced([{ text: TEXT, prefix: PREFIX }]);
  const { twin } = tiny;
  const held = twin.prefix();
  twin.extend(twin.embed(PREFIX), held);
  let state: Float64Array = twin.extend(rows, held).slice(-D);
  const said: number[] = [];
  for (;;) {
    const logits = twin.logits(state);
    said.push(logits.indexOf(Math.max(...logits)));
    if (held.length === 12) break;
    state = twin.extend(twin.embed(said.slice(-1), held.length), held);
  }
  expect([...continuation]).toEqual(said);
  const [short] = await forced([{ text: TEXT, prefix: PREFIX }], { continuation: 0 });
  expect([...short.continuation]).toEqual([TEXT.at(-1)]);
});

test('a text that fills the context leaves no room to go on', async () => {
  const prefix = Uint32Array.from({ length: 10 }, (_, t) => t);
  const [{ forced: all, continuation }] = await forced([{ text: Uint32Array.of(5, 11), prefix }]);
  expect(all).toBe(true);
  expect([...continuation]).toEqual([11]);
});

describe('stopped', () => {
  test('before it begins, it has forced nothing', async () => {
    const [result] = await forced([{ text: TEXT }], { signal: AbortSignal.abort() });
    expect(result).toMatchObject({ forced: false, solved: false, solutions: [], tokens: [] });
    expect(result.continuation).toHaveLength(0);
  });

  test('half way, it tells of the tokens it came to, and leaves no buffer behind', async () => {
    const { liveBytes } = context.pool.statistics;
    const controller = new AbortController();
    const [result] = await forced([{ text: TEXT }], {
      signal: controller.signal,
      onSolution: (_, { position }) => position === 1 && controller.abort(),
    });
    expect(result.forced).toBe(false);
    expect(result.solutions).toHaveLength(2);
    expect(result.tokens.map(({ token }) => token)).toEqual([7, 7]);
    expect(result.tokens.every(({ margin }) => margin > 0)).toBe(true);
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
  });
});

test.each<[string, ElicitTask]>([
  ['no text', { text: new Uint32Array() }],
  ['a token that is none', { text: Uint32Array.of(1, 31) }],
  ['more than the context', { text: new Uint32Array(10), prefix: PREFIX }],
])('%s is refused', async (_, task) => {
  await expect(forced([task])).rejects.toThrow(InputError);
});
