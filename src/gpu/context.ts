import { AdapterError, GpuError, OutOfMemoryError } from '../errors.ts';
import { type AdapterDescription, type AdapterKind, describeAdapter, requestDevice } from './adapter.ts';
import { watchFailures } from './failures.ts';
import { createPipelineCache, type PipelineCache } from './pipelines.ts';
import { type BufferPool, createBufferPool, type PooledBuffer } from './pool.ts';
import { createReadback } from './readback.ts';
import { createRecorder, type Recorder } from './recorder.ts';
import { createScopes, type Scopes } from './scopes.ts';
import { type Kernel, kernelKey } from './shader.ts';
import type { Uniforms } from './uniforms.ts';
import { READ_MODE } from './usage.ts';

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
export interface Context extends Scopes {
  readonly device: GPUDevice;
  readonly adapter: AdapterDescription;
  readonly pool: BufferPool;
  readonly pipelines: PipelineCache;
  readonly recorder: Recorder;
  /** Records a kernel; returns at once. */
  run(run: Run): void;
  /** The kernels that `work` would run; none runs, and nothing is copied. For `pipelines.warmUp`. */
  plan(work: () => void): Kernel[];
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
  /** Throws what went wrong since the last call, or DeviceLostError once the device is gone. */
  check(): void;
  /** Frees every buffer; destroys the device unless the caller brought it. */
  destroy(): void;
}

// First guesses only; the recorder measures the adapter as it goes.
const COST_PER_SECOND: Record<AdapterKind, number> = { cpu: 5e9, hardware: 2e11 };

/**
 * Makes a context over any WebGPU device.
 * @throws AdapterError when there is no WebGPU or no adapter.
 */
export async function createContext(options: ContextOptions = {}): Promise<Context> {
  const adapter = options.device ? undefined : (options.adapter ?? (await browserAdapter(options.powerPreference)));
  const device = options.device ?? (await requestDevice(adapter!, options.bindingBytes));
  const info = device.adapterInfo ?? adapter?.info ?? {};
  const reason = options.reason ?? (options.device ? 'device brought by the caller' : 'the adapter WebGPU prefers');
  const description = describeAdapter(info, reason, options.kind);

  const failures = watchFailures(device);
  const { check } = failures;
  const pipelines = createPipelineCache(device, failures.explain);
  const recorder = createRecorder(device, COST_PER_SECOND[description.kind], failures.reject);
  const pool = createBufferPool(device, options.byteBudget ?? 64 * 2 ** 30, failures.explain, recorder.letGoOfBuffers);
  const readback = createReadback(device);
  const sentinel = pool.take(4, 'sentinel');
  let planned: Map<string, Kernel> | undefined;

  let idleSince = 0;
  /** Submits, waits, and throws what went wrong. */
  async function wait(forWhat: () => Promise<unknown>): Promise<void> {
    recorder.flush();
    const cost = recorder.takeCost();
    const start = performance.now();
    const refused = await forWhat().then(
      () => undefined,
      (reason: unknown) =>
        new GpuError(`Waiting for the GPU failed: ${reason}`, 'Create a new context.', { cause: reason }),
    );
    const end = performance.now();
    // Of waits that overlap, the later did not have the GPU to itself before the earlier was done.
    if (!refused) recorder.measured(cost, end - Math.max(start, idleSince));
    idleSince = end;
    // A wait may fail before the loss of the device is announced.
    if (refused) await Promise.race([device.lost, new Promise((resolve) => setTimeout(resolve, 100))]);
    await failures.settle();
    if (refused) throw refused;
  }

  const context: Context = {
    ...createScopes(),
    device,
    adapter: description,
    pool,
    pipelines,
    recorder,
    check,
    run({ kernel, buffers, uniforms, workgroups, cost }) {
      check();
      if (workgroups.some((n) => n === 0)) return;
      if (planned) return void planned.set(kernelKey(kernel), kernel);
      const pipeline = pipelines.get(kernel);
      if (buffers.length !== pipeline.bindings) {
        throw new GpuError(
          `${kernelKey(kernel)} declares ${pipeline.bindings} storage bindings and was given ${buffers.length}.`,
          'Pass one buffer, or undefined, for each.',
        );
      }
      for (const buffer of buffers) if (buffer) expectBindable(device, buffer, pipeline.label);
      expectDispatchable(device, workgroups, pipeline.label);
      recorder.dispatch({ pipeline, buffers: buffers.map((buffer) => buffer ?? sentinel), uniforms, workgroups, cost });
    },
    plan(work) {
      const kernels = new Map<string, Kernel>();
      planned = kernels;
      try {
        context.scope(work);
        return [...kernels.values()];
      } finally {
        planned = undefined;
      }
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
      if (planned) return;
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
      if (total > device.limits.maxBufferSize) {
        throw new OutOfMemoryError(
          `Reading back ${total} bytes at once needs a buffer that large; this device allows ${device.limits.maxBufferSize}.`,
          'Read fewer tensors, or fewer rows, at a time.',
        );
      }
      const staging = readback.take(Math.max(total, 4));
      try {
        requests.forEach(({ buffer, sizeBytes }, i) => {
          if (sizeBytes > 0) recorder.copy(buffer.gpu, 0, staging, offsets[i], Math.ceil(sizeBytes / 4) * 4);
        });
        await wait(() => staging.mapAsync(READ_MODE, 0, Math.max(total, 4)));
        const bytes = staging.getMappedRange(0, Math.max(total, 4));
        return requests.map(({ sizeBytes }, i) => bytes.slice(offsets[i], offsets[i] + sizeBytes));
      } finally {
        readback.release(staging);
      }
    },
    async finish() {
      check();
      await wait(() => device.queue.onSubmittedWorkDone());
    },
    destroy() {
      failures.destroy();
      recorder.destroy();
      readback.destroy();
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

function expectDispatchable(device: GPUDevice, workgroups: Run['workgroups'], label: string): void {
  const limit = device.limits.maxComputeWorkgroupsPerDimension;
  if (workgroups.every((n = 1) => n <= limit)) return;
  throw new GpuError(
    `${label} would run [${workgroups}] workgroups; this device allows ${limit} along a dimension.`,
    'Use fewer rows at a time.',
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
