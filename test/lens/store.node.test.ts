import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, onTestFinished, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { type PreimageError, SourceError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { folderCache } from '../../src/io/cache.node.ts';
import { type LensOptions, lensesOf } from '../../src/lens/store.ts';
import { type LoadedModel, loadModel, openModel } from '../../src/model/load.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

let root: string;
let fits: (readonly number[])[];
let options: LensOptions;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'preimage-'));
  fits = [];
  options = { cache: folderCache(root), onFit: (layers) => fits.push(layers) };
});
afterEach(() => rm(root, { recursive: true }));

/** A model that no lens has been asked of yet. */
async function freshModel(name = 'gpt2-unscaled-attention'): Promise<LoadedModel> {
  const model = await loadModel(context, await openModel(checkoutSource(`test/data/${name}`)));
  onTestFinished(model.dispose);
  return model;
}

test('a fitted lens lies in a folder of its model, and the next process reads it from there', async () => {
  const model = await freshModel();
  const fitted = await lensesOf(model, [2, 1], options);
  const folder = join(root, 'lens', await model.digest());
  expect((await readdir(folder)).sort()).toEqual(['1.safetensors', '2.safetensors']);
  expect(await lensesOf(await freshModel(), [2, 1], options)).toEqual(fitted);
  expect(fits).toEqual([[2, 1]]);
});

test.each([
  ['truncated', (path: string) => truncate(path, 700)],
  ['overwritten', (path: string) => writeFile(path, 'nothing of the kind')],
])('a file that was %s is replaced by what it was', async (_, spoil) => {
  const model = await freshModel();
  const fitted = await lensesOf(model, [1], options);
  const path = join(root, 'lens', await model.digest(), '1.safetensors');
  const bytes = await readFile(path);
  await spoil(path);
  expect(await lensesOf(await freshModel(), [1], options)).toEqual(fitted);
  expect(await readFile(path)).toEqual(bytes);
  expect(fits).toHaveLength(2);
});

test('models do not get in the way of each other', async () => {
  const [one, other] = [await freshModel(), await freshModel('gpt2-relu-untied')];
  const lenses = [await lensesOf(one, [1], options), await lensesOf(other, [1], options)];
  expect(fits).toHaveLength(2);
  const again = [await freshModel(), await freshModel('gpt2-relu-untied')];
  for (const [i, model] of again.entries()) expect(await lensesOf(model, [1], options)).toEqual(lenses[i]);
  expect(fits).toHaveLength(2);
});

test('a folder that cannot be written is told of once, and the lens is used all the same', async () => {
  await writeFile(join(root, 'file'), '');
  const errors: PreimageError[] = [];
  const cache = folderCache(join(root, 'file'));
  const onCacheError = (error: PreimageError) => errors.push(error);
  const [lens] = await lensesOf(await freshModel(), [1], { ...options, cache, onCacheError });
  expect(lens.layer).toBe(1);
  expect(errors).toEqual([expect.any(SourceError)]);
  expect(errors[0].message).toContain(join(root, 'file'));
});
