import { expect, test } from 'vitest';
import { parseConfig } from '../../src/model/config.ts';
import { initialCheckpoint } from '../../src/model/initial.ts';

const sizes = { model_type: 'gpt2', vocab_size: 300, n_positions: 64, n_embd: 96, n_layer: 8, n_head: 4 };
const config = parseConfig(sizes, 'config.json');
const std = (values: Float32Array) => Math.sqrt(values.reduce((sum, v) => sum + v * v, 0) / values.length);

test('weights begin as in GPT-2: normal, quieter where they write to the residual stream', async () => {
  const fresh = initialCheckpoint(config, 1);
  const wte = await fresh.float32('transformer.wte.weight');
  expect(wte.length).toBe(300 * 96);
  expect(std(wte)).toBeCloseTo(0.02, 3);
  expect(Math.abs(wte.reduce((sum, v) => sum + v, 0) / wte.length)).toBeLessThan(5e-4);
  // Two thirds of a normal distribution lie within one standard deviation.
  expect(wte.filter((v) => Math.abs(v) < 0.02).length / wte.length).toBeCloseTo(0.683, 1);
  expect(std(await fresh.float32('transformer.h.3.attn.c_attn.weight'))).toBeCloseTo(0.02, 3);
  expect(std(await fresh.float32('transformer.h.3.attn.c_proj.weight'))).toBeCloseTo(0.02 / 4, 3);
  expect(std(await fresh.float32('transformer.h.7.mlp.c_proj.weight'))).toBeCloseTo(0.02 / 4, 3);
  expect(new Set(await fresh.float32('transformer.h.0.mlp.c_fc.bias'))).toEqual(new Set([0]));
  expect(new Set(await fresh.float32('transformer.h.0.ln_1.bias'))).toEqual(new Set([0]));
  expect(new Set(await fresh.float32('transformer.h.0.ln_2.weight'))).toEqual(new Set([1]));
  expect(new Set(await fresh.float32('transformer.ln_f.weight'))).toEqual(new Set([1]));
});

test('the same seed gives the same weights, in whatever pieces they are read', async () => {
  const name = 'transformer.h.2.mlp.c_fc.weight';
  const whole = await initialCheckpoint(config, 7).float32(name);
  expect(await initialCheckpoint(config, 7).float32(name, 100, 257)).toEqual(whole.slice(100, 257));
  expect((await initialCheckpoint(config, 8).float32(name))[0]).not.toBe(whole[0]);
  expect((await initialCheckpoint(config, 7).float32('transformer.h.3.mlp.c_fc.weight'))[0]).not.toBe(whole[0]);
});

test('a GPT-Neo begins alike', async () => {
  const { n_positions, n_embd, n_layer, n_head, ...rest } = sizes;
  const neo = {
    ...rest,
    model_type: 'gpt_neo',
    max_position_embeddings: n_positions,
    hidden_size: n_embd,
    num_layers: n_layer,
    num_heads: n_head,
    attention_types: [[['global', 'local'], 4]],
  };
  const fresh = initialCheckpoint(parseConfig(neo, 'config.json'), 1);
  expect(std(await fresh.float32('transformer.h.3.attn.attention.k_proj.weight'))).toBeCloseTo(0.02, 3);
  expect(std(await fresh.float32('transformer.h.3.attn.attention.out_proj.weight'))).toBeCloseTo(0.02 / 4, 3);
  expect(std(await fresh.float32('transformer.h.3.mlp.c_proj.weight'))).toBeCloseTo(0.02 / 4, 3);
});

test('initializer_range of the config is followed', async () => {
  const wide = initialCheckpoint(parseConfig({ ...sizes, initializer_range: 0.1 }, 'config.json'), 1);
  expect(std(await wide.float32('transformer.wte.weight'))).toBeCloseTo(0.1, 2);
});
