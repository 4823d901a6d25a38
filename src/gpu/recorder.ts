import type { Pipeline } from './pipelines.ts';
import type { PooledBuffer } from './pool.ts';
import { createProfiler, type KernelTime, type Profiler } from './profiler.ts';
import { createUniformRing, UNIFORM_SLOT_BYTES, type Uniforms } from './uniforms.ts';

/** One run of a kernel. */
export interface Dispatch {
  readonly pipeline: Pipeline;
  /** Storage bindings 1..n in order. */
  readonly buffers: readonly PooledBuffer[];
  readonly uniforms: Uniforms;
  readonly workgroups: readonly [x: number, y?: number, z?: number];
  /** Floating-point operations (or elements moved), from which long work is split into submits. */
  readonly cost: number;
}

/** Counters of a recorder. */
export interface RecorderStatistics {
  submits: number;
  dispatches: number;
  bindGroupsCreated: number;
}

/**
 * Collects dispatches into one command encoder and submits them together. Work beyond about 200 ms is split into
 * several submits, so that no watchdog fires and other programs keep their share of the GPU.
 */
export interface Recorder {
  readonly statistics: Readonly<RecorderStatistics>;
  /** Number of the open recording; grows with each submit. */
  readonly recording: number;
  dispatch(dispatch: Dispatch): void;
  copy(source: GPUBuffer, sourceOffset: number, target: GPUBuffer, targetOffset: number, sizeBytes: number): void;
  /** Submits what was recorded. */
  flush(): void;
  /** Tells how long work of known cost took, from which the size of submits follows. */
  measured(cost: number, milliseconds: number): void;
  /** Cost submitted or recorded since the last call. */
  takeCost(): number;
  /** Submits what was recorded and drops all bind groups, so that buffers can be destroyed. */
  letGoOfBuffers(): void;
  /** Times each kernel that `work` runs. Slower than an ordinary run: every dispatch is a pass or a submit of its own. */
  profile(work: () => Promise<void>): Promise<KernelTime[]>;
  destroy(): void;
}

const UNIFORM_SLOTS = 2048;
const BIND_GROUPS_KEPT = 4096;
const SUBMIT_MS = 200;
const LEAST_SUBMIT_COST = 1e8;

/**
 * @param costPerSecond First guess of the adapter's speed in floating-point operations a second.
 * @param report Receives what the device rejects.
 */
export function createRecorder(
  device: GPUDevice,
  costPerSecond: number,
  report: (error: Promise<GPUError | null>) => void,
): Recorder {
  const ring = createUniformRing(device, UNIFORM_SLOTS);
  const bindGroups = new Map<string, GPUBindGroup>();
  const statistics: RecorderStatistics = { submits: 0, dispatches: 0, bindGroupsCreated: 0 };
  let encoder: GPUCommandEncoder | undefined;
  let pass: GPUComputePassEncoder | undefined;
  let recording = 0;
  let openCost = 0;
  let takenCost = 0;
  let submitCost = (costPerSecond * SUBMIT_MS) / 1000;
  let profiler: Profiler | undefined;
  let previousEnd: Promise<number> = Promise.resolve(0);

  function watched<T>(command: () => T): T {
    device.pushErrorScope('validation');
    try {
      return command();
    } finally {
      report(device.popErrorScope());
    }
  }

  function bindGroup({ pipeline, buffers }: Dispatch): GPUBindGroup {
    const key = `${pipeline.id}:${buffers.map((buffer) => buffer.id).join(',')}`;
    let group = bindGroups.get(key);
    if (!group) {
      if (bindGroups.size >= BIND_GROUPS_KEPT) bindGroups.clear();
      const entries = [
        { binding: 0, resource: { buffer: ring.buffer, size: UNIFORM_SLOT_BYTES } },
        ...buffers.map((buffer, i) => ({ binding: i + 1, resource: { buffer: buffer.gpu } })),
      ];
      group = watched(() => device.createBindGroup({ layout: pipeline.layout, entries }));
      bindGroups.set(key, group);
      statistics.bindGroupsCreated++;
    }
    return group;
  }

  function endPass(): void {
    pass?.end();
    pass = undefined;
  }

  function flush(): void {
    endPass();
    if (!encoder) return;
    const finished = encoder;
    encoder = undefined;
    profiler?.resolve(finished);
    ring.flush();
    watched(() => device.queue.submit([finished.finish()]));
    openCost = 0;
    recording++;
    statistics.submits++;
  }

  function dispatch(work: Dispatch): void {
    if (openCost > 0 && openCost + work.cost > submitCost) flush();
    let offset = ring.push(work.uniforms);
    if (offset === undefined || profiler?.full()) {
      flush();
      offset = ring.push(work.uniforms)!;
    }
    encoder ??= device.createCommandEncoder();
    const timestamps = profiler?.timestamps();
    if (timestamps) endPass();
    pass ??= encoder.beginComputePass(timestamps ? { timestampWrites: timestamps } : undefined);
    pass.setPipeline(work.pipeline.gpu);
    pass.setBindGroup(0, bindGroup(work), [offset]);
    pass.dispatchWorkgroups(work.workgroups[0], work.workgroups[1] ?? 1, work.workgroups[2] ?? 1);
    openCost += work.cost;
    takenCost += work.cost;
    statistics.dispatches++;
    if (timestamps) {
      profiler?.dispatched(work.pipeline.label, work.cost);
      endPass();
    } else if (profiler) {
      flush();
      timeSubmit(profiler, work);
    }
  }

  // Without timestamps, submits are timed one after the other: the time of each runs from the end of its predecessor.
  function timeSubmit(into: Profiler, { pipeline, cost }: Dispatch): void {
    const submitted = performance.now();
    const done = device.queue.onSubmittedWorkDone().then(() => performance.now());
    previousEnd = Promise.all([previousEnd, done]).then(([before, end]) => {
      into.add(pipeline.label, cost, end - Math.max(before, submitted));
      return end;
    });
    previousEnd.catch(() => {}); // profile() throws it, unless the work it times has thrown before
  }

  return {
    statistics,
    get recording() {
      return recording;
    },
    dispatch,
    copy(source, sourceOffset, target, targetOffset, sizeBytes) {
      endPass();
      encoder ??= device.createCommandEncoder();
      encoder.copyBufferToBuffer(source, sourceOffset, target, targetOffset, sizeBytes);
    },
    flush,
    measured(cost, milliseconds) {
      if (cost < LEAST_SUBMIT_COST) return; // a wait for next to nothing, or for bytes alone, tells no speed
      const fitting = (cost / Math.max(milliseconds, 1)) * SUBMIT_MS;
      // A short measurement is mostly latency: it can only show that the adapter is faster than was thought.
      if (milliseconds > 20 || fitting > submitCost) submitCost = Math.max(fitting, LEAST_SUBMIT_COST);
    },
    takeCost() {
      const cost = takenCost;
      takenCost = 0;
      return cost;
    },
    letGoOfBuffers() {
      flush();
      bindGroups.clear();
    },
    async profile(work) {
      flush();
      profiler = createProfiler(device);
      previousEnd = Promise.resolve(0);
      try {
        await work();
        flush();
        await Promise.all([profiler.settle(), previousEnd]);
        return profiler.result();
      } finally {
        flush(); // what work that threw has left open
        profiler.destroy();
        profiler = undefined;
      }
    },
    destroy: () => ring.buffer.destroy(),
  };
}
