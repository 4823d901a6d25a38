import type { Rows } from '../linalg/dense.ts';

/** What a search asks of the maps it goes through, and what it is told. Vectors are float64; maps run in f32. */

/** A vector of width d in float64. */
export type Vector = Float64Array;

/** The image of a vector under one step of the chain: one row. */
export interface Value {
  readonly kind: 'value';
  readonly step: number;
  readonly x: Vector;
}

/** As `Value`, and derivatives there may be asked for until the next `Linearize` of the same search: one row. */
export interface Linearize {
  readonly kind: 'linearize';
  readonly step: number;
  readonly x: Vector;
}

/** The derivative along a vector, where the search last linearized: one row. */
export interface Jvp {
  readonly kind: 'jvp';
  readonly tangent: Vector;
}

/** The image and all derivatives at a vector: 1 + d rows. */
export interface Jacobian {
  readonly kind: 'jacobian';
  readonly step: number;
  readonly x: Vector;
}

/** The image of a vector under the whole chain in float64, on the CPU; undefined where there is no float64 twin. */
export interface Exact {
  readonly kind: 'exact';
  readonly x: Vector;
}

/** The answer to each kind of request. */
export interface Replies {
  readonly value: Vector;
  readonly linearize: Vector;
  readonly jvp: Vector;
  /** Row i holds the derivatives of output i. */
  readonly jacobian: { readonly value: Vector; readonly rows: Rows };
  readonly exact: Vector | undefined;
}

export type Request = Value | Linearize | Jvp | Jacobian | Exact;
export type Reply = Replies[keyof Replies];

/** A computation that stops at each request and goes on with the reply: many of them share the GPU's batches. */
export type Search<T> = Generator<Request, T, Reply>;

/** Asks one request. */
export function* ask<R extends Request>(request: R): Search<Replies[R['kind']]> {
  return (yield request) as Replies[R['kind']];
}
