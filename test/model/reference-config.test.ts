import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../src/errors.ts';
import { parseConfig } from '../../src/model/config.ts';

const SMALL = { model_type: 'gpt2', vocab_size: 97, n_positions: 40, n_embd: 24, n_layer: 3, n_head: 3 };

const parse = (changes: Record<string, unknown> = {}) => parseConfig({ ...SMALL, ...changes }, 'config.json');

describe('parseConfig', () => {
  it('fills in what transformers would', () => {
    const { attentionScale, raw, ...config } = parse();
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
    ['no architecture', {}, /model_type missing and architectures missing.*Supported model types: gpt2/],
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
