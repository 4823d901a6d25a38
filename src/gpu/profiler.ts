import { COPY_DST, COPY_SRC, MAP_READ, QUERY_RESOLVE, READ_MODE } from './usage.ts';

/** Time of one kernel over a profile. */
export interface KernelTime {
  readonly label: string;
  readonly dispatches: number;
  /** Milliseconds on the GPU where the device has timestamps, else wall clock around each submit. */
  readonly milliseconds: number;
  /** Floating-point operations, where the operation states them. */
  readonly flops: number;
}

/** Collects the time of each dispatch. */
export interface Profiler {
  /** Timestamp writes for the next dispatch; undefined without the feature or when the query set is full. */
  timestamps(): GPUComputePassTimestampWrites | undefined;
  /** Notes a dispatch timed by `timestamps()`. */
  dispatched(label: string, flops: number): void;
  /** Adds a measured wall-clock time. */
  add(label: string, flops: number, milliseconds: number): void;
  /** True when the query set is full and must be resolved. */
  full(): boolean;
  /** Encodes the resolve of the queries into the recording that holds them. */
  resolve(encoder: GPUCommandEncoder): void;
  /** Waits for outstanding queries. */
  settle(): Promise<void>;
  /** Time by kernel, longest first. */
  result(): KernelTime[];
  destroy(): void;
}

const QUERIES = 512;

/** A profiler on timestamp queries where the device has them. */
export function createProfiler(device: GPUDevice): Profiler {
  const times = new Map<string, { label: string; dispatches: number; milliseconds: number; flops: number }>();
  const queries = device.features.has('timestamp-query')
    ? device.createQuerySet({ type: 'timestamp', count: 2 * QUERIES })
    : undefined;
  let open: { label: string; flops: number }[] = [];
  const outstanding: Promise<void>[] = [];

  function add(label: string, flops: number, milliseconds: number): void {
    const entry = times.get(label) ?? { label, dispatches: 0, milliseconds: 0, flops: 0 };
    entry.dispatches++;
    entry.milliseconds += milliseconds;
    entry.flops += flops;
    times.set(label, entry);
  }

  return {
    add,
    timestamps() {
      if (!queries) return undefined;
      const index = 2 * open.length;
      return { querySet: queries, beginningOfPassWriteIndex: index, endOfPassWriteIndex: index + 1 };
    },
    dispatched: (label, flops) => void open.push({ label, flops }),
    full: () => open.length === QUERIES,
    resolve(encoder) {
      if (!queries || open.length === 0) return;
      const dispatches = open;
      open = [];
      const sizeBytes = 16 * dispatches.length;
      const resolved = device.createBuffer({ size: sizeBytes, usage: QUERY_RESOLVE | COPY_SRC });
      const staging = device.createBuffer({ size: sizeBytes, usage: MAP_READ | COPY_DST });
      encoder.resolveQuerySet(queries, 0, 2 * dispatches.length, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, sizeBytes);
      // The map may only be asked for after the submit that holds the copy.
      const mapped = Promise.resolve().then(() => staging.mapAsync(READ_MODE));
      const added = mapped.then(() => {
        const ticks = new BigInt64Array(staging.getMappedRange().slice(0));
        dispatches.forEach(({ label, flops }, i) => {
          add(label, flops, Number(ticks[2 * i + 1] - ticks[2 * i]) / 1e6);
        });
        staging.destroy();
        resolved.destroy();
      });
      added.catch(() => {}); // settle() throws it, unless the work it times has thrown before
      outstanding.push(added);
    },
    async settle() {
      await Promise.all(outstanding.splice(0));
    },
    result: () => [...times.values()].sort((a, b) => b.milliseconds - a.milliseconds),
    destroy: () => queries?.destroy(),
  };
}
