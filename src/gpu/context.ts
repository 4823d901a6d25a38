import { AdapterError, DeviceLostError, GpuError, OutOfMemoryError, type PreimageError } from '../errors.ts';
import { type AdapterDescription, type AdapterKind, describeAdapter, requestDevice } from './adapter.ts';
import { createPipelineCache, type PipelineCache } from './pipelines.ts';
import { type BufferPool, createBufferPool, type PooledBuffer } from './pool.ts';
import { createRecorder, type Recorder } from './recorder.ts';
import { type Kernel, kernelKey } from './shader.ts';
import type { Uniforms } from './uniforms.ts';

/** How to make a context; all optional. */
export interface ContextOptions {
  /** An adapter chosen by the caller; default: `navigator.gpu`'s. */
  readonly adapter?: GPUAdapter;
  /** A device brought by the caller; it is never destroyed here. */
  readonly device?: GPUDevice;
  /** Why this adapter or device was taken, for reports. */
  readonly reason?: string;
  readonly powerPreference?: GPUPowerPreference;
  /** Overrides the guess whether shaders run on a GPU or on the CPU. */
  readonly kind?: AdapterKind;
  /** The largest tensor the work will bind, in bytes; the device is asked for no more than that. Default 1 GiB. */
  readonly bindingBytes?: number;
  /** Bound for all buffers together, in bytes. Default 64 GiB: the adapter's memory is the limit. */
  readonly byteBudget?: number;
}

/** A kernel run over buffers; see `Context.run`. */
export interface Run {
  readonly kernel: Kernel;
  /** Storage bindings 1..n in order; undefined for an operand this kernel does not read. */
  readonly buffers: readonly (PooledBuffer | undefined)[];
  readonly uniforms: Uniforms;
  readonly workgroups: readonly [x: number, y?: number, z?: number];
  /** Floating-point operations of this dispatch. */
  readonly cost: number;
}

/** A device with what it takes to compute on it: buffers, pipelines, a recorder, and its errors. */
export interface Context {
  readonly device: GPUDevice;
  readonly adapter: AdapterDescription;
  readonly pool: BufferPool;
  readonly pipelines: PipelineCache;
  readonly recorder: Recorder;
  /** Records a kernel; returns at once. */
  run(run: Run): void;
  /** A buffer of at least `sizeBytes`, contents undefined. */
  take(sizeBytes: number, label: string): PooledBuffer;
  /** A buffer holding `data`, which is copied at once. */
  upload(data: Uint8Array | Float32Array | Uint32Array, label: string): PooledBuffer;
  /** Overwrites part of a buffer, after everything recorded so far. */
  write(buffer: PooledBuffer, offsetBytes: number, data: Uint8Array | Float32Array | Uint32Array): void;
  release(buffer: PooledBuffer): void;
  /** Copies bytes between buffers, in order with the recorded kernels. */
  copy(source: PooledBuffer, sourceOffset: number, target: PooledBuffer, targetOffset: number, sizeBytes: number): void;
  /**
   * Submits everything recorded and reads the first `sizeBytes` of each buffer, in one round trip.
   * @throws the first error kept since the last call; DeviceLostError.
   */
  read(requests: readonly { buffer: PooledBuffer; sizeBytes: number }[]): Promise<ArrayBuffer[]>;
  /** Submits everything recorded and waits until it is done. */
  finish(): Promise<void>;
  /** Disposes everything tracked during `work` except what it returns (a value, or an array or record of values). */
  scope<T>(work: () => T): T;
  /** Runs `work` outside all scopes: what it makes lives until it is disposed by hand. */
  unscoped<T>(work: () => T): T;
  /** Hands a disposable to the innermost scope. */
  track(value: Disposable): void;
  /** Throws what went wrong since the last call, or DeviceLostError once the device is gone. */
  check(): void;
  /** Frees every buffer; destroys the device unless the caller brought it. */
  destroy(): void;
}

// First guesses only; the recorder measures the adapter as it goes.
const COST_PER_SECOND: Record<AdapterKind, number> = { cpu: 5e9, hardware: 2e11 };
const SCOPED_ALLOCATION_BYTES = 16 * 2 ** 20;

/**
 * Makes a context over any WebGPU device.
 * @throws AdapterError when there is no WebGPU or no adapter.
 */
export async function createContext(options: ContextOptions = {}): Promise<Context> {
  const adapter = options.device ? undefined : (options.adapter ?? (await browserAdapter(options.powerPreference)));
  const device = options.device ?? (await requestDevice(adapter!, options.bindingBytes));
  const info = device.adapterInfo ?? adapter?.info;
  const reason = options.reason ?? (options.device ? 'device brought by the caller' : 'the adapter WebGPU prefers');
  const description = describeAdapter(info, device.features, reason, options.kind);

  let failure: PreimageError | undefined;
  let lost: DeviceLostError | undefined;
  let destroyed = false;
  const keep = (error: PreimageError) => {
    failure ??= error;
  };
  const outstanding = new Set<Promise<unknown>>();
  const await_ = (promise: Promise<unknown>) => {
    outstanding.add(promise);
    promise.finally(() => outstanding.delete(promise));
  };

  device.addEventListener('uncapturederror', (event) => {
    event.preventDefault();
    keep(gpuError(event.error.message, event.error));
  });
  device.lost.then(({ reason: why, message }) => {
    lost = new DeviceLostError(
      `The GPU device was lost (${why}): ${message || 'no message'}`,
      'Everything on it is gone: create a new context and load the model again. If it recurs, use smaller batches or update the driver.',
    );
  });

  const pipelines = createPipelineCache(device, (error) => await_(error.then((e) => e && keep(e as PreimageError))));
  const recorder = createRecorder(device, COST_PER_SECOND[description.kind]);
  const pool = createBufferPool(device, options.byteBudget ?? 64 * 2 ** 30, scopedCreate, recorder.forgetBindGroups);
  const sentinel = pool.take(4, 'sentinel');
  const scopes: Set<Disposable>[] = [];

  function scopedCreate<T>(what: string, sizeBytes: number, create: () => T): T {
    if (sizeBytes < SCOPED_ALLOCATION_BYTES) return create();
    device.pushErrorScope('out-of-memory');
    device.pushErrorScope('validation');
    const result = create();
    for (let scope = 0; scope < 2; scope++) {
      await_(
        device.popErrorScope().then((error) => {
          if (error) keep(outOfMemory(what, sizeBytes, error));
        }),
      );
    }
    return result;
  }

  function check(): void {
    if (destroyed) throw new DeviceLostError('This context was destroyed.', 'Create a new one with createContext().');
    if (lost) throw lost;
    if (failure) {
      const error = failure;
      failure = undefined;
      throw error;
    }
  }

  async function settle(): Promise<void> {
    await Promise.all(outstanding);
    check();
  }

  async function timed<T>(wait: () => Promise<T>): Promise<T> {
    const cost = recorder.takeCost();
    const start = performance.now();
    const result = await wait();
    recorder.measured(cost, performance.now() - start);
    return result;
  }

  const context: Context = {
    device,
    adapter: description,
    pool,
    pipelines,
    recorder,
    check,
    run({ kernel, buffers, uniforms, workgroups, cost }) {
      check();
      if (workgroups.some((n) => n === 0)) return;
      const pipeline = pipelines.get(kernel);
      if (buffers.length !== pipeline.bindings) {
        throw new GpuError(
          `${kernelKey(kernel)} declares ${pipeline.bindings} storage bindings and was given ${buffers.length}.`,
          'Pass one buffer, or undefined, for each.',
        );
      }
      for (const buffer of buffers) if (buffer) expectBindable(device, buffer, pipeline.label);
      recorder.dispatch({ pipeline, buffers: buffers.map((buffer) => buffer ?? sentinel), uniforms, workgroups, cost });
    },
    take(sizeBytes, label) {
      check();
      return pool.take(sizeBytes, label);
    },
    upload(data, label) {
      check();
      const buffer = pool.take(data.byteLength, label, recorder.recording);
      writeBytes(device, buffer, 0, data);
      return buffer;
    },
    write(buffer, offsetBytes, data) {
      check();
      recorder.flush();
      writeBytes(device, buffer, offsetBytes, data);
    },
    release: (buffer) => pool.release(buffer, recorder.recording),
    copy(source, sourceOffset, target, targetOffset, sizeBytes) {
      check();
      recorder.copy(source.gpu, sourceOffset, target.gpu, targetOffset, sizeBytes);
    },
    async read(requests) {
      check();
      const offsets: number[] = [];
      let total = 0;
      for (const { sizeBytes } of requests) {
        offsets.push(total);
        total += Math.ceil(sizeBytes / 4) * 4;
      }
      const staging = device.createBuffer({ label: 'readback', size: Math.max(total, 4), usage: 0x01 | 0x08 }); // MAP_READ | COPY_DST
      requests.forEach(({ buffer, sizeBytes }, i) => {
        if (sizeBytes > 0) recorder.copy(buffer.gpu, 0, staging, offsets[i]!, Math.ceil(sizeBytes / 4) * 4);
      });
      recorder.flush();
      try {
        await timed(() => staging.mapAsync(1));
      } catch (cause) {
        await settle();
        throw new GpuError(
          `Reading back ${total} bytes failed: ${cause}`,
          'If the device was lost, create a new context.',
          { cause },
        );
      }
      await settle();
      const bytes = staging.getMappedRange();
      const results = requests.map(({ sizeBytes }, i) => bytes.slice(offsets[i]!, offsets[i]! + sizeBytes));
      staging.destroy();
      return results;
    },
    async finish() {
      check();
      recorder.flush();
      await timed(() => device.queue.onSubmittedWorkDone());
      await settle();
    },
    scope(work) {
      const tracked = new Set<Disposable>();
      scopes.push(tracked);
      let result: ReturnType<typeof work> | undefined;
      try {
        result = work();
        return result;
      } finally {
        scopes.pop();
        for (const kept of returned(result)) {
          if (tracked.delete(kept)) context.track(kept);
        }
        for (const value of tracked) value[Symbol.dispose]();
      }
    },
    unscoped(work) {
      const suspended = scopes.splice(0);
      try {
        return work();
      } finally {
        scopes.push(...suspended);
      }
    },
    track: (value) => void scopes.at(-1)?.add(value),
    destroy() {
      if (destroyed) return;
      destroyed = true;
      pool.destroy();
      if (!options.device) device.destroy();
    },
  };
  return context;
}

function expectBindable(device: GPUDevice, { sizeBytes }: PooledBuffer, label: string): void {
  const limit = device.limits.maxStorageBufferBindingSize;
  if (sizeBytes <= limit) return;
  throw new OutOfMemoryError(
    `${label} would bind a buffer of ${sizeBytes} bytes; this device allows ${limit}.`,
    'Use fewer rows at a time, or create the context with a larger bindingBytes where the adapter allows it.',
  );
}

async function browserAdapter(powerPreference: GPUPowerPreference = 'high-performance'): Promise<GPUAdapter> {
  const gpu = globalThis.navigator?.gpu;
  if (!gpu) {
    throw new AdapterError(
      'There is no navigator.gpu.',
      'Use a browser with WebGPU over https or localhost; under Node, use createNodeContext() of "preimage/node".',
    );
  }
  const adapter = await gpu.requestAdapter({ powerPreference });
  if (!adapter) {
    throw new AdapterError(
      'WebGPU is there, but it has no adapter.',
      'Check chrome://gpu; on Linux, Chromium may need --enable-unsafe-webgpu.',
    );
  }
  return adapter;
}

function writeBytes(
  device: GPUDevice,
  buffer: PooledBuffer,
  offset: number,
  data: Uint8Array | Float32Array | Uint32Array,
): void {
  // writeBuffer takes multiples of four bytes.
  const whole = data.byteLength % 4 === 0 ? data : padToFour(data);
  device.queue.writeBuffer(buffer.gpu, offset, whole.buffer, whole.byteOffset, whole.byteLength);
}

function padToFour(data: Uint8Array | Float32Array | Uint32Array): Uint8Array {
  const padded = new Uint8Array(Math.ceil(data.byteLength / 4) * 4);
  padded.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return padded;
}

function gpuError(message: string, error: GPUError): PreimageError {
  if (typeof GPUOutOfMemoryError !== 'undefined' && error instanceof GPUOutOfMemoryError)
    return outOfMemory('A buffer', 0, error);
  return new GpuError(
    `The GPU rejected a command: ${message}`,
    'This is a bug in preimage or in an operation of your own; please report it.',
  );
}

function outOfMemory(what: string, sizeBytes: number, error: GPUError): OutOfMemoryError {
  return new OutOfMemoryError(
    `${what}${sizeBytes > 0 ? ` (${sizeBytes} bytes)` : ''} could not be allocated: ${error.message}`,
    'Use smaller batches, a shorter context or a smaller model, or an adapter with more memory.',
  );
}

function* returned(result: unknown): Iterable<Disposable> {
  if (result === null || typeof result !== 'object') return;
  if (Symbol.dispose in result) yield result as Disposable;
  else for (const value of Object.values(result)) yield* returned(value);
}
