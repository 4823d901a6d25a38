import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { testContext } from '#context';
import type { Context } from '../../src/gpu/context.ts';
import { bytesFromArray } from '../../src/io/blobs.ts';
import type { Checkpoint } from '../../src/io/checkpoint.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import type { SafetensorsStream } from '../../src/io/safetensors-writer.ts';
import { parseConfig } from '../../src/model/config.ts';
import { forward } from '../../src/model/forward.ts';
import { initialCheckpoint } from '../../src/model/initial.ts';
import { type LoadedModel, loadModel, modelFiles } from '../../src/model/load.ts';
import { countFrom } from '../../src/model/model.ts';
import { parametersOf, publishedName } from '../../src/model/parameters.ts';
import { read } from '../../src/tensor/tensor.ts';
import { readTraining, type SavedTraining, trainingFile, weightsFile } from '../../src/train/checkpoint.ts';
import { train } from '../../src/train/train.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const sizes = { vocab_size: 13, max_position_embeddings: 12, hidden_size: 16, num_layers: 2, num_heads: 2 };
const attention = { attention_types: [[['global', 'local'], 1]], window_size: 5 };
const config = parseConfig({ model_type: 'gpt_neo', ...sizes, ...attention }, 'config.json');
const tokens = Uint8Array.from({ length: 400 }, (_, i) => [3, 1, 4, 1, 5, 9, 2, 6][i % 8]);
const data = { train: tokens, heldOut: tokens };
const PLAN = { steps: 12, batch: 4, learningRate: 1e-2, seed: 5 } as const;

async function load(checkpoint: Checkpoint): Promise<LoadedModel> {
  const model = await loadModel(context, modelFiles('small', config, checkpoint));
  onTestFinished(model.dispose);
  return model;
}

async function open({ sizeBytes, bytes }: SafetensorsStream): Promise<Checkpoint> {
  const file = new Uint8Array(sizeBytes);
  let at = 0;
  for await (const part of bytes()) {
    file.set(part, at);
    at += part.length;
  }
  return openSafetensors(bytesFromArray('file', file));
}

test('a GPT-Neo learns, and its files hold queries, keys and values apart, as transformers wants them', async () => {
  const model = await load(initialCheckpoint(config, 1));
  const files: Checkpoint[] = [];
  const { losses } = await train(model, data, {
    ...PLAN,
    steps: 60,
    onCheckpoint: async (state) => void files.push(await open(weightsFile(state)), await open(trainingFile(state))),
  });
  expect(losses[0]).toBeCloseTo(Math.log(13), 1);
  expect(losses.at(-1)).toBeLessThan(0.5);

  const [weights, state] = files;
  const stored = [...parametersOf(config)].map(({ name, shape }) => [publishedName(name), shape] as const);
  expect(new Map([...weights.tensors].map(([name, { shape }]) => [name, shape]))).toEqual(new Map(stored));
  for (const [name, shape] of stored) expect(state.tensors.get(`optimizer.square.${name}`)!.shape).toEqual(shape);
  const ids = countFrom(0, 12);
  const [trained, again] = [model, await load(weights)].map((one) => forward(one, ids));
  expect(await read(again)).toEqual(await read(trained));
});

test('training goes on from a state as if it had never stopped', async () => {
  const unbroken = await train(await load(initialCheckpoint(config, 1)), data, PLAN);
  let saved: SavedTraining | undefined;
  const stop = new AbortController();
  await train(await load(initialCheckpoint(config, 1)), data, {
    ...PLAN,
    signal: stop.signal,
    onStep: ({ step }) => step === 5 && stop.abort(),
    onCheckpoint: async (state) => {
      saved = await readTraining(await open(trainingFile(state)));
    },
  });
  expect(saved!.losses).toHaveLength(5);
  const resumed = await train(await load(saved!.checkpoint), data, { resume: saved });
  expect(resumed.losses).toEqual(unbroken.losses);
});
