/** The GPT-2 models of `test/data` with weight files, each pinning down one thing (see its README). */
export const GPT2_FIXTURES = [
  'gpt2-tanh',
  'gpt2-erf-wide',
  'gpt2-relu-untied',
  'gpt2-scaled-attention',
  'gpt2-unscaled-attention',
  'gpt2-f16',
  'gpt2-bf16',
  'gpt2-sharded',
  'gpt2-old-names',
  'gpt2-massive',
];

/** The models of every family. */
export const FIXTURES = [...GPT2_FIXTURES, 'gptneo'];
