import { InputError } from '../errors.ts';
import type { Ranked, Scorer } from '../lens/scorer.ts';
import { countFrom, type LanguageModel } from '../model/model.ts';
import type { PositionMap } from '../model/position-map.ts';
import { distance } from '../ops/distance.ts';
import { type Tensor, upload } from '../tensor/tensor.ts';
import type { CostMeter } from './cost.ts';
import { norm } from './decision.ts';
import { joined } from './neighbours.ts';
import { lengthOf, positionOf, stateAt } from './record.ts';
import type { Candidates, Correct, Evaluated, Reply, Request, Window } from './requests.ts';
import type { StateRecord } from './types.ts';

/** How the requests that run as batches are answered: of one kind from all recoveries together. */

/** What recoveries share: the model up to the layer, with a slot of keys and values for each, and its lens. */
export interface Bench {
  readonly model: LanguageModel;
  readonly map: PositionMap;
  readonly first: Scorer;
  readonly rest: Scorer;
  /** Most rows of one recording. */
  readonly batch: number;
}

/** A request of one run. */
export interface Asked<R extends Request> {
  readonly slot: number;
  readonly request: R;
  readonly record: StateRecord;
  readonly cost: CostMeter;
}

/** Tensors on their way back, and what they mean. */
export interface Pending {
  readonly tensors: readonly Tensor[];
  decode(bytes: readonly ArrayBuffer[]): void;
}

/** Called with the reply to each request. */
export type Answer = (slot: number, reply: Reply) => void;

/** Tokens looked at for a proposal: the best, and the next for the doubt. */
const PROPOSED = 2;
/** More states than this many of one request stay on the GPU: more than rivals, which the search goes on from. */
const READ_BACK = 1024;

/** What the lens proposes for every position of each record. */
export function* propose(bench: Bench, asked: readonly Asked<Request>[], reply: Answer): Iterable<Pending> {
  if (asked.length === 0) return;
  const { context } = bench.model;
  const proposals = asked.map(({ record }): Ranked => {
    const length = lengthOf(record);
    return { ids: new Uint32Array(length), doubts: new Float32Array(length) };
  });
  const rows = asked.flatMap(({ record }, i) => Array.from(proposals[i].ids, (_, t) => ({ record, i, t })));
  const stacked = (of: typeof rows, back: number) => {
    const d = bench.map.width;
    const values = new Float32Array(of.length * d);
    of.forEach(({ record, t }, r) => {
      values.set(stateAt(record, t - back), r * d);
    });
    return upload(context, values, [of.length, d]);
  };
  for (const [scorer, part, isFirst] of [
    [bench.first, rows.filter(({ t }) => t === 0), true],
    [bench.rest, rows.filter(({ t }) => t > 0), false],
  ] as const) {
    for (const { record, cost } of new Set(part.map(({ i }) => asked[i]))) {
      const count = isFirst ? 1 : lengthOf(record) - 1;
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

/** States of consecutive tokens, each run's behind its own; their keys and values are kept. */
export function* windows(
  { model, map, batch }: Bench,
  asked: readonly Asked<Window>[],
  reply: Answer,
): Iterable<Pending> {
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

/** States of alternatives at one position of each run. */
export function* candidates(
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
        const target = upload(context, stateAt(one.record, at), [1, map.width]);
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

/** What the lens favours, given how far off tokens tried are. */
export function* correct(bench: Bench, asked: readonly Asked<Correct>[], reply: Answer): Iterable<Pending> {
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
    const observed = stateAt(record, positionOfRow(r));
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
