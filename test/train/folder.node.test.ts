import type * as promises from 'node:fs/promises';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest';
import { FormatError, SourceError } from '../../src/errors.ts';
import { folderSource } from '../../src/io/folder.node.ts';
import { encodeSafetensors } from '../../src/io/safetensors-writer.ts';
import { parseConfig } from '../../src/model/config.ts';
import { openModel } from '../../src/model/load.ts';
import { parametersOf, publishedName } from '../../src/model/parameters.ts';
import { sizeOf } from '../../src/reference/shape.ts';
import type { TrainingState } from '../../src/train/checkpoint.ts';
import { isEmptyFolder, openTraining, writeTrainingFolder } from '../../src/train/folder.node.ts';
import { completePlan } from '../../src/train/plan.ts';

/** Bytes that still fit the disk. */
const disk = vi.hoisted(() => ({ room: Number.POSITIVE_INFINITY }));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof promises>();
  async function* whileThereIsRoom(content: AsyncIterable<Uint8Array> | Uint8Array) {
    for await (const piece of content instanceof Uint8Array ? [content] : content) {
      disk.room -= piece.length;
      if (disk.room < 0) throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
      yield piece;
    }
  }
  return {
    ...real,
    writeFile: (file: string, content: Uint8Array) => real.writeFile(file, whileThereIsRoom(content)),
  };
});

const sizes = { model_type: 'gpt2', vocab_size: 11, n_positions: 8, n_embd: 8, n_layer: 1, n_head: 2 };
const config = parseConfig(sizes, 'config.json');

/** A state in which every weight is the number of steps. */
function stateAt(step: number): TrainingState {
  const weights = [...parametersOf(config)].map(({ name, shape }) => ({
    name: publishedName(name),
    dtype: 'F32' as const,
    shape,
    pieces: () => [new Float32Array(sizeOf(shape)).fill(step)],
  }));
  return {
    plan: completePlan({ steps: 10 }, config),
    losses: new Float32Array(step).fill(5),
    evaluations: [{ step: 0, loss: 6.25 }],
    seconds: 1.5,
    unigramLoss: 2,
    weights,
    memory: weights.map((weight) => ({ ...weight, name: `optimizer.mean.${weight.name}` })),
  };
}

const content = {
  config,
  tokenizerFiles: new Map([['tokenizer.json', new TextEncoder().encode('{}')]]),
  about: { corpus: 'a.txt' },
};

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'preimage-train-'));
  disk.room = Number.POSITIVE_INFINITY;
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const save = (step: number, where = folder) => writeTrainingFolder(where, stateAt(step), content);

async function saved() {
  const found = await openTraining(folder);
  onTestFinished(() => found.checkpoint.close());
  return found;
}

describe('a folder of training', () => {
  test('gives back the state that was written', async () => {
    await save(3);
    const { losses, evaluations, seconds, plan, about, checkpoint } = await saved();
    expect([...losses]).toEqual([5, 5, 5]);
    expect(evaluations).toEqual([{ step: 0, loss: 6.25 }]);
    expect(seconds).toBe(1.5);
    expect(plan).toEqual(stateAt(3).plan);
    expect(about).toEqual({ corpus: 'a.txt', config: sizes });
    expect((await checkpoint.float32('optimizer.mean.transformer.ln_f.bias'))[7]).toBe(3);
  });

  test('is a model folder, with a report for people and machines', async () => {
    await save(4, join(folder, 'new/runs'));
    const files = (await readdir(join(folder, 'new/runs'))).sort();
    expect(files).toEqual(
      [
        'config.json',
        'loss.svg',
        'model.safetensors',
        'tokenizer.json',
        'training.json',
        'training.safetensors',
      ].sort(),
    );
    await rm(join(folder, 'new/runs/tokenizer.json'));
    const model = await openModel(folderSource(join(folder, 'new/runs')));
    expect((await model.checkpoint.float32('transformer.wte.weight'))[0]).toBe(4);
    await model.checkpoint.close();
    const report = JSON.parse(await readFile(join(folder, 'new/runs/training.json'), 'utf8'));
    expect(report).toMatchObject({ step: 4, corpus: 'a.txt', unigramLoss: 2, losses: [5, 5, 5, 5] });
  });

  test.each([
    ['in the header', 200, 1],
    ['in the middle of the tensors', 8000, 1],
    ['after the state, in the weights', 17_000, 2],
  ])('is whole when the disk is full %s', async (_, room, steps) => {
    await save(1);
    const before = (await readdir(folder)).sort();
    disk.room = room;
    const failed = save(2);
    await expect(failed).rejects.toThrow(SourceError);
    await expect(failed).rejects.toThrow(/safetensors could not be written .* no space left on device.* Free space/s);
    expect((await readdir(folder)).sort()).toEqual(before);
    const { losses, checkpoint } = await saved();
    // The state is from before, or all of it from after.
    expect(losses.length).toBe(steps);
    expect((await checkpoint.float32('transformer.wte.weight'))[0]).toBe(steps);
    await rm(join(folder, 'tokenizer.json'));
    const model = await openModel(folderSource(folder));
    expect((await model.checkpoint.float32('transformer.wte.weight'))[87]).toBe(1);
    await model.checkpoint.close();
  });

  test('that another run wrote keeps nothing of its tokenizer', async () => {
    const both = new Map([...content.tokenizerFiles, ['tokenizer_config.json', new TextEncoder().encode('{}')]]);
    await writeTrainingFolder(folder, stateAt(1), { ...content, tokenizerFiles: both });
    expect(await readdir(folder)).toContain('tokenizer_config.json');
    await save(2);
    expect(await readdir(folder)).not.toContain('tokenizer_config.json');
  });

  test('has all that going on needs as soon as it has a state', async () => {
    disk.room = 17_000; // ends in the weights
    await expect(save(1)).rejects.toThrow(/model.safetensors could not be written/);
    expect((await readdir(folder)).sort()).toEqual(['config.json', 'tokenizer.json', 'training.safetensors']);
  });

  test('that holds no state says so', async () => {
    await expect(openTraining(folder)).rejects.toThrow(/holds no training.safetensors.*nothing to go on from/);
    await writeFile(join(folder, 'training.safetensors'), encodeSafetensors([]));
    await expect(openTraining(folder)).rejects.toThrow(FormatError);
    await expect(openTraining(folder)).rejects.toThrow(/is no state of training/);
  });

  test('that is empty, or not there, can be taken', async () => {
    expect(await isEmptyFolder(folder)).toBe(true);
    expect(await isEmptyFolder(join(folder, 'none'))).toBe(true);
    await save(1);
    expect(await isEmptyFolder(folder)).toBe(false);
    await expect(isEmptyFolder(join(folder, 'config.json'))).rejects.toThrow(/not a directory/);
  });
});
