/** Which residual state a tensor's name tells of. */
export interface ToldLayer {
  /** 0 = token + position, L = after the last block. */
  readonly layer: number;
  /** Who numbers so, for messages. */
  readonly convention: Convention;
  /** What stands before the layer in the name: tensors that share it are of the same prompts. */
  readonly group: string;
}

/**
 *   - `hidden_states`: transformers' output_hidden_states. Entry k is layer k, but the last is after the final norm.
 *   - `hooks`: `blocks.N.hook_resid_post` and the like (TransformerLens), `transformer.h.N.output` (nnsight, modules).
 *   - `number`: a mere number, as in `layer_3`, which could mean the output of block 3 as well.
 */
export type Convention = 'hidden_states' | 'hooks' | 'number';

/** What a name says: a layer, a reason why its tensor holds no states, or nothing. */
export type Told = ToldLayer | { readonly refused: string } | undefined;

const PREFIX = '^(.*?[._/:-])??';
/** A number at the end, as in `.3`, `_3`, `3` and `[3]`. */
const NUMBER = String.raw`[._/-]?\[?(\d{1,6})\]?$`;
const named = (pattern: string, end = '$'): RegExp => new RegExp(PREFIX + pattern + end, 'i');

const HOOKS: readonly { readonly pattern: RegExp; readonly after: 0 | 1 }[] = [
  { pattern: named(String.raw`blocks\.(\d{1,6})\.hook_resid_pre`), after: 0 },
  { pattern: named(String.raw`blocks\.(\d{1,6})\.hook_resid_post`), after: 1 },
  { pattern: named(String.raw`(?:transformer\.)?h\.(\d{1,6})\.inputs?(?:[._]0)?`), after: 0 },
  { pattern: named(String.raw`(?:transformer\.)?h\.(\d{1,6})\.outputs?(?:[._]0)?`), after: 1 },
  { pattern: named(String.raw`transformer\.h\.(\d{1,6})`), after: 1 },
];
const HIDDEN_STATES = named('hidden_?states?', NUMBER);
const NUMBERED = named('(?:layers?|resid(?:ual)?|blocks?)', NUMBER);

const NOT_STATES: readonly (readonly [RegExp, string])[] = [
  [
    named(String.raw`blocks\.\d+\.hook_resid_mid`),
    'it stands between the attention and the MLP of its block, which is no layer: take hook_resid_pre or hook_resid_post',
  ],
  [
    /last_hidden_states?$|(^|[._/])ln_f([._/]|$)|(^|[._/])ln_final([._/]|$)/i,
    'it stands after the final LayerNorm, from which inverting is not done yet',
  ],
  [/hook_(pos_)?embed$/, 'it is only a part of layer 0, the sum of token and position: take blocks.0.hook_resid_pre'],
  [/(^|[._/])hook_\w+$/, 'it is not the residual stream: take blocks.N.hook_resid_pre or hook_resid_post'],
  [/(^|[._/])(attentions?|past_key_values?|logits|scores|loss)([._/[-]?\d+\]?)*$/i, 'it is not the residual stream'],
];

/** Reads what other software's names tell. Layers are numbered as ours: 0 = embedding, N + 1 = after block N. */
export function readName(name: string): Told {
  for (const { pattern, after } of HOOKS) {
    const match = pattern.exec(name);
    if (match) return { layer: Number(match[2]) + after, convention: 'hooks', group: match[1] ?? '' };
  }
  const refused = NOT_STATES.find(([pattern]) => pattern.test(name));
  if (refused) return { refused: refused[1] };
  for (const [pattern, convention] of [
    [HIDDEN_STATES, 'hidden_states'],
    [NUMBERED, 'number'],
  ] as const) {
    const match = pattern.exec(name);
    if (match) return { layer: Number(match[2]), convention, group: match[1] ?? '' };
  }
  return undefined;
}
