import { InputError } from '../errors.ts';
import type { Ranked, Scorer } from '../lens/scorer.ts';
import { countFrom, type LanguageModel } from '../model/model.ts';
import type { PositionMap } from '../model/position-map.ts';
import { distance } from '../ops/distance.ts';
import { add } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import { matmul } from '../ops/matmul.ts';
import { reshape, type Tensor, takeBytes, upload } from '../tensor/tensor.ts';
import type { CostMeter } from './cost.ts';
import { norm } from './decision.ts';
import { joined } from './neighbours.ts';
import type { Candidates, Correct, Evaluated, Recovery, Reply, Request, Screen, Slope, Window } from './requests.ts';
import type { StateRecord } from './types.ts';

/** What recoveries share: the model up to the layer, with a slot of keys and values for each, and its lens. */
export interface Bench {
  readonly model: LanguageModel;
  readonly map: PositionMap;
  readonly first: Scorer;
  readonly rest: Scorer;
  /** Most rows of one recording. */
  readonly batch: number;
}

/** A recovery in a slot of the bench. */
export interface Run<T> {
  readonly record: StateRecord;
  readonly recovery: Recovery<T>;
  readonly cost: CostMeter;
  /** Its share of the time, in seconds. */
  seconds: number;
}

/** A request of one run. */
interface Asked<R extends Request> {
  readonly slot: number;
  readonly request: R;
  readonly record: StateRecord;
  readonly cost: CostMeter;
}

/** Tensors on their way back, and what they mean. */
interface Pending {
  readonly tensors: readonly Tensor[];
  decode(bytes: readonly ArrayBuffer[]): void;
}

/** Tokens looked at for a proposal: the best, and the next for the doubt. */
const PROPOSED = 2;
/** More states than this many of one request stay on the GPU: more than rivals, which the search goes on from. */
const READ_BACK = 1024;

/**
 * Runs recoveries side by side: in each round every one of them that has not ended asks something, all requests run as
 * one batch, and one round trip brings all replies.
 */
export async function runRounds<T>(bench: Bench, runs: readonly Run<T>[]): Promise<T[]> {
  const results = new Array<T>(runs.length);
  const replies = new Map<number, Reply | undefined>(runs.map((_, slot) => [slot, undefined]));
  while (replies.size > 0) {
    const started = performance.now();
    const asked: Asked<Request>[] = [];
    for (const [slot, reply] of replies) {
      const { recovery, record, cost } = runs[slot];
      const step = recovery.next(reply as Reply);
      if (step.done) results[slot] = step.value;
      else asked.push({ slot, request: step.value, record, cost });
    }
    const before = asked.map(({ cost }) => cost.forwardEquivalents());
    replies.clear();
    await answer(bench, asked, (slot, reply) => replies.set(slot, reply));
    const seconds = (performance.now() - started) / 1000;
    const work = asked.map(({ cost, record }, i) => (cost.forwardEquivalents() - before[i]) * record.values.length);
    const all = work.reduce((sum, part) => sum + part, 0) || 1;
    asked.forEach(({ slot }, i) => {
      runs[slot].seconds += (seconds * work[i]) / all;
    });
  }
  return results;
}

async function answer(bench: Bench, asked: readonly Asked<Request>[], reply: (slot: number, reply: Reply) => void) {
  const ofKind = <K extends Request['kind']>(kind: K) =>
    asked.filter(({ request }) => request.kind === kind) as Asked<Extract<Request, { kind: K }>>[];
  const pending: Pending[] = [];
  const recordings = [
    propose(bench, ofKind('propose'), reply),
    windows(bench, ofKind('window'), reply),
    candidates(bench, ofKind('candidates'), reply),
    correct(bench, ofKind('correct'), reply),
  ];
  try {
    for (const recording of recordings) pending.push(...recording);
  } catch (error) {
    for (const { tensors } of pending) for (const tensor of tensors) tensor.dispose();
    throw error;
  }
  const bytes = await takeBytes(pending.flatMap(({ tensors }) => tensors));
  let next = 0;
  for (const { tensors, decode } of pending) {
    decode(bytes.slice(next, next + tensors.length));
    next += tensors.length;
  }
  for (const one of ofKind('slope')) reply(one.slot, await slope(bench, one));
  for (const one of ofKind('screen')) reply(one.slot, await screen(bench, one));
}

type Answer = (slot: number, reply: Reply) => void;

/** Position in the model's table of row t of a record. */
const positionOf = ({ firstPosition = 0 }: StateRecord, t: number): number => firstPosition + t;

function* propose(bench: Bench, asked: readonly Asked<Request>[], reply: Answer): Iterable<Pending> {
  if (asked.length === 0) return;
  const { context } = bench.model;
  const proposals = asked.map(({ record }): Ranked => {
    const length = record.values.length / record.width;
    return { ids: new Uint32Array(length), doubts: new Float32Array(length) };
  });
  const rows = asked.flatMap(({ record }, i) => Array.from(proposals[i].ids, (_, t) => ({ record, i, t })));
  const state = (record: StateRecord, t: number) => record.values.subarray(t * record.width, (t + 1) * record.width);
  const stacked = (of: typeof rows, back: number) => {
    const d = bench.map.width;
    const values = new Float32Array(of.length * d);
    of.forEach(({ record, t }, r) => {
      values.set(state(record, t - back), r * d);
    });
    return upload(context, values, [of.length, d]);
  };
  for (const [scorer, part, isFirst] of [
    [bench.first, rows.filter(({ t }) => t === 0), true],
    [bench.rest, rows.filter(({ t }) => t > 0), false],
  ] as const) {
    for (const { record, cost } of new Set(part.map(({ i }) => asked[i]))) {
      const count = isFirst ? 1 : record.values.length / record.width - 1;
      cost.flops(count * scorer.flopsPerRow, true);
    }
    for (let begin = 0; begin < part.length; begin += bench.batch) {
      const some = part.slice(begin, begin + bench.batch);
      const ranking = context.scope(() => {
        const previous = isFirst ? undefined : stacked(some, 1);
        const positions = Uint32Array.from(some, ({ record, t }) => positionOf(record, t));
        return scorer.propose(stacked(some, 0), previous, positions, PROPOSED);
      });
      yield {
        tensors: ranking.tensors,
        decode([shortlist, places, scores]) {
          const { ids, doubts } = ranking.decode(shortlist, places, scores);
          some.forEach(({ i, t }, r) => {
            proposals[i].ids[t] = ids[(r * ids.length) / some.length];
            proposals[i].doubts[t] = doubts[r];
          });
        },
      };
    }
  }
  yield {
    tensors: [],
    decode: () => {
      asked.forEach(({ slot }, i) => {
        reply(slot, proposals[i]);
      });
    },
  };
}

function* windows({ model, map, batch }: Bench, asked: readonly Asked<Window>[], reply: Answer): Iterable<Pending> {
  const { context } = model;
  for (const some of batches(asked, batch)) {
    for (const { slot, request } of some) map.cache.truncate(slot, request.from);
    const states = context.scope(() => {
      const ids = concatenated(some.map(({ request }) => request.tokens));
      const positions = concatenated(
        some.map(({ request, record }) => countFrom(positionOf(record, request.from), request.tokens.length)),
      );
      const segments = some.map(({ slot, request }) => ({ slot, count: request.tokens.length }));
      return map.extend(model.embed(ids, positions), segments); // (n, d)
    });
    for (const { request, cost } of some) cost.rows(request.tokens.length, map.layer);
    yield {
      tensors: [states],
      decode: ([bytes]) => replyStates(some, bytes, ({ from }, r) => from + r, reply),
    };
  }
}

function* candidates(
  { model, map, batch }: Bench,
  asked: readonly Asked<Candidates>[],
  reply: Answer,
): Iterable<Pending> {
  const { context } = model;
  const statesOf = (some: readonly Asked<Candidates>[]) => {
    const ids = concatenated(some.map(({ request }) => request.tokens));
    const each = (value: (one: Asked<Candidates>) => number) =>
      concatenated(some.map((one) => new Uint32Array(one.request.tokens.length).fill(value(one))));
    const rows = model.embed(
      ids,
      each(({ record, request }) => positionOf(record, request.at)),
    );
    return map.states(
      rows,
      each(({ slot }) => slot),
      each(({ request }) => request.at),
    ); // (n, d)
  };
  for (const { request, cost } of asked) cost.rows(request.tokens.length, map.layer);

  const few = asked.filter(({ request }) => request.tokens.length <= READ_BACK);
  for (const some of batches(few, batch)) {
    yield {
      tensors: [context.scope(() => statesOf(some))],
      decode: ([bytes]) => replyStates(some, bytes, ({ at }) => at, reply),
    };
  }
  for (const one of asked) {
    if (one.request.tokens.length <= READ_BACK) continue;
    const { tokens, at } = one.request;
    const parts = Array.from({ length: Math.ceil(tokens.length / batch) }, (_, i) =>
      context.scope(() => {
        const target = upload(context, observedAt(one.record, at), [1, map.width]);
        const part = tokens.subarray(i * batch, (i + 1) * batch);
        return distance(statesOf([{ ...one, request: { ...one.request, tokens: part } }]), target);
      }),
    );
    yield {
      tensors: parts,
      decode(bytes) {
        const distances = Float64Array.from(joined(bytes));
        expectFinite(distances, tokens, map.layer);
        reply(one.slot, { distances });
      },
    };
  }
}

function* correct(bench: Bench, asked: readonly Asked<Correct>[], reply: Answer): Iterable<Pending> {
  const { model, map } = bench;
  const { context } = model;
  // One ranking for each number of answers, which is a shape of the kernel.
  const groups = new Map<string, Asked<Correct>[]>();
  for (const one of asked) {
    const key = `${one.request.first} ${one.request.count}`;
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  for (const group of groups.values()) {
    const { first, count } = group[0].request;
    const scorer = first ? bench.first : bench.rest;
    for (const { request, cost } of group) {
      cost.flops(request.tokens.length * scorer.flopsPerRow, true);
    }
    for (const some of batches(group, bench.batch)) {
      const ranking = context.scope(() => {
        const tokens = concatenated(some.map(({ request }) => request.tokens));
        const residuals = new Float32Array(tokens.length * map.width);
        let filled = 0;
        for (const { request } of some) {
          residuals.set(request.residuals, filled);
          filled += request.residuals.length;
        }
        return scorer.correct(upload(context, residuals, [tokens.length, map.width]), tokens, count);
      });
      yield {
        tensors: ranking.tensors,
        decode([shortlist, places, scores]) {
          const { ids, doubts } = ranking.decode(shortlist, places, scores);
          const each = ids.length / doubts.length;
          let row = 0;
          for (const { slot, request } of some) {
            const end = row + request.tokens.length;
            reply(slot, { ids: ids.slice(row * each, end * each), doubts: doubts.slice(row, end) });
            row = end;
          }
        },
      };
    }
  }
}

/**
 * cos(g, w_v - m) over the vocabulary: m the mean of the tokens' rows, g the mean of J^T (h - F) over them, J the Jacobian
 * of a token's state F in its row. By Stein's lemma mean Jacobians are the slopes of the best linear fit: what the map's
 * bends do to single tokens averages out, and one vjp a token takes the place of d.
 */
async function slope({ model, map }: Bench, { slot, record, request, cost }: Asked<Slope>): Promise<Uint32Array> {
  const { context, tokenTable } = model;
  const d = map.width;
  const { at, tokens } = request;
  const n = tokens.length;
  const fill = (value: number) => new Uint32Array(n).fill(value);
  cost.rows(n, map.layer);
  cost.vjpRows(n, map.layer);
  cost.scan();
  const scored = context.scope(() => {
    const linearization = map.linearize(model.embed(tokens, fill(positionOf(record, at))), fill(slot), fill(at));
    const observed = upload(context, repeated(observedAt(record, at), n), [n, d]);
    const gradients = linearization.vjp(add(observed, linearization.value, -1)); // (n, d)
    const average = upload(context, new Float32Array(n).fill(1 / n), [1, n]);
    const gradient = matmul(average, gradients); // (1, d)
    const middle = matmul(average, embedding(context, tokenTable, tokens)); // (1, d)
    return [
      matmul(middle, gradient, { transposeB: true }), // (1, 1)
      ...tokenTable.chunks.flatMap((chunk) => [matmul(chunk, gradient, { transposeB: true }), distance(chunk, middle)]),
    ];
  });
  const [zero, ...parts] = (await takeBytes(scored)).map((bytes) => new Float32Array(bytes));
  const cosines: number[] = [];
  for (let c = 0; c < parts.length; c += 2) {
    parts[c].forEach((along, i) => {
      cosines.push((along - zero[0]) / (parts[c + 1][i] || 1));
    });
  }
  return Uint32Array.from(cosines, (_, token) => token).sort((a, b) => cosines[b] - cosines[a] || a - b);
}

/** |w_v J^T - (w J^T + residual)| over the vocabulary, J the Jacobian of the token's state in its row. */
async function screen({ model, map }: Bench, { slot, record, request, cost }: Asked<Screen>): Promise<Uint32Array> {
  const { context, config, tokenTable } = model;
  const d = map.width;
  const at = Uint32Array.of(request.at);
  const linearization = context.scope(() =>
    map.linearize(
      model.embed(Uint32Array.of(request.token), Uint32Array.of(positionOf(record, request.at))),
      Uint32Array.of(slot),
      at,
    ),
  );
  cost.rows(1, map.layer);
  cost.vjpRows(d, map.layer);
  cost.flops(2 * config.vocabularySize * d * d, true);
  try {
    const distances = context.scope(() => {
      const jacobian = reshape(linearization.jacobians(), [d, d]); // (output, input)
      const residual = upload(context, request.residual, [1, d]);
      const own = embedding(context, tokenTable, Uint32Array.of(request.token));
      const target = matmul(own, jacobian, { transposeB: true, residual }); // (1, d)
      return tokenTable.chunks.map((chunk) => distance(matmul(chunk, jacobian, { transposeB: true }), target));
    });
    const all = joined(await takeBytes(distances));
    return Uint32Array.from(all, (_, token) => token).sort((a, b) => all[a] - all[b] || a - b);
  } finally {
    linearization.dispose();
  }
}

function repeated(row: Float32Array, count: number): Float32Array {
  const rows = new Float32Array(count * row.length);
  for (let r = 0; r < count; r++) rows.set(row, r * row.length);
  return rows;
}

const observedAt = ({ values, width }: StateRecord, t: number): Float32Array =>
  values.subarray(t * width, (t + 1) * width);

/** Gives each request its rows of the states that came back, with their distances. @param at Position of row r. */
function replyStates<R extends Window | Candidates>(
  asked: readonly Asked<R>[],
  bytes: ArrayBuffer,
  at: (request: R, r: number) => number,
  reply: Answer,
): void {
  const states = new Float32Array(bytes);
  let begin = 0;
  for (const one of asked) {
    const { slot, record, request } = one;
    const end = begin + request.tokens.length * record.width;
    const rows = states.subarray(begin, end);
    reply(
      slot,
      evaluated(one, request.tokens, rows, (r) => at(request, r)),
    );
    begin = end;
  }
}

/** Distances of rows that were read back. */
function evaluated(
  { record }: Asked<Request>,
  tokens: Uint32Array,
  states: Float32Array,
  positionOfRow: (r: number) => number,
): Evaluated {
  const d = record.width;
  const distances = Float64Array.from(tokens, (_, r) => {
    const observed = observedAt(record, positionOfRow(r));
    return norm(states.subarray(r * d, (r + 1) * d).map((value, i) => value - observed[i]));
  });
  expectFinite(distances, tokens, record.layer);
  return { distances, states };
}

/** @throws InputError naming the token whose state is not finite. */
function expectFinite(distances: Float64Array, tokens: Uint32Array, layer: number): void {
  const bad = distances.findIndex((value) => !Number.isFinite(value));
  if (bad < 0) return;
  throw new InputError(
    `The state of token ${tokens[bad]} is not finite after ${layer} blocks.`,
    'The weights are damaged, or overflow f32: check the checkpoint ("preimage generate" shows whether it works).',
  );
}

/** Requests in groups of at most `limit` rows, at least one each. */
function batches<R extends { readonly tokens: Uint32Array }, A extends { readonly request: R }>(
  asked: readonly A[],
  limit: number,
): A[][] {
  const groups: A[][] = [];
  let room = 0;
  for (const one of asked) {
    const rows = one.request.tokens.length;
    if (groups.length === 0 || rows > room) {
      groups.push([]);
      room = limit;
    }
    groups.at(-1)!.push(one);
    room -= rows;
  }
  return groups;
}

function concatenated(parts: readonly Uint32Array[]): Uint32Array {
  const whole = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let filled = 0;
  for (const part of parts) {
    whole.set(part, filled);
    filled += part.length;
  }
  return whole;
}
