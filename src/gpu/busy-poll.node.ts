/** Polls in a row that may spin, so that a short readback stays short, before polling slows down. */
const SPINS = 64;
/** Pause between later polls, in milliseconds. */
const PAUSE_MS = 1;
/** Calls that begin a wait, by interface: each gets fresh spins. */
const WAITS = {
  GPUBuffer: ['mapAsync'],
  GPUQueue: ['onSubmittedWorkDone'],
  GPUDevice: ['popErrorScope', 'createComputePipelineAsync'],
} as const;

type Method = (this: unknown, ...args: unknown[]) => unknown;
type Prototypes = Partial<Record<string, { prototype: Record<string, Method> }>>;

let undo: (() => void) | undefined;

/**
 * Stops Dawn's Node binding from eating a core: while a promise is pending it re-arms `globalThis.setImmediate`
 * without end, and takes that core from a CPU adapter. After 64 polls in a row they are 1 ms apart. The callbacks of
 * others pass through untouched. Installed once per process, however often it is called.
 *
 * @param dawn The interfaces of the binding (its export `globals`), whose waiting methods begin the count anew.
 */
export function cureBusyPoll(dawn: object): void {
  if (undo) return;
  const original = globalThis.setImmediate;
  let polls = 0;
  const patient = function (this: unknown, callback: unknown, ...args: unknown[]) {
    if (args.length === 0 && isNativePoll(callback) && ++polls > SPINS) return setTimeout(callback, PAUSE_MS);
    return Reflect.apply(original, this, [callback, ...args]);
  };
  // Keeps `util.promisify(setImmediate)` working.
  Object.defineProperties(patient, Object.getOwnPropertyDescriptors(original));
  globalThis.setImmediate = patient as unknown as typeof setImmediate;

  const unwrap = wrapWaits(dawn as Prototypes, () => {
    polls = 0;
  });
  undo = () => {
    unwrap();
    // Someone may have wrapped it again (fake timers): what they hold still works, only slower.
    if (globalThis.setImmediate === (patient as unknown)) globalThis.setImmediate = original;
  };
}

/** Takes `cureBusyPoll` back: Dawn polls as it does by itself. */
export function restoreBusyPoll(): void {
  undo?.();
  undo = undefined;
}

/**
 * Dawn's poll callbacks are nameless native functions without parameters that `new` accepts. The `resolve` of a
 * promise is nameless and native too, but takes one argument and has no `prototype`.
 */
function isNativePoll(callback: unknown): callback is () => void {
  return (
    typeof callback === 'function' &&
    callback.name === '' &&
    callback.length === 0 &&
    Object.hasOwn(callback, 'prototype') &&
    /\{\s*\[native code\]\s*\}$/.test(`${callback}`)
  );
}

function wrapWaits(dawn: Prototypes, onWait: () => void): () => void {
  const undos: (() => void)[] = [];
  for (const [name, methods] of Object.entries(WAITS)) {
    const prototype = dawn[name]?.prototype;
    for (const method of methods) {
      const original = prototype?.[method];
      if (!prototype || !original) continue;
      const wrapped: Method = function (...args) {
        onWait();
        return Reflect.apply(original, this, args);
      };
      prototype[method] = wrapped;
      undos.push(() => {
        if (prototype[method] === wrapped) prototype[method] = original;
      });
    }
  }
  return () => {
    for (const undoOne of undos) undoOne();
  };
}
