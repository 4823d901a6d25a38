import { InputError } from '../errors.ts';
import type { LanguageModel } from '../model/model.ts';
import { newPositionMap, type PositionMap } from '../model/position-map.ts';
import { distance } from '../ops/distance.ts';
import { add } from '../ops/elementwise.ts';
import { type Tensor, take, upload } from '../tensor/tensor.ts';
import type { CostMeter } from './cost.ts';
import { positionRow } from './neighbours.ts';

/** The tokens recovered so far, with their keys and values: what candidates for the next position continue. */
export interface RecoveredPrefix {
  /** Its length: the position that comes next. */
  readonly length: number;
  /**
   * |F(v) - h| for candidates v of the next position, F the one-step map (arXiv 2510.15511, section 4).
   * @param observed h, [1, d]
   * @throws InputError when a state is not finite.
   */
  distances(tokens: Uint32Array, observed: Tensor): Promise<Float32Array>;
  /**
   * Gradient of 1/2 |F(e) - h|^2 in a free embedding row e of the next position: J^T (F(e) - h), [d].
   * @param row e without the position's part, [d]
   * @param observed h, [1, d]
   * @throws InputError when it is not finite.
   */
  gradient(row: Float32Array, observed: Tensor): Promise<Float32Array>;
  /** Logits of the next token; undefined while the prefix is empty. Runs the blocks above the layer only when asked. */
  logits(): Promise<Float32Array | undefined>;
  append(token: number): void;
  dispose(): void;
}

/** Where a prefix stands. */
export interface PrefixPlace {
  /** The residual state the observed states are of. */
  readonly layer: number;
  /** Tokens it has room for. */
  readonly capacity: number;
  /** Where its first token stands in the model's position table. */
  readonly firstPosition: number;
}

/** An empty prefix. */
export function recoveredPrefix(
  model: LanguageModel,
  { layer, capacity, firstPosition }: PrefixPlace,
  cost: CostMeter,
): RecoveredPrefix {
  const { context, config } = model;
  const slot = Uint32Array.of(0);
  const lower = newPositionMap(model, layer, { capacity }); // blocks 0 to layer
  let upper: PositionMap | undefined; // the blocks above, which only logits need
  const waiting: Tensor[] = []; // states of tokens that `upper` has not seen, [1, d] each
  let last: Tensor | undefined; // state of the newest token after all blocks, [1, d]

  const next = () => lower.cache.lengths[0];
  const place = () => firstPosition + next();

  function expectFinite(values: Float32Array, whatOf: (index: number) => string): Float32Array {
    const bad = values.findIndex((value) => !Number.isFinite(value));
    if (bad < 0) return values;
    throw new InputError(
      `${whatOf(bad)} at position ${next()} is not finite after ${layer} blocks.`,
      'The weights are damaged, or overflow f32: check the checkpoint ("preimage generate" shows whether it works).',
    );
  }

  /** Runs the tokens that wait through the blocks above the layer. */
  function climb(): void {
    upper ??= newPositionMap(model, config.layers, { capacity, from: layer });
    for (const state of waiting.splice(0)) {
      last?.dispose();
      last = upper.extend(state, [{ slot: 0, count: 1 }]);
      state.dispose();
      if (layer < config.layers) cost.rows(1, config.layers - layer);
    }
  }

  return {
    get length() {
      return next();
    },
    async distances(tokens, observed) {
      const distances = context.scope(() => {
        const rows = model.embed(tokens, new Uint32Array(tokens.length).fill(place())); // (B, d)
        return distance(lower.states(rows, new Uint32Array(tokens.length)), observed); // (B)
      });
      cost.rows(tokens.length, layer);
      return expectFinite(await take(distances), (i) => `The state of token ${tokens[i]}`);
    },
    async gradient(row, observed) {
      const gradient = context.scope(() => {
        const e = add(upload(context, row, [1, row.length]), positionRow(model, place())); // (1, d)
        const at = lower.linearize(e, slot);
        return at.vjp(add(at.value, observed, -1)); // (1, d)
      });
      cost.rows(1, layer);
      cost.vjpRows(1, layer);
      return expectFinite(await take(gradient), () => 'The gradient of a free row');
    },
    async logits() {
      if (next() === 0) return undefined;
      climb();
      cost.head();
      return take(model.logits(last!));
    },
    append(token) {
      const state = context.scope(() =>
        lower.extend(model.embed(Uint32Array.of(token), Uint32Array.of(place())), [{ slot: 0, count: 1 }]),
      );
      waiting.push(state);
      cost.rows(1, layer);
    },
    dispose() {
      for (const state of waiting) state.dispose();
      last?.dispose();
      lower.cache.dispose();
      upper?.cache.dispose();
    },
  };
}
