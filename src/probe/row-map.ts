import { linearizeRows, type RowLinearization } from '../autograd/rows.ts';
import { ShapeError } from '../errors.ts';
import type { LanguageModel } from '../model/model.ts';
import { positionMap } from '../model/position-map.ts';
import type { PrefixCache } from '../model/prefix-cache.ts';
import type { Tensor } from '../tensor/tensor.ts';

/** A map of independent rows, each of which may see a prefix of its own: what the probe finds preimages under. */
export interface RowMap {
  /** As reports name it: `h.3.mlp`. */
  readonly name: string;
  /** d */
  readonly width: number;
  /**
   * The map itself; records only.
   * @param rows [B, d]
   * @param slots The prefix that each row sees, [B]; a map without prefixes ignores it.
   * @returns [B, d]
   */
  states(rows: Tensor, slots: Uint32Array): Tensor;
  /** `states`, keeping what derivatives in the rows need. */
  linearize(rows: Tensor, slots: Uint32Array): RowLinearization;
}

/**
 * A map made of preimage's operations, or a user's own.
 * @param f From rows [B, d] to rows [B, d], each of which depends on its own row alone. It must only record: no await.
 * @throws ShapeError, when it is used, for an f that takes or gives rows of another shape.
 */
export function rowMap(name: string, width: number, f: (rows: Tensor) => Tensor): RowMap {
  const checked = (rows: Tensor): Tensor => {
    const [count, d] = rows.shape;
    const value = f(rows);
    if (d === width && value.shape.length === 2 && value.shape[0] === count && value.shape[1] === d) return value;
    throw new ShapeError(
      `${name} is given rows [${rows.shape}] and returns [${value.shape}].`,
      `It must take and return rows [B, ${width}].`,
    );
  };
  return {
    name,
    width,
    states: (rows) => rows.context.scope(() => checked(rows)),
    linearize: (rows) => linearizeRows(checked, rows),
  };
}

/**
 * The sub-blocks between two places in the residual stream, first to last: x + attn(LN x), x + mlp(LN x), ...
 * @param layer Where the last one ends, in half blocks as those of `PositionMap`.
 * @param from Where the first one starts.
 * @throws InputError as `positionMap`.
 */
export function subBlocks(model: LanguageModel, layer: number, cache: PrefixCache, from = 0): RowMap[] {
  return Array.from({ length: 2 * (layer - from) }, (_, i) => {
    const place = from + i / 2;
    const { width, states, linearize } = positionMap(model, place + 0.5, cache, place);
    const block = Math.floor(place);
    return { name: `h.${block}.${place === block ? 'attn' : 'mlp'}`, width, states, linearize };
  });
}
