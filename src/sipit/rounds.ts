import { takeBytes } from '../tensor/tensor.ts';
import type { CostMeter } from './cost.ts';
import { screen, slope } from './jacobian-orders.ts';
import { type Answer, type Asked, type Bench, candidates, correct, type Pending, propose, windows } from './replies.ts';
import type { Recovery, Reply, Request } from './requests.ts';
import type { StateRecord } from './types.ts';

/** A recovery in a slot of the bench. */
export interface Run<T> {
  readonly record: StateRecord;
  readonly recovery: Recovery<T>;
  readonly cost: CostMeter;
  /** Its share of the time, in seconds. */
  seconds: number;
}

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

async function answer(bench: Bench, asked: readonly Asked<Request>[], reply: Answer) {
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
