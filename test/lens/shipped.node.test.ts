import { afterAll, beforeAll, expect, test } from 'vitest';
import { testContext } from '#context';
import type { Context } from '../../src/gpu/context.ts';
import { folderSource } from '../../src/io/folder.node.ts';
import { fitLens } from '../../src/lens/fit.ts';
import { type LayerLens, NOISE_FLOOR } from '../../src/lens/lens.ts';
import { createScorer, type Ranking } from '../../src/lens/scorer.ts';
import { lensesOf } from '../../src/lens/store.ts';
import { forward } from '../../src/model/forward.ts';
import { type LoadedModel, loadModel, openModel } from '../../src/model/load.ts';
import { countFrom } from '../../src/model/model.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { read, takeBytes, upload } from '../../src/tensor/tensor.ts';
import { DEFAULT_MODEL } from '../support/fixtures.node.ts';

let context: Context;
let model: LoadedModel;
beforeAll(async () => {
  context = await testContext();
  model = await loadModel(context, await openModel(folderSource(DEFAULT_MODEL)));
});
afterAll(() => {
  model.dispose();
  context.destroy();
});

const TEXTS = [
  'We sailed at dawn, and by noon the island was no more than a line of smoke upon the water.',
  'The lamp went out before midnight; nobody in the house had heard the bell.',
  '"You are late," said the old woman, without looking up from her knitting.',
  'It was not until the following spring that the letter came, and then it was opened by the wrong hand.',
  'Chapter II. In which a bargain is struck, two horses change their owners, and a promise is forgotten.',
];

/** How far two arrays lie apart, relative to the second. */
function relative(a: Float32Array, b: Float32Array): number {
  return Math.hypot(...a.map((value, i) => value - b[i])) / Math.hypot(...b);
}

/** The likeliest token of every position of some prompts, from their states. */
async function proposals(lens: LayerLens, prompts: readonly Uint32Array[]): Promise<Uint32Array[]> {
  const d = model.config.width;
  const scorers = await Promise.all(
    [lens.first, lens.rest].map((linear) => createScorer(model, linear, NOISE_FLOOR * lens.rms)),
  );
  const proposed: Uint32Array[] = [];
  for (const ids of prompts) {
    const states = forward(model, ids, { layer: lens.layer });
    const h = await read(states);
    states.dispose();
    const rows = (begin: number, end: number) => upload(context, h.slice(begin * d, end * d), [end - begin, d]);
    const ranked = async (rank: () => Ranking) => {
      const ranking = context.scope(rank);
      return ranking.decode(...((await takeBytes(ranking.tensors)) as Parameters<Ranking['decode']>)).ids;
    };
    const [first, rest] = scorers;
    const n = ids.length;
    proposed.push(
      Uint32Array.of(
        ...(await ranked(() => first.propose(rows(0, 1), undefined, Uint32Array.of(0), 1))),
        ...(await ranked(() => rest.propose(rows(1, n), rows(0, n - 1), countFrom(1, n - 1), 1))),
      ),
    );
  }
  for (const scorer of scorers) scorer.dispose();
  return proposed;
}

/** Share of places at which two lists agree. */
const agreement = (a: Uint32Array[], b: Uint32Array[]): number => {
  const [left, right] = [a, b].map((lists) => lists.flatMap((list) => [...list]));
  return left.filter((value, i) => value === right[i]).length / left.length;
};

test('every layer of the default model has its lens beside the weights', async () => {
  const layers = [...countFrom(1, model.config.layers)];
  const fits: unknown[] = [];
  const signal = AbortSignal.abort(new Error('a fit was begun'));
  const lenses = await lensesOf(model, layers, { signal, onFit: (which) => fits.push(which) });
  expect(lenses.map(({ layer }) => layer)).toEqual(layers);
  expect(fits).toEqual([]);
});

test('the lens beside the weights is what a fit gives', async () => {
  const layer = 3;
  const [shipped] = await lensesOf(model, [layer]);
  const [fitted] = await fitLens(model, [layer]);
  expect(Math.abs(fitted.rms / shipped.rms - 1)).toBeLessThan(0.02);
  for (const place of ['first', 'rest'] as const) {
    const [got, want] = [fitted[place], shipped[place]];
    expect(Math.abs(got.kappa / want.kappa - 1)).toBeLessThan(0.25);
    expect(relative(got.embedding, want.embedding)).toBeLessThan(0.15);
    expect(relative(got.covariance, want.covariance)).toBeLessThan(0.15);
    if (want.previous) expect(relative(got.previous!, want.previous)).toBeLessThan(0.15);
  }

  const ids = TEXTS.map((text) => model.tokenizer!.encode(text));
  const [by, asShipped] = [await proposals(fitted, ids), await proposals(shipped, ids)];
  expect(agreement(by, asShipped)).toBeGreaterThanOrEqual(0.99);
  expect(agreement(asShipped, ids)).toBeGreaterThanOrEqual(0.99);
});

test('at every layer it names the token of nearly every position, of text and of random tokens', async () => {
  const { next } = seededRandom(12);
  const random = Array.from({ length: 3 }, () =>
    Uint32Array.from({ length: 30 }, () => Math.floor(next() * model.config.vocabularySize)),
  );
  const texts = TEXTS.slice(0, 3).map((text) => model.tokenizer!.encode(text));
  for (const lens of await lensesOf(model, [...countFrom(1, model.config.layers)])) {
    const proposed = await proposals(lens, [...texts, ...random]);
    const of = (begin: number, prompts: Uint32Array[]) => agreement(proposed.slice(begin, begin + 3), prompts);
    expect(of(0, texts), `text, layer ${lens.layer}`).toBeGreaterThanOrEqual(0.98);
    expect(of(3, random), `random tokens, layer ${lens.layer}`).toBeGreaterThanOrEqual(0.9);
  }
});
