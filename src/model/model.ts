import { InputError } from '../errors.ts';
import type { Context } from '../gpu/context.ts';
import type { LayerCache, VisibilityTensors } from '../ops/attention.ts';
import type { Table } from '../ops/embedding.ts';
import type { Tensor } from '../tensor/tensor.ts';
import type { ModelConfig } from './config.ts';
import type { Hooks } from './hooks.ts';
import type { Weights } from './weights.ts';

/** What the rows of one block attend to. */
export interface Attend {
  readonly cache: LayerCache;
  readonly visibility: VisibilityTensors;
  /** Where keys and values go, [entries, 2] as (row, slot * capacity + position); absent when they are not kept. */
  readonly append?: Tensor;
}

/** A language model on a GPU. Rows are residual states [n, d]; every family offers this interface. */
export interface LanguageModel extends Disposable {
  readonly context: Context;
  readonly config: ModelConfig;
  readonly weights: Weights;
  /** The token embedding, `wte`. */
  readonly tokenTable: Table;
  /** Residual state 0 of tokens at positions, [n, d]. @throws InputError for ids or positions out of range. */
  embed(ids: Uint32Array, positions: Uint32Array, hooks?: Hooks): Tensor;
  /** First half of block `layer` (from 0): x + attn(LN x), [n, d]. */
  attentionStep(x: Tensor, layer: number, attend: Attend, hooks?: Hooks): Tensor;
  /** Only what `attentionStep` appends: for rows that nothing but others' attention asks for. */
  appendKeysValues(x: Tensor, layer: number, cache: LayerCache, append: Tensor): void;
  /** Second half of block `layer`: x + mlp(LN x), [n, d]; rows are independent. */
  mlpStep(x: Tensor, layer: number, hooks?: Hooks): Tensor;
  /** Logits [n, vocabulary] of rows of residual state L, the state before the final norm. */
  logits(rows: Tensor, hooks?: Hooks): Tensor;
  dispose(): void;
}

/**
 * Checks a prompt whose first token stands at `firstPosition`.
 * @throws InputError for an empty prompt, an id outside the vocabulary, a prompt over the context.
 */
export function checkIds(config: ModelConfig, ids: ArrayLike<number>, firstPosition = 0): void {
  if (ids.length === 0) throw new InputError('The prompt is empty.', 'Give at least one token.');
  checkTokens(config, ids);
  const length = firstPosition + ids.length;
  if (length > config.contextLength) {
    throw new InputError(
      `The prompt has ${length} tokens; the model has ${config.contextLength} positions (${config.keys.contextLength} in ${config.name}).`,
      `Shorten it by ${length - config.contextLength} tokens.`,
    );
  }
}

/** @throws InputError for an id outside the vocabulary. */
export function checkTokens({ vocabularySize }: ModelConfig, ids: ArrayLike<number>): void {
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i];
    if (Number.isInteger(id) && id >= 0 && id < vocabularySize) continue;
    throw new InputError(
      `Token id ${id} (number ${i + 1} of ${ids.length}) is not in the vocabulary of ${vocabularySize}.`,
      'Use the tokenizer that belongs to the model.',
    );
  }
}

/** @throws InputError for a position the model has no embedding for, or not one for each token. */
export function checkPositions(
  { contextLength, keys, name }: ModelConfig,
  positions: Uint32Array,
  tokens: number,
): void {
  const beyond = positions.find((position) => position >= contextLength);
  if (beyond === undefined && positions.length === tokens) return;
  throw new InputError(
    beyond === undefined
      ? `${positions.length} positions do not go with ${tokens} tokens.`
      : `Position ${beyond} does not exist: the model has ${contextLength} (${keys.contextLength} in ${name}).`,
    `Give each token a position from 0 to ${contextLength - 1}.`,
  );
}

/**
 * Checks a layer number: residual state 0 is the embedding, L the state after the last block.
 * @throws InputError
 */
export function checkLayer({ layers }: ModelConfig, layer: number): void {
  if (!Number.isInteger(layer) || layer < 0 || layer > layers) {
    throw new InputError(
      `Layer ${layer} does not exist.`,
      `Use 0 (the embedding) to ${layers} (after the last block, before the final LayerNorm).`,
    );
  }
}

/**
 * Checks a place in the residual stream, in half blocks: l is residual state l, l + 0.5 the state between the attention
 * and the MLP of block l.
 * @throws InputError
 */
export function checkPlace({ layers }: ModelConfig, place: number): void {
  if (!Number.isInteger(2 * place) || place < 0 || place > layers) {
    throw new InputError(
      `There is no residual state at ${place}.`,
      `Use 0 (the embedding) to ${layers} (after the last block), or a half between (after the attention of a block).`,
    );
  }
}

/** first, first + 1, ... as positions or visible lengths. */
export const countFrom = (first: number, count: number): Uint32Array =>
  Uint32Array.from({ length: count }, (_, i) => first + i);
