import { InputError } from '../errors.ts';
import type { ModelConfig } from '../model/config.ts';
import type { LoadedModel } from '../model/load.ts';
import { checkLayer } from '../model/model.ts';
import { positionMap } from '../model/position-map.ts';
import { createPrefixCache } from '../model/prefix-cache.ts';
import { distance } from '../ops/distance.ts';
import { add } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import { topk } from '../ops/topk.ts';
import { read, readAll, readBytes, sliceRows, type Tensor, upload } from '../tensor/tensor.ts';
import { acceptRadius, calibrate, clearlyNearest, decide, norm } from './decision.ts';
import { policies, type Step } from './policy.ts';
import type { Candidate, Inversion, InvertOptions, PositionResult, StateRecord } from './types.ts';

/** Besides itself, this many tokens nearest to the winner by embedding are always tried: its likeliest rivals. */
const RIVALS = 15;
const DEFAULT_BATCH = 1024;

/**
 * SipIt (arXiv 2510.15511, section 4): recovers a prompt from the residual states of one layer. Position by position,
 * with the keys and values of the tokens recovered so far in a cache:
 *
 *   1. The policy proposes batches of candidate tokens; each is one row of a forward pass up to the layer.
 *   2. The nearest candidate within the accept radius ends the search.
 *   3. Its likeliest rivals are tried too, so that the runner-up means something.
 *   4. It is accepted if nothing else fits, and appended to the prefix. A position where nothing fits is flagged; the
 *      search goes on with the nearest candidate when that is clearly the nearest, and ends otherwise.
 *
 * @returns The tokens with the evidence for each; `exact` only if every position was accepted.
 * @throws InputError for states this model cannot have produced: width, layer, length, NaN.
 */
export async function invert(model: LoadedModel, record: StateRecord, options: InvertOptions = {}): Promise<Inversion> {
  const { context, config, tokenizer } = model;
  const { batch = DEFAULT_BATCH, onPosition, onCandidates, signal } = options;
  const policy = policies[options.policy ?? 'likely-first'];
  const length = checkRecord(config, record);
  const { layer, width, dtype } = record;
  const started = performance.now();
  const calibration = await calibrate(model, layer);

  // Only the model's own distribution needs the blocks above the layer.
  const depth = policy.exhaustive ? layer : config.layers;
  const cache = createPrefixCache(model, { capacity: length, depth });
  const map = positionMap(model, layer, cache);
  const deep = positionMap(model, depth, cache);
  const observed = upload(context, record.values, [length, width], 'observed states');
  const work = costMeter(config, layer, length);
  const positions: PositionResult[] = [];
  let last: Tensor | undefined; // state of the newest prefix row after all blocks, [1, d]

  try {
    for (let t = 0; t < length && !signal?.aborted; t++) {
      const target = sliceRows(observed, t, 1);
      const found = await position(t, target);
      target.dispose();
      if (!found) break;
      positions.push(found);
      onPosition?.(found);
      if (found.verdict !== 'accepted' && !clearlyNearest(found, found.runnerUp)) break;
      if (t + 1 < length) append(found.token, t);
    }
  } finally {
    last?.dispose();
    observed.dispose();
    cache.dispose();
  }

  const tokens = positions.map(({ token }) => token);
  const candidates = positions.reduce((sum, position) => sum + position.candidates, 0);
  return {
    text: tokenizer?.decode(tokens),
    tokens,
    exact: positions.length === length && positions.every(({ verdict }) => verdict === 'accepted'),
    layer,
    policy: policy.name,
    runnerUpScope: policy.exhaustive ? 'vocabulary' : 'evaluated',
    positions,
    length,
    cost: { forwardEquivalents: work.forwardEquivalents(), candidates, seconds: (performance.now() - started) / 1000 },
  };

  /** Searches one position; undefined when the signal fired before anything fitted. */
  async function position(t: number, target: Tensor): Promise<PositionResult | undefined> {
    const radius = acceptRadius(norm(record.values.subarray(t * width, (t + 1) * width)), calibration, dtype);
    const nearest: Candidate[] = []; // the two nearest rows evaluated
    const tried = new Set<number>();

    async function evaluate(tokens: Uint32Array): Promise<void> {
      const fresh = tokens.filter((token) => !tried.has(token));
      if (fresh.length === 0) return;
      const distances = context.scope(() => {
        const rows = model.embed(fresh, new Uint32Array(fresh.length).fill(t));
        return distance(map.states(rows, new Uint32Array(fresh.length)), target);
      });
      work.rows(fresh.length, layer);
      const values = await read(distances);
      distances.dispose();
      fresh.forEach((token, i) => {
        tried.add(token);
        nearest.push({ token, distance: values[i] });
      });
      nearest.sort((a, b) => a.distance - b.distance || a.token - b.token).splice(2);
    }

    const step: Step = {
      position: t,
      vocabularySize: config.vocabularySize,
      batch,
      logits: nextLogits,
      embeddingDistances: () => embeddingDistances(t, target),
    };
    for await (const tokens of policy.candidates(step)) {
      await evaluate(tokens);
      onCandidates?.(t, tried.size, nearest[0]);
      if (signal?.aborted) break;
      if (!policy.exhaustive && nearest[0].distance <= radius) break;
    }
    // An interrupted search proves nothing: neither that no token fits nor, of an exhaustive one, that no other does.
    const interrupted = signal?.aborted && tried.size < config.vocabularySize;
    if (nearest.length === 0 || (interrupted && (policy.exhaustive || nearest[0].distance > radius))) return undefined;
    // A rival may turn out to be nearer; then its rivals count.
    for (let winner = -1; winner !== nearest[0].token && tried.size < config.vocabularySize; ) {
      winner = nearest[0].token;
      await evaluate(await rivals(winner));
    }
    const [best, runnerUp] = nearest as [Candidate, Candidate?];
    return {
      position: t,
      verdict: decide(best, runnerUp, radius),
      ...best,
      text: tokenizer?.token(best.token),
      radius,
      runnerUp,
      margin: runnerUp && runnerUp.distance - best.distance,
      candidates: tried.size,
    };
  }

  function append(token: number, t: number): void {
    last?.dispose();
    const row = model.embed(Uint32Array.of(token), Uint32Array.of(t));
    last = deep.extend(row, [{ slot: 0, count: 1 }]);
    row.dispose();
    work.rows(1, depth);
  }

  async function nextLogits(): Promise<Float32Array | undefined> {
    if (!last) return undefined;
    const logits = model.logits(last);
    work.head();
    const values = await read(logits);
    logits.dispose();
    return values;
  }

  /** |wte_v + wpe_t - h_t| for every token v. */
  async function embeddingDistances(t: number, target: Tensor): Promise<Float32Array> {
    const parts = context.scope(() => {
      const position = add(
        model.embed(Uint32Array.of(0), Uint32Array.of(t)),
        embedding(context, model.tokenTable, Uint32Array.of(0)),
        -1,
      );
      const token = add(target, position, -1); // h_t - wpe_t, [1, d]
      return model.tokenTable.chunks.map((chunk) => distance(chunk, token));
    });
    const values = await readAll(parts);
    for (const part of parts) part.dispose();
    return Float32Array.from(values.flatMap((part) => [...part]));
  }

  /** The tokens whose embedding rows lie nearest to this token's, itself included. */
  async function rivals(token: number): Promise<Uint32Array> {
    const { chunks } = model.tokenTable;
    const nearest = context.scope(() => {
      const row = embedding(context, model.tokenTable, Uint32Array.of(token));
      return chunks.map((chunk) => topk(distance(chunk, row), Math.min(RIVALS + 1, chunk.shape[0]), 'smallest'));
    });
    const bytes = await readBytes(nearest.flatMap(({ values, indices }) => [values, indices]));
    const found: Candidate[] = [];
    let first = 0;
    nearest.forEach(({ values, indices }, c) => {
      const distances = new Float32Array(bytes[2 * c]);
      new Uint32Array(bytes[2 * c + 1]).forEach((index, i) => {
        found.push({ token: first + index, distance: distances[i] });
      });
      first += chunks[c].shape[0];
      values.dispose();
      indices.dispose();
    });
    found.sort((a, b) => a.distance - b.distance);
    return Uint32Array.from(found.slice(0, RIVALS + 1), (candidate) => candidate.token);
  }
}

/** Positions of a record that the model can have produced. */
function checkRecord(config: ModelConfig, { values, width, layer, name = 'states' }: StateRecord): number {
  checkLayer(config, layer);
  if (width !== config.width) {
    throw new InputError(
      `${name} has rows of ${width}; the states of ${config.name} have ${config.width} (n_embd).`,
      'Pass the model that made the states (--model).',
    );
  }
  const length = values.length / width;
  if (!Number.isInteger(length) || length === 0 || length > config.contextLength) {
    throw new InputError(
      `${name} holds ${length} positions; the model has 1 to ${config.contextLength}.`,
      'Give the states of one prompt, without padding.',
    );
  }
  const bad = values.findIndex((value) => !Number.isFinite(value));
  if (bad >= 0) {
    throw new InputError(
      `${name} holds ${values[bad]} at position ${Math.floor(bad / width)}, dimension ${bad % width}.`,
      'States must be finite: was the model run in f16 beyond its range?',
    );
  }
  return length;
}

/** Counts work in units of one forward pass over the prompt up to the layer (matrix products only). */
function costMeter({ width, innerWidth, vocabularySize }: ModelConfig, layer: number, length: number) {
  const blockFlops = 2 * (4 * width * width + 2 * width * innerWidth);
  let flops = 0;
  return {
    rows(count: number, blocks: number) {
      flops += count * Math.max(blocks, 1) * blockFlops;
    },
    head() {
      flops += 2 * width * vocabularySize;
    },
    forwardEquivalents: () => flops / (length * Math.max(layer, 1) * blockFlops),
  };
}
