import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/errors.ts';
import { type ModelConfig, parseConfig } from '../../src/model/config.ts';

const SMALL = { model_type: 'gpt2', vocab_size: 97, n_positions: 40, n_embd: 24, n_layer: 3, n_head: 3 };

const parse = (changes: Record<string, unknown> = {}) => parseConfig({ ...SMALL, ...changes }, 'config.json');

describe('parseConfig', () => {
  it('fills in what transformers would', () => {
    const { attentionScale, attentionWindow, keys, raw, ...config } = parse();
    expect(config).toEqual({
      family: 'gpt2',
      name: 'config.json',
      vocabularySize: 97,
      contextLength: 40,
      width: 24,
      layers: 3,
      heads: 3,
      headDim: 8,
      innerWidth: 96,
      activation: 'gelu_new',
      layerNormEpsilon: 1e-5,
      tiedHead: true,
      headBias: false,
      warnings: [],
    });
    expect(attentionScale(2)).toBe(1 / Math.sqrt(8));
    expect(attentionWindow(2)).toBeUndefined();
    expect(keys).toMatchObject({ contextLength: 'n_positions', layers: 'n_layer' });
    expect(raw).toEqual(SMALL);
  });

  it('reads what a config says otherwise', () => {
    const config = parse({ n_inner: 50, tie_word_embeddings: false, lm_head_bias: true, layer_norm_epsilon: 1e-6 });
    expect(config).toMatchObject({ innerWidth: 50, tiedHead: false, headBias: true, layerNormEpsilon: 1e-6 });
  });

  it('scales attention by 1/sqrt(headDim), by the layer, by both or not at all', () => {
    const scale = (weights: boolean, inverse: boolean) =>
      parse({ scale_attn_weights: weights, scale_attn_by_inverse_layer_idx: inverse }).attentionScale(1);
    expect([scale(true, true), scale(false, true), scale(false, false)]).toEqual([1 / Math.sqrt(8) / 2, 0.5, 1]);
  });

  it.each([
    ['gelu_pytorch_tanh', 'gelu_new'],
    ['swish', 'silu'],
    ['leaky_relu', 'leaky_relu'],
  ])('takes the activation %s as %s', (name, activation) => {
    expect(parse({ activation_function: name }).activation).toBe(activation);
  });

  it.each(['GPT2LMHeadModel', 'GPT2Model'])('takes %s without model_type', (architecture) => {
    expect(parse({ model_type: undefined, architectures: [architecture] }).family).toBe('gpt2');
  });

  it.each(['relu', 'leaky_relu'])('warns that %s is outside the theorem', (name) => {
    expect(parse({ activation_function: name }).warnings).toEqual([expect.stringMatching(/not analytic.*2510\.15511/)]);
  });

  it.each<[string, unknown, RegExp]>([
    ['null', null, /holds null, not an object/],
    ['an array', [SMALL], /not an object/],
    ['a string', 'gpt2', /holds "gpt2"/],
    ['no architecture', {}, /model_type missing and architectures missing.*Supported model types: gpt2, gpt_neo\./],
    ['another model type', { ...SMALL, model_type: 'bert' }, /model_type "bert".*gpt2/],
    ['a model type of Object.prototype', { ...SMALL, model_type: 'toString' }, /"toString"/],
    ['an architecture of Object.prototype', { architectures: ['constructor'] }, /"constructor"/],
    ['a numeric model type', { ...SMALL, model_type: 3 }, /model_type 3/],
    ['another architecture', { architectures: ['BertModel'] }, /BertModel/],
    ['an unknown activation', { ...SMALL, activation_function: 'mish' }, /"mish".*one of .*gelu_new.*silu/],
    ['the activation none', { ...SMALL, activation_function: 'none' }, /"none"/],
    ['an inherited activation', { ...SMALL, activation_function: 'valueOf' }, /"valueOf"/],
    ['heads that do not divide the width', { ...SMALL, n_head: 5 }, /n_embd = 24.*n_head = 5/],
    ['no vocabulary', { ...SMALL, vocab_size: undefined }, /has no vocab_size.*Add vocab_size/],
    ['zero layers', { ...SMALL, n_layer: 0 }, /n_layer = 0.*positive integer/],
    ['a negative width', { ...SMALL, n_embd: -24 }, /n_embd = -24/],
    ['half a head', { ...SMALL, n_head: 1.5 }, /n_head = 1.5/],
    ['a size in quotes', { ...SMALL, n_positions: '40' }, /n_positions = "40"/],
    ['an MLP without units', { ...SMALL, n_inner: 0 }, /n_inner = 0/],
    ['epsilon 0', { ...SMALL, layer_norm_epsilon: 0 }, /layer_norm_epsilon = 0.*positive number/],
    [
      'a flag that is no boolean',
      { ...SMALL, tie_word_embeddings: 'yes' },
      /tie_word_embeddings = "yes".*true or false/,
    ],
  ])('refuses %s', (_, json, message) => {
    expect(() => parseConfig(json, 'config.json')).toThrow(ConfigError);
    expect(() => parseConfig(json, 'config.json')).toThrow(message);
    expect(() => parseConfig(json, 'config.json')).toThrow(/^config\.json /);
  });
});

const NEO = {
  model_type: 'gpt_neo',
  vocab_size: 50257,
  max_position_embeddings: 2048,
  hidden_size: 768,
  num_layers: 4,
  num_heads: 16,
  attention_types: [[['global', 'local'], 2]],
};

const parseNeo = (changes: Record<string, unknown> = {}) => parseConfig({ ...NEO, ...changes }, 'config.json');
const windows = (config: ModelConfig) => Array.from({ length: config.layers }, (_, l) => config.attentionWindow(l));

describe('parseConfig of a GPT-Neo', () => {
  it('fills in what transformers would', () => {
    const { attentionScale, attentionWindow, keys, raw, ...config } = parseNeo({ intermediate_size: null });
    expect(config).toEqual({
      family: 'gpt_neo',
      name: 'config.json',
      vocabularySize: 50257,
      contextLength: 2048,
      width: 768,
      layers: 4,
      heads: 16,
      headDim: 48,
      innerWidth: 3072,
      activation: 'gelu_new',
      layerNormEpsilon: 1e-5,
      tiedHead: true,
      headBias: false,
      warnings: [],
    });
    expect(attentionScale(1)).toBe(1);
    expect([0, 1, 2, 3].map(attentionWindow)).toEqual([undefined, 256, undefined, 256]);
    expect(keys).toMatchObject({ contextLength: 'max_position_embeddings', layers: 'num_layers' });
    expect(raw).toEqual({ ...NEO, intermediate_size: null });
  });

  it.each<[string, Record<string, unknown>, (number | undefined)[]]>([
    ['a window of its own', { window_size: 6 }, [undefined, 6, undefined, 6]],
    [
      'runs of several kinds',
      {
        attention_types: [
          [['global'], 1],
          [['local'], 3],
        ],
      },
      [undefined, 256, 256, 256],
    ],
    ['local attention alone', { attention_types: [[['local'], 4]] }, [256, 256, 256, 256]],
    [
      'a run of no block',
      {
        attention_types: [
          [['local'], 0],
          [['global'], 4],
        ],
      },
      new Array(4).fill(undefined),
    ],
    [
      'attention_layers in place of attention_types',
      { attention_types: undefined, attention_layers: ['local', 'global', 'global', 'local'] },
      [256, undefined, undefined, 256],
    ],
    ['both, alike', { attention_layers: ['global', 'local', 'global', 'local'] }, [undefined, 256, undefined, 256]],
  ])('reads %s', (_, changes, want) => {
    expect(windows(parseNeo(changes))).toEqual(want);
  });

  it('alternates over 24 blocks where the config does not say', () => {
    expect(windows(parseNeo({ attention_types: null, num_layers: 24 })).slice(-2)).toEqual([undefined, 256]);
  });

  it('does not write out an absurd number of blocks', () => {
    const deep = parseNeo({ num_layers: 2 ** 40, attention_types: [[['global', 'local'], 2 ** 39]] });
    expect([2 ** 40 - 2, 2 ** 40 - 1].map(deep.attentionWindow)).toEqual([undefined, 256]);
  });

  it.each(['GPTNeoForCausalLM', 'GPTNeoModel'])('takes %s without model_type', (architecture) => {
    expect(parseNeo({ model_type: undefined, architectures: [architecture] }).family).toBe('gpt_neo');
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    [
      'an unknown kind of attention',
      { attention_types: [[['global', 'sparse'], 2]] },
      /attention of the kind "sparse"\. Supported attention types: global, local\.$/,
    ],
    [
      'an unknown kind in attention_layers',
      { attention_types: undefined, attention_layers: ['global', 'local', 'sparse', 'local'] },
      /kind "sparse"/,
    ],
    ['a kind that is no word', { attention_types: [[[null], 4]] }, /kind null/],
    ['too few attention types', { num_layers: 6 }, /attention_types for 4 blocks and num_layers = 6/],
    ['none where transformers means 24 blocks', { attention_types: null }, /for 24 blocks and num_layers = 4/],
    ['another list of layers', { attention_layers: ['global', 'local'] }, /\["global","local"\] and num_layers = 4/],
    ['layers that are no list', { attention_layers: 'local' }, /attention_layers = "local".*for each block/],
    ['types that are no runs', { attention_types: ['global', 'local'] }, /\["global","local"\].*\[\[\["global"/],
    ['half a repeat', { attention_types: [[['global'], 0.5]] }, /attention_types = .*repeats/],
    [
      'lists that contradict each other',
      { attention_layers: ['global', 'local', 'local', 'local'] },
      /makes block 2 global in attention_types, local in attention_layers/,
    ],
    ['a window of nothing', { window_size: 0 }, /window_size = 0.*positive integer/],
    ['the sizes of a GPT-2', { hidden_size: undefined, n_embd: 768 }, /has no hidden_size/],
    ['heads that do not divide the width', { num_heads: 5 }, /hidden_size = 768.*num_heads = 5/],
  ])('refuses %s', (_, changes, message) => {
    expect(() => parseNeo(changes)).toThrow(ConfigError);
    expect(() => parseNeo(changes)).toThrow(message);
    expect(() => parseNeo(changes)).toThrow(/^config\.json /);
  });
});
