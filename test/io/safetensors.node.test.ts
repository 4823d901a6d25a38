import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { SafeTensor } from 'safetensors/dist/safetensors.es.js';
import { expect, test } from 'vitest';
import { bytesFromArray } from '../../src/io/blobs.ts';
import type { Checkpoint, Dtype } from '../../src/io/checkpoint.ts';
import { folderSource } from '../../src/io/folder.node.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { encodeSafetensors } from '../../src/io/safetensors-writer.ts';
import { openCheckpoint } from '../../src/io/sharded.ts';

const fixtures = fileURLToPath(new URL('../../../shared/fixtures/', import.meta.url));
const weights = fileURLToPath(new URL('../../weights/', import.meta.url));

test('the default model reads', async () => {
  const checkpoint = await openCheckpoint(folderSource(weights));
  expect(checkpoint.tensors.size).toBeGreaterThan(70);
  for (const name of checkpoint.tensors.keys()) {
    expect((await checkpoint.float32(name)).every(Number.isFinite)).toBe(true);
  }
  await checkpoint.close();
});

test('the npm package safetensors reads our files as we do', async () => {
  const model = await openCheckpoint(folderSource(weights));
  const bytes = encodeSafetensors(await copyTensors(model));
  const ours = await openSafetensors(bytesFromArray('copy', bytes));
  const theirs = new SafeTensor(bytes);
  for (const [name, info] of model.tensors) {
    expect(theirs.metadata.get(name)).toMatchObject({ dtype: info.dtype, shape: info.shape });
    expect(ours.tensors.get(name)).toMatchObject({ dtype: info.dtype, shape: info.shape });
    const expected = await model.bytes(name);
    expect(equal(theirs.getTensor(name), expected) && equal(await ours.bytes(name), expected)).toBe(true);
  }
  await model.close();
});

// Where ../shared/fixtures is absent these are reported as skipped.
test.skipIf(!existsSync(fixtures)).each(['gpt2-f16', 'gpt2-bf16', 'gpt2-sharded', 'gpt2-old-names', 'train'])(
  'fixture %s reads and is copied without change',
  async (folder) => {
    const model = await openCheckpoint(folderSource(`${fixtures}${folder}`));
    const bytes = encodeSafetensors(await copyTensors(model), model.metadata);
    const copy = await openSafetensors(bytesFromArray('copy', bytes));
    expect(copy.metadata).toEqual(model.metadata);
    expect(copy.tensors.size).toBe(model.tensors.size);
    for (const name of model.tensors.keys()) expect(await copy.float64(name)).toEqual(await model.float64(name));
    await model.close();
  },
);

async function copyTensors(model: Checkpoint) {
  const copies = [];
  for (const [name, { dtype, shape }] of model.tensors) {
    copies.push({ name, dtype: dtype as Dtype, shape, data: await model.bytes(name) });
  }
  return copies;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}
