import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { InputError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { bytesFromArray } from '../../src/io/blobs.ts';
import type { Checkpoint } from '../../src/io/checkpoint.ts';
import { encodeBF16, toFloat32 } from '../../src/io/dtype.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { encodeSafetensors, type TensorToWrite } from '../../src/io/safetensors-writer.ts';
import { type LoadedModel, loadModel, openModel } from '../../src/model/load.ts';
import { layernorm } from '../../src/reference/layernorm.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { placeRecords } from '../../src/sipit/find-layer.ts';
import { centred } from '../../src/sipit/foreign-centred.ts';
import { type FinalNorm, finalNormOf, isAfterNorm } from '../../src/sipit/foreign-norm.ts';
import type { ModelFacts } from '../../src/sipit/foreign-tensors.ts';
import { invert } from '../../src/sipit/invert.ts';
import { readStates } from '../../src/sipit/states-file.ts';

let context: Context;
let model: LoadedModel;
let lnF: FinalNorm;
/** Residual states 0..L of the fixture's prompt 1, [17, 24] each. */
let residual: Float32Array[];
let ids: number[];
beforeAll(async () => {
  context = await testContext();
  const source = checkoutSource('test/data/gpt2-tanh');
  model = await loadModel(context, await openModel(source));
  lnF = await finalNormOf(model);
  const file = await openSafetensors((await source.open('reference.safetensors'))!);
  residual = await Promise.all([0, 1, 2, 3].map((layer) => file.float32(`residual.${layer}`, 17 * 24, 2 * 17 * 24)));
  ids = [...(await file.float32('input_ids'))].slice(17);
  await file.close();
});
afterAll(() => {
  model.dispose();
  context.destroy();
});

const facts = (): ModelFacts => ({ lnF, layers: 3 });
const normed = (states: Float32Array): Float32Array =>
  Float32Array.from(layernorm(states, lnF.weight, lnF.bias, 1e-5).y);
const tensor = (name: string, data: Float32Array, shape = [17, 24]): TensorToWrite => ({
  name,
  dtype: 'F32',
  shape,
  data,
});
const fileOf = (tensors: readonly TensorToWrite[], metadata?: Record<string, string>): Promise<Checkpoint> =>
  openSafetensors(bytesFromArray('s.safetensors', encodeSafetensors(tensors, metadata)));

async function committed(name: string): Promise<Checkpoint> {
  return openSafetensors((await checkoutSource('test/data/foreign').open(`${name}.safetensors`))!);
}

describe('files that transformers wrote', () => {
  const prompts = [
    [5, 96, 40, 7],
    [60, 3, 11, 41, 0, 88],
  ];
  describe.each(['left-f32', 'left-bf16', 'right-f32', 'right-bf16'])('%s', (name) => {
    test.each([0, 1, 2])('every prompt comes back from layer %i', async (layer) => {
      const file = await committed(name);
      const states = await readStates(file, { ...facts(), layer });
      const { records, notes } = await placeRecords(model, states);
      expect(records.map(({ firstPosition = 0 }) => firstPosition)).toEqual([name.startsWith('left') ? 2 : 0, 0]);
      for (const [b, record] of records.entries()) {
        const { exact, tokens } = await invert(model, record);
        expect(tokens).toEqual(prompts[b]);
        expect(exact).toBe(true);
      }
      expect([...states.notes, ...notes].join(' ')).toMatch(
        /output_hidden_states.*; 3 is after the final LayerNorm.*padding/,
      );
      await file.close();
    });

    test('its last entry is known, explained and not inverted', async () => {
      const file = await committed(name);
      const failure = readStates(file, { ...facts(), layer: 3 });
      await expect(failure).rejects.toThrow(InputError);
      await expect(failure).rejects.toThrow(
        /"hidden_states(\.3|\[3\])".*after the final LayerNorm.*register_forward_pre_hook/s,
      );
      await file.close();
    });

    test('without a layer, they are listed', async () => {
      const file = await committed(name);
      const failure = readStates(file, facts());
      await expect(failure).rejects.toThrow(InputError);
      await expect(failure).rejects.toThrow(/holds layers 0 to 2 \(and 3, after the final LayerNorm\)\..*--layer 1/);
      const { records, notes } = await readStates(file, { ...facts(), layer: 'auto' });
      expect(records.map(({ layer }) => layer)).toEqual([1, 1]);
      expect(notes[1]).toMatch(/1 is taken; --layer picks another/);
      await file.close();
    });
  });

  test('the states that generate() computes have positions that do not count the padding', async () => {
    const file = await committed('generate-f32');
    const states = await readStates(file, facts());
    expect(states.records).toMatchObject([{ layer: 2, firstPosition: 2, firstPositions: [2, 0] }, { layer: 2 }]);
    const { records, notes } = await placeRecords(model, states);
    expect(records[0].firstPosition).toBe(0);
    expect(notes).toEqual(['Positions begin behind the padding, as in generate(): that fits.']);
    for (const [b, record] of records.entries()) {
      expect(await invert(model, record)).toMatchObject({ exact: true, tokens: prompts[b] });
    }
    await file.close();
  });
});

describe('names', () => {
  test.each([
    ['hidden_states.2', 2],
    ['hidden_states_2', 2],
    ['hidden_states[2]', 2],
    ['out.hidden_states.2', 2],
    ['hiddenstate2', 2],
    ['blocks.1.hook_resid_post', 2],
    ['blocks.2.hook_resid_pre', 2],
    ['transformer.h.1.output', 2],
    ['model.transformer.h.1.output.0', 2],
    ['transformer.h.1', 2],
    ['transformer.h.2.input', 2],
    ['layer_2', 2],
    ['layers.2', 2],
    ['residual.2', 2],
  ])('%s is layer %i', async (name, layer) => {
    const { records, notes } = await readStates(await fileOf([tensor(name, residual[layer])]), facts());
    expect(records).toMatchObject([{ name, layer }]);
    expect(notes).toHaveLength(1);
    expect((await invert(model, records[0])).tokens).toEqual(ids);
  });

  test.each([
    ['blocks.1.hook_resid_mid', /between the attention and the MLP/],
    ['blocks.1.hook_mlp_out', /not the residual stream/],
    ['hook_embed', /only a part of layer 0/],
    ['ln_final.hook_normalized', /after the final LayerNorm/],
    ['transformer.ln_f.output', /after the final LayerNorm/],
    ['last_hidden_state', /after the final LayerNorm/],
  ])('%s is refused', async (name, message) => {
    const failure = readStates(await fileOf([tensor(name, residual[2])]), { ...facts(), layer: 2 });
    await expect(failure).rejects.toThrow(message);
    const file = await fileOf([tensor(name, residual[1]), tensor('blocks.1.hook_resid_post', residual[2])]);
    const { records, skipped } = await readStates(file, facts());
    expect(records).toMatchObject([{ layer: 2 }]);
    expect(skipped).toMatchObject([{ name, reason: expect.stringMatching(message) }]);
  });

  test('a whole cache of TransformerLens: what two hooks both saw counts once', async () => {
    const tensors = [0, 1, 2].flatMap((block) => [
      tensor(`blocks.${block}.hook_resid_pre`, residual[block], [1, 17, 24]),
      tensor(`blocks.${block}.hook_resid_post`, residual[block + 1], [1, 17, 24]),
    ]);
    const file = await fileOf(tensors);
    await expect(readStates(file, facts())).rejects.toThrow(/holds layers 0 to 3\..*--layer 2/);
    for (const layer of [0, 1, 2, 3]) {
      const { records, notes } = await readStates(file, { ...facts(), layer });
      expect(records.map((record) => record.layer)).toEqual([layer]);
      expect(notes[0]).toMatch(/what comes out of block N is layer N \+ 1/);
      expect(await invert(model, records[0])).toMatchObject({ exact: true, tokens: ids });
    }
    const { skipped } = await readStates(file, { ...facts(), layer: 1 });
    expect(skipped).toEqual([
      { name: 'blocks.1.hook_resid_pre', reason: 'it holds the same states as blocks.0.hook_resid_post' },
    ]);
  });

  test('many prompts, each with all of its layers', async () => {
    const part = (layer: number, rows: number) => residual[layer].slice(0, rows * 24);
    const file = await fileOf(
      [2, 10].flatMap((rows) =>
        [0, 1, 2].map((layer) => tensor(`${rows}/hidden_states.${layer}`, part(layer, rows), [rows, 24])),
      ),
    );
    const { records } = await readStates(file, { ...facts(), layer: 1 });
    expect(records).toMatchObject([
      { name: '2/hidden_states.1', values: part(1, 2) },
      { name: '10/hidden_states.1', values: part(1, 10) },
    ]);
  });

  test('a mere number may count otherwise: the caller decides, or a search', async () => {
    const file = await fileOf([tensor('layer_1', residual[2])]);
    const told = await readStates(file, { ...facts(), layer: 2 });
    expect(told.records).toMatchObject([{ layer: 2 }]);
    expect(told.notes[0]).toMatch(/does not say who counts: it is taken as layer 2/);
    const { records } = await placeRecords(model, await readStates(file, { ...facts(), layer: 'auto' }));
    expect(records).toMatchObject([{ layer: 2 }]);
  });
});

describe('stacks', () => {
  const stack = (last: Float32Array) => {
    const all = [...residual.slice(0, 3), last];
    return Float32Array.from(all.flatMap((states) => [...states]));
  };

  test('[L + 1, T, d] is told from a batch by its last entry', async () => {
    const file = await fileOf([tensor('activations', stack(normed(residual[3])), [4, 17, 24])]);
    const { records, notes } = await readStates(file, { ...facts(), layer: 2 });
    expect(records).toMatchObject([{ name: 'activations[2]', layer: 2, values: residual[2] }]);
    expect(notes[0]).toMatch(/entry k is layer k.*3 is after the final LayerNorm/);
    const batch = await fileOf([tensor('activations', stack(residual[3]), [4, 17, 24])]);
    expect((await readStates(batch, { ...facts(), layer: 2 })).records).toHaveLength(4);
  });

  test('[layers, B, T, d] of all residual states holds layer L too', async () => {
    const file = await fileOf([tensor('resid', stack(residual[3]), [4, 1, 17, 24])]);
    const { records } = await readStates(file, { ...facts(), layer: 3 });
    expect(await invert(model, records[0])).toMatchObject({ exact: true, layer: 3, tokens: ids });
  });

  test('of other numbers of layers: only a search tells what counts', async () => {
    const blocks = Float32Array.from(residual.slice(1).flatMap((states) => [...states]));
    const file = await fileOf([tensor('outputs', blocks, [3, 1, 17, 24])]);
    const states = await readStates(file, { ...facts(), layer: 'auto' });
    const { records } = await placeRecords(model, states);
    expect(records).toMatchObject([{ name: 'outputs[1]', layer: 2 }]);
  });
});

describe('states after the final norm are known by their numbers', () => {
  test.each([
    ['f32', (states: Float32Array) => states],
    ['bf16', (states: Float32Array) => toFloat32('BF16', new Uint8Array(Uint16Array.from(states, encodeBF16).buffer))],
  ])('in %s, under any name, for any layer', async (_, store) => {
    const states = store(normed(residual[3]));
    for (const options of [{ layer: 3 }, { layer: 2 }, { layer: 'auto' as const }]) {
      const failure = readStates(await fileOf([tensor('mine', states)]), { ...facts(), ...options });
      await expect(failure).rejects.toThrow(InputError);
      await expect(failure).rejects.toThrow(/"mine".*after the final LayerNorm/);
    }
  });

  test('and the others are not mistaken for them, row by row', () => {
    for (const states of residual) {
      for (let t = 0; t < 17; t++) expect(isAfterNorm(states.subarray(24 * t, 24 * (t + 1)), lnF)).toBe(false);
    }
    const last = normed(residual[3]);
    for (let t = 0; t < 17; t++) expect(isAfterNorm(last.subarray(24 * t, 24 * (t + 1)), lnF)).toBe(true);
  });

  test.each([192, 768])('random states of width %i never are, their norms always', (d) => {
    const { normal } = seededRandom(d);
    const norm = { weight: normal(d, 0.2).map((value) => value + 1), bias: normal(d, 0.3) };
    for (let i = 0; i < 100; i++) {
      const row = normal(d);
      expect(isAfterNorm(row, norm)).toBe(false);
      const after = Float32Array.from(layernorm(row, norm.weight, norm.bias, 1e-5).y);
      expect(isAfterNorm(after, norm)).toBe(true);
      expect(isAfterNorm(toFloat32('BF16', new Uint8Array(Uint16Array.from(after, encodeBF16).buffer)), norm)).toBe(
        true,
      );
    }
  });

  test('no rows, NaN and a gain of zero are no evidence', () => {
    const norm = { weight: Float32Array.of(1, 0), bias: Float32Array.of(0, 0) };
    expect(isAfterNorm(Float32Array.of(1, 0), norm)).toBe(false);
    expect(isAfterNorm(new Float32Array(0), lnF)).toBe(false);
    expect(isAfterNorm(new Float32Array(24).fill(Number.NaN), lnF)).toBe(false);
  });
});

describe.each(['gpt2-tanh', 'gptneo'])('states of %s by TransformerLens, without their means', (name) => {
  test('are known, and inverted by the model centred in the same way', async () => {
    const source = checkoutSource(`test/data/${name}`);
    const reference = await openSafetensors((await source.open('reference.safetensors'))!);
    const files = await openModel(source);
    const twin = await loadModel(context, centred(files));
    const tokens = [...(await reference.float32('input_ids', 0, 15))];
    for (let layer = 0; layer <= files.config.layers; layer++) {
      const states = await reference.float32(`residual.${layer}`, 0, 15 * 24);
      const centredStates = states.map((value, i) => {
        const row = states.subarray(i - (i % 24), i - (i % 24) + 24);
        return value - row.reduce((sum, other) => sum + other, 0) / 24;
      });
      const hook = layer === 0 ? 'blocks.0.hook_resid_pre' : `blocks.${layer - 1}.hook_resid_post`;
      const read = async (values: Float32Array) => readStates(await fileOf([tensor(hook, values, [1, 15, 24])]));
      expect(await read(states)).toMatchObject({ isCentred: false });
      const { isCentred, records, notes } = await read(centredStates);
      expect(isCentred).toBe(true);
      expect(notes[1]).toMatch(/mean 0, as TransformerLens.*from_pretrained_no_processing/);
      expect(await invert(twin, records[0])).toMatchObject({ exact: true, layer, tokens });
    }
    expect(await twin.digest()).toBe(`${await files.digest()}-centred`);
    twin.dispose();
    await reference.close();
  });

  test('any part of a centred tensor is that part of the whole', async () => {
    const { checkpoint } = centred(await openModel(checkoutSource(`test/data/${name}`)));
    for (const tensor of checkpoint.tensors.keys()) {
      const whole = await checkpoint.float32(tensor);
      for (const [begin, end] of [
        [0, 1],
        [23, 25],
        [7, whole.length],
        [whole.length, whole.length],
      ]) {
        if (end <= whole.length) expect(await checkpoint.float32(tensor, begin, end)).toEqual(whole.slice(begin, end));
      }
    }
    await checkpoint.close();
  });
});

describe('contradictions', () => {
  test.each([
    [
      'two tensors of one layer that differ',
      () => [tensor('blocks.1.hook_resid_post', residual[2]), tensor('blocks.2.hook_resid_pre', residual[1])],
      { layer: 2 },
      undefined,
      /"blocks.2.hook_resid_pre" and "blocks.1.hook_resid_post" are named as states of one layer, but differ/,
    ],
    [
      'a layer the model does not have',
      () => [tensor('blocks.3.hook_resid_post', residual[2])],
      {},
      undefined,
      /"blocks.3.hook_resid_post" in s.safetensors is the state of layer 4; the model has 3/,
    ],
    [
      'a layer that is not in the file',
      () => [tensor('hidden_states.0', residual[0]), tensor('hidden_states.2', residual[2])],
      { layer: 1 },
      undefined,
      /holds layers 0 and 2, not 1/,
    ],
    [
      'names and metadata',
      () => [tensor('hidden_states.2', residual[2])],
      {},
      { layer: '1' },
      /holds layer 2, but its metadata says layer 1/,
    ],
  ])('%s', async (_, tensors, options, metadata, message) => {
    const failure = readStates(await fileOf(tensors(), metadata), { ...facts(), ...options });
    await expect(failure).rejects.toThrow(InputError);
    await expect(failure).rejects.toThrow(message);
  });

  test('metadata that agrees picks one of many', async () => {
    const file = await fileOf([tensor('hidden_states.0', residual[0]), tensor('hidden_states.2', residual[2])], {
      layer: '2',
    });
    expect((await readStates(file, facts())).records).toMatchObject([{ layer: 2 }]);
  });

  test('NaN in a real row is the usual error', async () => {
    const states = residual[2].slice().fill(Number.NaN, 30, 31);
    const { records } = await readStates(await fileOf([tensor('hidden_states.2', states)]), facts());
    await expect(invert(model, records[0])).rejects.toThrow(/NaN at position 1, dimension 6/);
    const open = await readStates(await fileOf([tensor('mine', states)]), { ...facts(), layer: 'auto' });
    await expect(placeRecords(model, open)).rejects.toThrow(/NaN at position 1, dimension 6/);
  });
});
