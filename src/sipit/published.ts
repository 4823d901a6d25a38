/** Figures of the paper (arXiv 2510.15511), for the side of ours. */

/**
 * How long the paper's methods took for a prompt, and the share they recovered exactly: GPT-2 small in f32 on one A100
 * of 64 GB, 100 prompts of 20 tokens.
 */
export const PUBLISHED_COSTS: readonly { readonly method: string; readonly time: string; readonly exact: string }[] = [
  { method: 'SipIt', time: '28.01 ± 35.87 s', exact: '100 %' },
  { method: 'brute force', time: '3889.61 s', exact: '100 %' },
  { method: 'HardPrompts', time: '6132.59 s', exact: '0 %' },
];

/** What those figures were taken on. */
export const PUBLISHED_SETTING = 'GPT-2 small, 20 tokens; one A100';

/** GPT-2's least distance between the states of 1000 tokens, at layers 1 to 12. */
export const PUBLISHED_MARGINS: readonly number[] = [
  1.85, 1.96, 2.06, 2.24, 2.38, 2.5, 2.7, 2.89, 3.03, 3.33, 3.92, 4.64,
];

/** Width of the model that has these margins. */
export const PUBLISHED_WIDTH = 768;

/** What the paper compared in search of collisions (section 4), and what it found. */
export const PUBLISHED_COLLISIONS = {
  models: 'GPT-2 S, M, L; Gemma-3 1B, 4B, 12B; Llama-3.1-8B; Mistral-7B; Phi-4-mini; TinyStories-33M',
  prompts: '100,000 of Wikipedia, C4, The Pile, Python code',
  layers: 'every layer',
  pairs: 'about 5e9',
  bound: 1e-6,
  found: 'none',
  continuations: 'the 10 closest prompts by every token',
} as const;
