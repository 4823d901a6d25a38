import type { RowLinearization } from '../autograd/rows.ts';
import { GpuError } from '../errors.ts';
import type { Context } from '../gpu/context.ts';
import type { Rows } from '../linalg/dense.ts';
import { share, type Tensor, takeBytes, upload } from '../tensor/tensor.ts';
import type { Chain } from './chain.ts';
import type { Jacobian, Jvp, Linearize, Reply, Request, Search, Value, Vector } from './requests.ts';

/** A search, and the prefix its rows see. */
export interface Run<T> {
  readonly slot: number;
  readonly search: Search<T>;
}

/** What a search has cost. A row is one step evaluated, or differentiated along one vector, for one vector. */
export interface Work {
  readonly rows: number;
  readonly jacobians: number;
}

/** What runs share. */
export interface RoundsOptions {
  readonly context: Context;
  readonly chain: Chain;
  readonly signal?: AbortSignal;
  /** Called after each round with the work of every run so far. */
  readonly onRound?: (work: readonly Work[]) => void;
}

/** Rows of one recording, and rows of Jacobians: each of them is d rows. */
const MOST_ROWS = 4096;

/** A linearization that searches hold rows of. */
interface Held {
  readonly at: RowLinearization;
  holders: number;
}

interface Asked<R extends Request> {
  readonly run: number;
  readonly slot: number;
  readonly request: R;
}

/** Tensors on their way back, and what they mean. */
interface Pending {
  readonly tensors: readonly Tensor[];
  decode(parts: readonly Float32Array[]): void;
}

/**
 * Runs searches side by side: in each round every one that has not ended asks something, what is asked of one step runs
 * as rows of one batch, and one round trip brings all replies.
 * @returns What each search found; undefined for those that `signal` cut short.
 */
export async function runRounds<T>(
  runs: readonly Run<T>[],
  { context, chain, signal, onRound }: RoundsOptions,
): Promise<{ results: (T | undefined)[]; work: Work[] }> {
  const results = new Array<T | undefined>(runs.length);
  const work = runs.map(() => ({ rows: 0, jacobians: 0 }));
  const held = new Map<number, { linearization: Held; row: number }>(); // by run
  const replies = new Map<number, Reply | undefined>(runs.map((_, run) => [run, undefined]));
  const release = (run: number) => {
    const one = held.get(run);
    held.delete(run);
    if (one && --one.linearization.holders === 0) one.linearization.at.dispose();
  };
  try {
    while (replies.size > 0 && !signal?.aborted) {
      const asked: Asked<Request>[] = [];
      for (const [run, reply] of replies) {
        const step = runs[run].search.next(reply as Reply);
        if (!step.done) asked.push({ run, slot: runs[run].slot, request: step.value });
        else {
          results[run] = step.value;
          release(run);
        }
      }
      replies.clear();
      await answer(asked);
      onRound?.(work);
    }
    return { results, work };
  } finally {
    for (const run of [...held.keys()]) release(run);
  }

  async function answer(asked: readonly Asked<Request>[]): Promise<void> {
    const pending: Pending[] = [];
    const ofKind = <K extends Request['kind']>(kind: K) =>
      asked.filter(({ request }) => request.kind === kind) as Asked<Extract<Request, { kind: K }>>[];
    try {
      for (const group of bySteps(ofKind('value'), MOST_ROWS)) pending.push(values(group));
      for (const group of bySteps(ofKind('linearize'), MOST_ROWS)) pending.push(linearizations(group));
      const widest = Math.max(1, ...chain.steps.map(({ width }) => width));
      for (const group of bySteps(ofKind('jacobian'), Math.ceil(MOST_ROWS / widest))) pending.push(jacobians(group));
      for (const one of jvps(ofKind('jvp'))) pending.push(one); // one by one: what was begun is given back if one fails
    } catch (error) {
      for (const { tensors } of pending) for (const tensor of tensors) tensor.dispose();
      throw error;
    }
    const bytes = await takeBytes(pending.flatMap(({ tensors }) => tensors));
    let next = 0;
    for (const { tensors, decode } of pending) {
      decode(bytes.slice(next, next + tensors.length).map((part) => new Float32Array(part)));
      next += tensors.length;
    }
    for (const { run, slot, request } of ofKind('exact')) replies.set(run, chain.twin?.(request.x, slot));
  }

  function uploaded(vectors: readonly Vector[]): Tensor {
    const d = vectors[0].length;
    const values = new Float32Array(vectors.length * d);
    vectors.forEach((vector, i) => {
      values.set(vector, i * d);
    });
    return upload(context, values, [vectors.length, d]);
  }

  function values(group: readonly Asked<Value>[]): Pending {
    const step = chain.steps[group[0].request.step];
    const states = context.scope(() => step.states(uploaded(group.map(({ request }) => request.x)), slotsOf(group)));
    return {
      tensors: [states],
      decode: ([all]) =>
        group.forEach(({ run }, i) => {
          work[run].rows++;
          replies.set(run, rowOf(all, i, step.width));
        }),
    };
  }

  function linearizations(group: readonly Asked<Linearize>[]): Pending {
    const step = chain.steps[group[0].request.step];
    // It outlives this round: derivatives are asked for in later ones.
    const at = context.unscoped(() => withRows(group, (rows) => step.linearize(rows, slotsOf(group))));
    const linearization: Held = { at, holders: group.length };
    group.forEach(({ run }, row) => {
      release(run);
      held.set(run, { linearization, row });
    });
    return {
      tensors: [share(at.value)],
      decode: ([all]) =>
        group.forEach(({ run }, i) => {
          work[run].rows++;
          replies.set(run, rowOf(all, i, step.width));
        }),
    };
  }

  function* jvps(asked: readonly Asked<Jvp>[]): Iterable<Pending> {
    const groups = new Map<Held, Asked<Jvp>[]>();
    for (const one of asked) {
      const at = held.get(one.run);
      if (!at) throw new GpuError('A derivative is asked for before any linearization.', 'This is a bug: report it.');
      groups.set(at.linearization, [...(groups.get(at.linearization) ?? []), one]);
    }
    for (const [{ at }, group] of groups) {
      const [count, d] = at.value.shape;
      const tangents = Array.from({ length: count }, (): Vector => new Float64Array(d)); // zero for who asks nothing
      for (const { run, request } of group) tangents[held.get(run)!.row] = request.tangent;
      yield {
        tensors: [context.scope(() => at.jvp(uploaded(tangents)))],
        decode: ([all]) => {
          for (const { run } of group) {
            work[run].rows++;
            replies.set(run, rowOf(all, held.get(run)!.row, d));
          }
        },
      };
    }
  }

  function jacobians(group: readonly Asked<Jacobian>[]): Pending {
    const step = chain.steps[group[0].request.step];
    const d = step.width;
    const at = withRows(group, (rows) => step.linearize(rows, slotsOf(group)));
    try {
      return {
        tensors: [context.scope(() => at.jacobians()), share(at.value)],
        decode: ([all, states]) =>
          group.forEach(({ run }, b) => {
            work[run].rows += 1 + d;
            work[run].jacobians++;
            const rows: Rows = Array.from({ length: d }, (_, j) => rowOf(all, j * group.length + b, d));
            replies.set(run, { value: rowOf(states, b, d), rows });
          }),
      };
    } finally {
      at.dispose();
    }
  }

  function withRows<R>(group: readonly Asked<Value | Linearize | Jacobian>[], work: (rows: Tensor) => R): R {
    const rows = uploaded(group.map(({ request }) => request.x));
    try {
      return work(rows);
    } finally {
      rows.dispose();
    }
  }
}

const slotsOf = (group: readonly Asked<Request>[]): Uint32Array => Uint32Array.from(group, ({ slot }) => slot);

const rowOf = (all: Float32Array, row: number, d: number): Vector =>
  Float64Array.from(all.subarray(row * d, (row + 1) * d));

/** Requests by the step they go to, at most `limit` together. */
function bySteps<R extends { readonly step: number }>(
  asked: readonly (Asked<Request> & { readonly request: R })[],
  limit: number,
): (Asked<Request> & { readonly request: R })[][] {
  const groups = new Map<number, (Asked<Request> & { readonly request: R })[][]>();
  for (const one of asked) {
    const parts = groups.get(one.request.step) ?? [[]];
    groups.set(one.request.step, parts);
    if (parts[parts.length - 1].length === limit) parts.push([]);
    parts[parts.length - 1].push(one);
  }
  return [...groups.values()].flat();
}
