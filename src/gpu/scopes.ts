import { GpuError } from '../errors.ts';

/** Who disposes what: everything tracked inside a scope goes when the scope ends, except what it returns. */
export interface Scopes {
  /**
   * Disposes everything tracked during `work` except what it returns: a value, or an array or record of values.
   * @throws GpuError when `work` is async: it may only record.
   */
  scope<T>(work: () => T): T;
  /** Runs `work` outside all scopes: what it makes lives until it is disposed by hand. */
  unscoped<T>(work: () => T): T;
  /** Hands a disposable to the innermost scope. */
  track(value: Disposable): void;
}

/** Nested scopes of one context. */
export function createScopes(): Scopes {
  const open: Set<Disposable>[] = [];
  const track = (value: Disposable) => void open.at(-1)?.add(value);
  return {
    track,
    scope(work) {
      const tracked = new Set<Disposable>();
      open.push(tracked);
      let result: ReturnType<typeof work> | undefined;
      try {
        result = work();
        if (result instanceof Promise) {
          throw new GpuError(
            'The work of a scope is async.',
            'Record inside the scope, and await read() outside of it.',
          );
        }
        return result;
      } finally {
        open.pop();
        for (const kept of returned(result)) if (tracked.delete(kept)) track(kept);
        for (const value of tracked) value[Symbol.dispose]();
      }
    },
    unscoped(work) {
      const suspended = open.splice(0);
      try {
        return work();
      } finally {
        open.push(...suspended);
      }
    },
  };
}

/** The disposables in a value, an array or a record. */
function* returned(result: unknown): Iterable<Disposable> {
  if (result === null || typeof result !== 'object') return;
  if (Symbol.dispose in result) yield result as Disposable;
  else for (const value of Object.values(result)) yield* returned(value);
}
