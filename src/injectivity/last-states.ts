import { InputError } from '../errors.ts';
import type { ModelConfig } from '../model/config.ts';
import { checkLayer, type LanguageModel } from '../model/model.ts';
import { uploadVisibility } from '../ops/attention.ts';
import { embedding } from '../ops/embedding.ts';
import { empty, type Tensor, takeBytes, upload } from '../tensor/tensor.ts';
import { type BatchLimits, batchesOf, type Forest, forestOf } from './forest.ts';

/** Last-token states of consecutive prompts. */
export interface LastStates {
  /** Number of the first among those asked for. */
  readonly first: number;
  readonly count: number;
  /** [count, d] of each layer asked for, in that order. */
  readonly layers: readonly Float32Array[];
}

/** Rows of a batch: enough to keep every core busy, few enough that a Ctrl-C does not wait long. */
const BATCH_ROWS = 4096;
const BATCH_BYTES = 64 * 2 ** 20;

/**
 * Checks the layers of an injectivity test: 1 to L.
 * @throws InputError; layer 0 is the last token and its position alone, equal for all prompts that share these.
 */
export function checkTestedLayers(config: ModelConfig, layers: readonly number[]): void {
  for (const layer of layers) {
    checkLayer(config, layer);
    if (layer > 0) continue;
    throw new InputError(
      'Layer 0 is the embedding of the last token and its position: prompts of one length that end in the same token share it.',
      `Test layers 1 to ${config.layers}.`,
    );
  }
}

/**
 * The residual states of the last token of each prompt, batch by batch. What neighbours begin with in common is computed
 * once, rows of any lengths stand side by side without padding, and in the last block only last tokens are computed.
 * @param prompts Sorted by their ids (`promptSet`).
 * @param layers 1 to L, ascending.
 * @throws InputError for layers that cannot be tested.
 */
export async function* lastStates(
  model: LanguageModel,
  prompts: readonly Uint32Array[],
  layers: readonly number[],
): AsyncGenerator<LastStates> {
  checkTestedLayers(model.config, layers);
  let before: (() => Promise<LastStates>) | undefined;
  for (const { first, count } of batchesOf(prompts, limitsOf(model.config))) {
    const states = record(model, forestOf(prompts.slice(first, first + count)), layers);
    const read = takeBytes(states);
    read.catch(() => {}); // told when it is awaited
    const next = async () => ({
      first,
      count,
      layers: (await read).map((bytes) => new Float32Array(bytes)),
    });
    // The adapter works on this batch while the caller sees to the one before.
    if (before) yield before();
    before = next;
  }
  if (before) yield before();
}

function limitsOf({ width, innerWidth }: ModelConfig): BatchLimits {
  return {
    rows: Math.max(1, Math.min(BATCH_ROWS, Math.floor(BATCH_BYTES / (4 * innerWidth)))),
    places: Math.max(1, Math.floor(BATCH_BYTES / (4 * width))),
  };
}

/** Records the pass of a forest. @returns [prompts, d] for each layer */
function record(model: LanguageModel, forest: Forest, layers: readonly number[]): Tensor[] {
  const { context, config } = model;
  const { ids, positions, slots, members, last, longest } = forest;
  const { width } = config;
  return context.scope(() => {
    const places = [last.length, longest, width];
    // One layer's keys and values at a time: all rows of a layer are computed before those of the next.
    const cache = { keys: empty(context, places), values: empty(context, places) };
    const at = Uint32Array.from(members.flatMap(([row, slot, position]) => [row, slot * longest + position]));
    const append = upload(context, at, [members.length, 2]);
    const all = uploadVisibility(context, { slots, seen: positions });
    const ends = uploadVisibility(context, {
      slots: Uint32Array.from(last, (_, slot) => slot),
      seen: Uint32Array.from(last, (row) => positions[row]),
    });
    const lastOf = (x: Tensor) => embedding(context, { rows: ids.length, width, chunks: [x] }, last);

    let x = model.embed(ids, positions); // (rows, d)
    const states: Tensor[] = [];
    const depth = layers[layers.length - 1];
    for (let block = 0; block < depth; block++) {
      const isFinal = block === depth - 1;
      if (isFinal) {
        model.appendKeysValues(x, block, cache, append);
        x = lastOf(x); // (prompts, d)
      }
      const attend = isFinal ? { cache, visibility: ends } : { cache, visibility: all, append };
      const middle = model.attentionStep(x, block, attend);
      const y = model.mlpStep(middle, block);
      x.dispose();
      middle.dispose();
      x = y;
      if (layers.includes(block + 1)) states.push(isFinal ? x : lastOf(x));
    }
    return states;
  });
}
