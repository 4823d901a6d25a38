import type { Rows } from '../../src/linalg/dense.ts';
import type { Search, Vector } from '../../src/probe/requests.ts';

/** A step in float64, with its Jacobian: row i holds the derivatives of output i. */
export interface Float64Step {
  g(x: Vector): Vector;
  jacobian(x: Vector): Rows;
}

/** What a search asked for on its way, counted as `Work` counts. */
export interface Asked {
  rows: number;
  jacobians: number;
}

/** Runs a search by itself, each reply computed in float64 at once: no GPU. */
export function searched<T>(search: Search<T>, steps: readonly Float64Step[]): { result: T; asked: Asked } {
  const asked: Asked = { rows: 0, jacobians: 0 };
  let at: Rows = [];
  let next = search.next(undefined as never);
  while (!next.done) {
    const request = next.value;
    asked.rows += request.kind === 'exact' ? 0 : 1;
    if (request.kind === 'jvp') {
      const { tangent } = request;
      next = search.next(Float64Array.from(at, (row) => row.reduce((sum, v, i) => sum + v * tangent[i], 0)));
      continue;
    }
    const { x } = request;
    if (request.kind === 'exact') {
      next = search.next(steps.reduce((state, { g }) => g(state), x));
      continue;
    }
    const { g, jacobian } = steps[request.step];
    if (request.kind === 'linearize') at = jacobian(x);
    if (request.kind === 'jacobian') {
      asked.rows += x.length;
      asked.jacobians++;
      next = search.next({ value: g(x), rows: jacobian(x) });
    } else next = search.next(g(x));
  }
  return { result: next.value, asked };
}
