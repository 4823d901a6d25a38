import { DeviceLostError, GpuError, OutOfMemoryError, type PreimageError } from '../errors.ts';

/**
 * What has gone wrong on a device since somebody last asked. WebGPU tells it by promises and events, long after the call
 * has returned. A shader that does not compile also makes the device reject what was recorded with it: of the two, the
 * cause is told and not the symptom.
 */
export interface Failures {
  /** Takes an error that knows its cause: a shader that does not compile, an allocation that fails. */
  explain(error: Promise<PreimageError | undefined>): void;
  /** Takes what an error scope around a command has caught. */
  reject(error: Promise<GPUError | null>): void;
  /** Throws the first failure since the last call, or DeviceLostError once the device is gone. */
  check(): void;
  /** Waits for the scopes that are open, then checks. */
  settle(): Promise<void>;
  /** Every check from now on says that the context was destroyed. */
  destroy(): void;
}

/** Collects the failures of a device. */
export function watchFailures(device: GPUDevice): Failures {
  let cause: PreimageError | undefined;
  let symptom: PreimageError | undefined;
  let gone: DeviceLostError | undefined;
  const scopes = new Set<Promise<void>>();

  // Browsers dispatch this event some time after the work is done; errors that must not be late have scopes.
  const onUncaptured = (event: GPUUncapturedErrorEvent) => {
    event.preventDefault();
    symptom ??= gpuError(event.error);
  };
  device.addEventListener('uncapturederror', onUncaptured);
  device.lost.then(({ reason, message }) => {
    gone ??= new DeviceLostError(
      `The GPU device was lost (${reason}): ${message || 'no message'}`,
      'Everything on it is gone: create a new context and load the model again. If it recurs, use smaller batches or update the driver.',
    );
  });

  function keep(scope: Promise<void>): void {
    const ended = scope
      .catch(() => {}) // the device is gone, and check() says so
      .finally(() => scopes.delete(ended));
    scopes.add(ended);
  }

  function check(): void {
    if (gone) throw gone;
    // While a scope is open, the cause of a symptom may still be on its way.
    const error = cause ?? (scopes.size === 0 ? symptom : undefined);
    if (!error) return;
    cause = symptom = undefined;
    throw error;
  }

  return {
    explain: (error) =>
      keep(
        error.then((found) => {
          cause ??= found;
        }),
      ),
    reject: (error) =>
      keep(
        error.then((found) => {
          if (found) symptom ??= gpuError(found);
        }),
      ),
    check,
    async settle() {
      await Promise.all(scopes);
      check();
    },
    destroy() {
      device.removeEventListener('uncapturederror', onUncaptured);
      gone = new DeviceLostError('This context was destroyed.', 'Create a new one with createContext().');
    },
  };
}

/** What the device said about memory, in our words. */
export function outOfMemory(what: string, error: GPUError): OutOfMemoryError {
  return new OutOfMemoryError(
    `${what} could not be allocated: ${error.message}`,
    'Use smaller batches, a shorter context or a smaller model, or an adapter with more memory.',
  );
}

function gpuError(error: GPUError): PreimageError {
  if (typeof GPUOutOfMemoryError !== 'undefined' && error instanceof GPUOutOfMemoryError) {
    return outOfMemory('A buffer', error);
  }
  return new GpuError(
    `The GPU rejected a command: ${error.message}`,
    'This is a bug in preimage or in an operation of your own; please report it.',
  );
}
