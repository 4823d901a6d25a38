import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Checkpoint } from '../../src/io/checkpoint.ts';
import { folderSource } from '../../src/io/folder.node.ts';
import { openCheckpoint } from '../../src/io/sharded.ts';
import { type ModelConfig, parseConfig } from '../../src/model/config.ts';
import { digest, resolveParameters } from '../../src/model/parameters.ts';
import { loadReferenceModel, type ReferenceModel } from '../../src/model/reference.ts';
import { embedding } from '../../src/reference/embedding.ts';
import { softmax } from '../../src/reference/softmax.ts';
import { rmsError } from '../support/agree.ts';
import { FIXTURES } from '../support/fixture-names.ts';
import { DEFAULT_MODEL, fixture, openFile, shared } from '../support/fixtures.node.ts';
import { hashedCheckpoint } from '../support/hashed.ts';

/** f64 against f64: only the order of sums differs. */
const F64_ERROR = 1e-12;
/** transformers rounds GPT-Neo's queries, keys and attention weights to f32, whatever the type of the model. */
const F32_ATTENTION_ERROR = 1e-6;

function readConfig(folder: string): ModelConfig {
  return parseConfig(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')), 'config.json');
}

async function twinOf(config: ModelConfig, checkpoint: Checkpoint): Promise<ReferenceModel> {
  const names = resolveParameters(config, checkpoint);
  return loadReferenceModel(config, (name) => checkpoint.float32(names.get(name)!));
}

async function openTwin(folder: string): Promise<ReferenceModel> {
  return twinOf(readConfig(folder), await openFolder(folder));
}

/** The weights of a model, closed when the test ends. */
async function openFolder(folder: string): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(folderSource(folder));
  onTestFinished(() => checkpoint.close());
  return checkpoint;
}

/** The worst error of the residual states and the logits, over the kept positions of every sequence, in units of the RMS. */
async function worstErrors(twin: ReferenceModel, reference: Checkpoint): Promise<{ states: number; logits: number }> {
  const { width, vocabularySize, layers } = twin.config;
  const [batch, length] = reference.tensors.get('input_ids')!.shape;
  const ids = await reference.float64('input_ids'); // (B, T)
  const positions = reference.tensors.has('positions')
    ? [...(await reference.float64('positions'))]
    : Array.from({ length }, (_, t) => t); // (P)

  const got: Float64Array[] = Array.from(
    { length: layers + 1 },
    () => new Float64Array(batch * positions.length * width),
  );
  const logits = new Float64Array(batch * positions.length * vocabularySize); // (B, P, V)
  for (let b = 0; b < batch; b++) {
    const states = twin.residualStates(ids.subarray(b * length, (b + 1) * length)); // (T, d) each
    states.forEach((state, layer) => {
      got[layer].set(embedding(positions, state, width), b * positions.length * width); // (B, P, d)
    });
    logits.set(twin.logits(embedding(positions, states[layers], width)), b * positions.length * vocabularySize);
  }

  const errors = await Promise.all(
    got.map(async (state, layer) => rmsError(state, await reference.float64(`residual.${layer}`))),
  );
  return { states: Math.max(...errors), logits: rmsError(logits, await reference.float64('logits')) };
}

describe('the float64 twin against transformers in float64', () => {
  it.each(FIXTURES)('%s', async (name) => {
    const folder = fixture(name)!;
    const errors = await worstErrors(await openTwin(folder), await openFile(folder, 'reference.safetensors'));
    const bound = name === 'gptneo' ? F32_ATTENTION_ERROR : F64_ERROR;
    expect(errors.states).toBeLessThan(bound);
    expect(errors.logits).toBeLessThan(bound);
  });

  /** The logits of the hashed fixtures are stored in f32. */
  async function hashedErrors(name: string) {
    const folder = fixture(name)!;
    const config = readConfig(folder);
    const twin = await twinOf(config, hashedCheckpoint(config));
    const errors = await worstErrors(twin, await openFile(folder, 'reference.safetensors'));
    expect(errors.states).toBeLessThan(F64_ERROR);
    expect(errors.logits).toBeLessThan(1e-6);
  }

  it('hashed-d64', () => hashedErrors('hashed-d64'));

  it('hashed-gpt2-small', async ({ skip }) => {
    skip(!fixture('hashed-gpt2-small'), 'needs ../shared/fixtures/hashed-gpt2-small');
    await hashedErrors('hashed-gpt2-small');
  });

  it('the default model', async () => {
    const twin = await openTwin(DEFAULT_MODEL);
    const reference = await openFile(fixture('preimage-books')!, 'reference.safetensors');
    const { layers, width } = twin.config;
    for (const text of [0, 1, 2]) {
      const states = twin.residualStates(await reference.float64(`${text}.input_ids`)); // (T, d) each
      for (let layer = 0; layer <= layers; layer++) {
        const error = rmsError(states[layer], await reference.float64(`${text}.residual.${layer}`));
        expect(error).toBeLessThan(F64_ERROR);
      }
      const last = twin.logits(states[layers].subarray(-width)); // (1, V)
      expect(rmsError(last, await reference.float64(`${text}.logits.last`))).toBeLessThan(F64_ERROR);
    }
  });
});

describe('the float64 twin against values others published for their models', () => {
  it('llm-viz-sort: blocks, logits and probabilities, in f32', async () => {
    const folder = fixture('llm-viz-sort')!;
    const twin = await openTwin(folder);
    const published = await openFile(folder, 'published_partials.safetensors');
    const ids = await published.float64('idx'); // (3, 11)
    for (const [layer, name] of ['x', 'block0', 'block1', 'block2'].entries()) {
      const states = [0, 1, 2].flatMap((b) => [...twin.residualStates(ids.subarray(11 * b, 11 * b + 11))[layer]]);
      const error = rmsError(states, await published.float64(name));
      expect(error).toBeLessThan(2e-5);
    }
    const logits = twin.logits(await published.float64('block2')); // (33, 3)
    expect(rmsError(logits, await published.float64('lm_head'))).toBeLessThan(2e-5);
    expect(rmsError(softmax(logits, 3), await published.float64('probs'))).toBeLessThan(2e-5);
  });

  it.for(['gpt2-basic-258', 'gpt2-basic-4096'])('%s: top-1 everywhere, logits to 0.1', async (name, { skip }) => {
    const folder = shared(`data/models/${name}`);
    if (!folder) return skip(`needs ../shared/data/models/${name}`);
    const twin = await openTwin(folder);
    for (const { ids, logits: published } of publishedVectors(folder)) {
      const state = twin.residualStates(ids)[twin.config.layers]; // (T, d)
      const logits = twin.logits(state.subarray(-twin.config.width)); // (1, V)
      expect(logits.indexOf(Math.max(...logits))).toBe(published[0].token);
      const worst = Math.max(...published.map(({ token, logit }) => Math.abs(logits[token] - logit)));
      expect(worst).toBeLessThan(0.1);
    }
  });
});

/** Lines `V|name|length|ids|count|token:logit,...`, best first, logits as integers of 1/4096. */
function publishedVectors(folder: string) {
  const lines = readFileSync(join(folder, 'published_vectors.txt'), 'utf8').split('\n');
  return lines
    .filter((line) => line.startsWith('V|'))
    .map((line) => {
      const [, , , ids, , logits] = line.trim().split('|');
      const pairs = logits.split(',').map((pair) => pair.split(':').map(Number));
      return {
        ids: ids.split(',').map(Number),
        logits: pairs.map(([token, fixed]) => ({ token, logit: fixed / 4096 })),
      };
    });
}

/** By Python's hashlib from the files, not by this code. */
const DIGESTS = [
  ['gpt2-sharded', '4fa3189bdcdb4cf4'],
  ['gpt2-old-names', '06ef9d7dbdb767f1'],
  ['gpt2-bf16', '11999ef25d067df1'],
  ['gptneo', 'f1a6640ba0533721'],
];

describe('digest', () => {
  it.each(DIGESTS)('of %s is what another implementation computes', async (name, want) => {
    const folder = fixture(name)!;
    expect(await digest(await openFolder(folder), readConfig(folder))).toBe(want);
  });
});
