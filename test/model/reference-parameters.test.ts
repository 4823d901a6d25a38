import { describe, expect, it } from 'vitest';
import { ConfigError, MissingTensorError } from '../../src/errors.ts';
import type { Checkpoint, Dtype, TensorInfo } from '../../src/io/checkpoint.ts';
import { parseConfig } from '../../src/model/config.ts';
import { digest, parametersOf, partsOf, resolveParameters, tensorsOf } from '../../src/model/parameters.ts';
import { hashedCheckpoint } from '../support/hashed.ts';

const SIZES = { model_type: 'gpt2', vocab_size: 7, n_positions: 5, n_embd: 4, n_layer: 2, n_head: 2 };
const TIED = parseConfig(SIZES, 'config.json');
const UNTIED = parseConfig({ ...SIZES, tie_word_embeddings: false, lm_head_bias: true }, 'config.json');

const NEO = parseConfig(
  {
    model_type: 'gpt_neo',
    vocab_size: 7,
    max_position_embeddings: 5,
    hidden_size: 4,
    num_layers: 2,
    num_heads: 2,
    attention_types: [[['global', 'local'], 1]],
  },
  'config.json',
);

/** A model's weights, the tied one's, with some tensors changed, added or (undefined) left out. */
function checkpoint(
  changes: Record<string, TensorInfo | undefined> = {},
  rename = (name: string) => name,
  config = TIED,
): Checkpoint {
  const whole = hashedCheckpoint(config);
  const tensors = new Map<string, TensorInfo>();
  for (const [name, info] of [...whole.tensors, ...Object.entries(changes)])
    if (!(name in changes) || changes[name]) tensors.set(rename(name), changes[name] ?? (info as TensorInfo));
  const original = new Map([...whole.tensors.keys()].map((name) => [rename(name), name]));
  return { ...whole, name: 'model.safetensors', tensors, bytes: (name) => whole.bytes(original.get(name)!) };
}

const f32 = (...shape: number[]): TensorInfo => ({ dtype: 'F32', shape });
const withoutPrefix = (name: string) => name.replace('transformer.', '');

describe('parametersOf', () => {
  it('counts what transformers counts in GPT-2 small', () => {
    const small = { ...SIZES, vocab_size: 50257, n_positions: 1024, n_embd: 768, n_layer: 12, n_head: 12 };
    const sizes = [...parametersOf(parseConfig(small, 'config.json'))].map(({ shape }) =>
      shape.reduce((a, b) => a * b),
    );
    expect(sizes.reduce((a, b) => a + b)).toBe(124_439_808);
  });

  it('counts what transformers counts in GPT-Neo 125M', () => {
    const sizes = { vocab_size: 50257, max_position_embeddings: 2048, hidden_size: 768, num_layers: 12, num_heads: 12 };
    const types = { attention_types: [[['global', 'local'], 6]] };
    const config = parseConfig({ model_type: 'gpt_neo', ...sizes, ...types }, 'config.json');
    const counts = [...parametersOf(config)].map(({ shape }) => shape.reduce((a, b) => a * b));
    expect(counts.reduce((a, b) => a + b)).toBe(125_198_592);
  });
});

describe('tensorsOf', () => {
  it('are the parameters of a GPT-2, one each', () => {
    expect([...tensorsOf(UNTIED)]).toEqual([...parametersOf(UNTIED)]);
  });

  it('hold queries, keys and values of a GPT-Neo in one matrix, the rest one each', () => {
    const tensors = [...tensorsOf(NEO)];
    expect(tensors.flatMap(({ name }) => partsOf(name))).toEqual([...parametersOf(NEO)].map(({ name }) => name));
    const joined = tensors.filter(({ name }) => partsOf(name).length > 1);
    expect(joined.map(({ shape }) => shape)).toEqual([
      [12, 4],
      [12, 4],
    ]);
    expect(partsOf(joined[1].name)).toEqual(['q', 'k', 'v'].map((part) => `h.1.attn.attention.${part}_proj.weight`));
  });
});

describe('resolveParameters', () => {
  it('finds names with and without the prefix', () => {
    expect(resolveParameters(TIED, checkpoint()).get('h.1.ln_2.bias')).toBe('transformer.h.1.ln_2.bias');
    expect(resolveParameters(TIED, checkpoint({}, withoutPrefix)).get('h.1.ln_2.bias')).toBe('h.1.ln_2.bias');
  });

  it('ignores mask buffers and the copy of a tied head', () => {
    const buffers = {
      'transformer.h.0.attn.bias': { dtype: 'U8', shape: [1, 1, 5, 5] } as const,
      'transformer.h.0.attn.masked_bias': f32(),
      'lm_head.weight': f32(7, 4),
    };
    const names = resolveParameters(TIED, checkpoint(buffers));
    expect([...names.keys()]).toEqual([...parametersOf(TIED)].map(({ name }) => name));
  });

  it('finds a head of its own', () => {
    const head = { 'lm_head.weight': f32(7, 4), 'lm_head.bias': f32(7) };
    expect(resolveParameters(UNTIED, checkpoint(head)).get('lm_head.weight')).toBe('lm_head.weight');
  });

  const wrongDtype = (dtype: Dtype): TensorInfo => ({ dtype, shape: [4] });
  it.each<[string, typeof TIED, Record<string, TensorInfo | undefined>, RegExp]>([
    [
      'a missing tensor',
      TIED,
      { 'transformer.h.1.ln_1.weight': undefined },
      /^transformer\.h\.1\.ln_1\.weight is not in model\.safetensors \(n_layer = 2, .* in config\.json\)\..*sharded\? .*index\.json/,
    ],
    ['an untied head that is not there', UNTIED, {}, /^lm_head\.weight .*tie_word_embeddings = false/],
    ['a head bias that is not there', UNTIED, { 'lm_head.weight': f32(7, 4) }, /^lm_head\.bias .*lm_head_bias = true/],
    [
      'another vocabulary',
      TIED,
      { 'transformer.wte.weight': f32(8, 4) },
      /shape \[8, 4\], not \[7, 4\] \(vocab_size = 7/,
    ],
    ['a transposed matrix', TIED, { 'transformer.h.0.mlp.c_fc.weight': f32(16, 4) }, /\[16, 4\], not \[4, 16\]/],
    ['a misshapen copy of a tied head', TIED, { 'lm_head.weight': f32(4, 7) }, /tie_word_embeddings = true/],
    ['quantized weights', TIED, { 'transformer.ln_f.bias': wrongDtype('I8') }, /stored as I8\. Convert.*F32/],
  ])('refuses %s', (_, config, changes, message) => {
    const call = () => resolveParameters(config, checkpoint(changes));
    expect(call).toThrow(MissingTensorError);
    expect(call).toThrow(message);
  });

  it('finds the parameters of a GPT-Neo beside its mask buffers, and refuses with its own words', () => {
    const masks = { 'transformer.h.0.attn.attention.bias': { dtype: 'BOOL', shape: [1, 1, 5, 5] } as const };
    expect([...resolveParameters(NEO, checkpoint(masks, withoutPrefix, NEO)).values()]).toContain(
      'h.1.attn.attention.v_proj.weight',
    );
    const fails = (changes: Record<string, TensorInfo | undefined>) => () =>
      resolveParameters(NEO, checkpoint(changes, undefined, NEO));
    expect(fails({ 'transformer.h.0.attn.attention.k_proj.weight': undefined })).toThrow(
      /^transformer\.h\.0\.attn\.attention\.k_proj\.weight is not in .* \(num_layers = 2, hidden_size = 4 in/,
    );
    expect(fails({ 'transformer.h.0.mlp.c_fc.weight': f32(4, 16) })).toThrow(/\[4, 16\], not \[16, 4\]/);
    expect(fails({ 'transformer.h.2.ln_1.weight': f32(4) })).toThrow(/a block more than num_layers = 2/);
  });

  it('refuses a config with fewer blocks than the checkpoint', () => {
    const oneBlock = parseConfig({ ...SIZES, n_layer: 1 }, 'config.json');
    expect(() => resolveParameters(oneBlock, checkpoint())).toThrow(ConfigError);
    expect(() => resolveParameters(oneBlock, checkpoint())).toThrow(/h\.1\.ln_1\.weight.*n_layer = 1/);
  });

  it('does not build a table for an absurd number of layers', () => {
    const deep = parseConfig({ ...SIZES, n_layer: 2 ** 40 }, 'config.json');
    expect(() => resolveParameters(deep, checkpoint())).toThrow(/h\.2\.ln_1\.weight/);
  });
});

describe('digest', () => {
  it('is 16 hex digits, the same for other names and extra tensors', async () => {
    const plain = await digest(checkpoint(), TIED);
    expect(plain).toMatch(/^[0-9a-f]{16}$/);
    expect(await digest(checkpoint({ 'lm_head.weight': f32(7, 4) }, withoutPrefix), TIED)).toBe(plain);
  });

  it('changes with one byte and with the dtype', async () => {
    const plain = await digest(checkpoint(), TIED);
    const whole = checkpoint();
    const flipped = async (name: string) => {
      const bytes = await whole.bytes(name);
      if (name === 'transformer.ln_f.bias') bytes[3] ^= 1;
      return bytes;
    };
    expect(await digest({ ...whole, bytes: flipped }, TIED)).not.toBe(plain);
    const retyped = checkpoint({ 'transformer.ln_f.bias': { dtype: 'BF16', shape: [4] } });
    expect(await digest(retyped, TIED)).not.toBe(plain);
  });
});
