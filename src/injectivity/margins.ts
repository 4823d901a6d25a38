import { InputError } from '../errors.ts';
import { capture, type HookPoint } from '../model/hooks.ts';
import { checkIds, checkTokens, countFrom, type LanguageModel } from '../model/model.ts';
import { newPositionMap, type PositionMap } from '../model/position-map.ts';
import { enterPrefix } from '../probe/prefix.ts';
import { takeBytes } from '../tensor/tensor.ts';
import { compareTiles, newTally, sumOfSquares } from './compare.ts';
import { checkTestedLayers } from './last-states.ts';
import { groupsOf, tilesOf } from './tiles.ts';

/** D(prefix, t) at one layer: how far apart the states of any two tokens are, at least. */
export interface Margin {
  readonly layer: number;
  /** Euclidean, in float64, of the f32 states. */
  readonly distance: number;
  /** Relative to the RMS length of the candidates' states. */
  readonly relative: number;
  /** The two nearest, the smaller id first. */
  readonly tokens: readonly [number, number];
}

/** The margins of the map behind one prefix. */
export interface PrefixMargins {
  /** Place of the prefix among those given. */
  readonly prefix: number;
  /** Its length: the position t of the token that follows. */
  readonly depth: number;
  readonly layers: readonly Margin[];
}

/** How margins are measured. */
export interface MarginOptions {
  /** 1 to L; default all. */
  readonly layers?: readonly number[];
  /** The tokens compared, distinct; default the whole vocabulary. */
  readonly tokens?: Uint32Array;
  readonly signal?: AbortSignal;
  /** Called with the rows done and all there are. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Rows of a batch, and bytes of the states held at a time: of more layers, the pass is run again. */
const BATCH_ROWS = 2048;
const HELD_BYTES = 2 ** 30;

/**
 * D(prefix, t), the least distance between the states of any two tokens behind a prefix (arXiv 2510.15511, section 3):
 * noise of less than half of it leaves the nearest candidate the true one. All pairs are compared (`compareTiles`).
 * @param prefixes Token ids; an empty one is the first position.
 * @throws InputError for layers, prefixes or tokens the model does not have; the signal's reason.
 */
export async function* margins(
  model: LanguageModel,
  prefixes: readonly Uint32Array[],
  options: MarginOptions = {},
): AsyncGenerator<PrefixMargins> {
  const { config } = model;
  const { signal, onProgress } = options;
  const layers = options.layers ?? countFrom(1, config.layers);
  const tokens = options.tokens ?? countFrom(0, config.vocabularySize);
  checkTestedLayers(config, [...layers]);
  checkTokens(config, tokens);
  if (tokens.length < 2) throw new InputError('A margin is between two tokens.', 'Compare two or more.');
  for (const prefix of prefixes) checkIds(config, [...prefix, 0]);

  const held = Math.max(1, Math.floor(HELD_BYTES / (4 * tokens.length * config.width)));
  const total = prefixes.length * Math.ceil(layers.length / held) * tokens.length;
  let done = 0;
  for (const [i, prefix] of prefixes.entries()) {
    const found: Margin[] = [];
    for (let from = 0; from < layers.length; from += held) {
      const some = [...layers.slice(from, from + held)];
      const states = await candidateStates(model, prefix, some, tokens, (rows) => {
        signal?.throwIfAborted();
        done += rows;
        onProgress?.(done, total);
      });
      for (const [k, layer] of some.entries()) {
        found.push(await marginOf(model, layer, states[k], tokens));
        signal?.throwIfAborted();
      }
    }
    yield { prefix: i, depth: prefix.length, layers: found };
  }
}

/** The states of tokens behind a prefix, [tokens, d] for each layer. */
async function candidateStates(
  model: LanguageModel,
  prefix: Uint32Array,
  layers: readonly number[],
  tokens: Uint32Array,
  onRows: (rows: number) => void,
): Promise<Float32Array[]> {
  const { width } = model.config;
  const states = layers.map(() => new Float32Array(tokens.length * width));
  const map = newPositionMap(model, Math.max(...layers), { capacity: Math.max(prefix.length, 1) });
  try {
    enterPrefix(model, map, prefix);
    for (let first = 0; first < tokens.length; first += BATCH_ROWS) {
      const batch = tokens.slice(first, first + BATCH_ROWS);
      const read = await takeBytes(statesAt(model, map, batch, prefix.length, layers));
      for (const [k, bytes] of read.entries()) states[k].set(new Float32Array(bytes), first * width);
      onRows(batch.length);
    }
  } finally {
    map.cache.dispose();
  }
  return states;
}

/** Records the states of a batch of candidates at each layer. */
function statesAt(
  model: LanguageModel,
  map: PositionMap,
  batch: Uint32Array,
  position: number,
  layers: readonly number[],
) {
  const pointOf = (layer: number): HookPoint => `blocks.${layer - 1}.hook_resid_post`;
  return model.context.scope(() => {
    const { hooks, values } = capture(layers.map(pointOf));
    const rows = model.embed(batch, new Uint32Array(batch.length).fill(position)); // (batch, d)
    map.states(rows, new Uint32Array(batch.length), undefined, hooks);
    return layers.map((layer) => values.get(pointOf(layer))!);
  });
}

async function marginOf(
  model: LanguageModel,
  layer: number,
  states: Float32Array,
  tokens: Uint32Array,
): Promise<Margin> {
  const { width } = model.config;
  const groups = groupsOf(tokens.length);
  const tally = newTally(1);
  const work = {
    groups,
    tiles: tilesOf(groups.length, { index: 0, count: 1 }),
    states: async (group: number) => {
      const { first, count } = groups[group];
      return states.subarray(first * width, (first + count) * width);
    },
    width,
    below: Number.MIN_VALUE,
    nameOf: (row: number) => `token ${tokens[row]} behind the prefix, at layer ${layer},`,
  };
  for await (const _ of compareTiles(model.context, work, tally)) {
    // Each tile goes into the tally.
  }
  const [{ a, b, distance }] = tally.closest.pairs;
  const [s, t] = [tokens[a], tokens[b]].sort((x, y) => x - y);
  const rms = Math.sqrt(sumOfSquares(states, width) / tokens.length);
  return { layer, distance, relative: distance / rms, tokens: [s, t] };
}
