import { OutOfMemoryError, type PreimageError } from '../errors.ts';
import { outOfMemory } from './failures.ts';
import { COPY_DST, COPY_SRC, STORAGE } from './usage.ts';

/** A GPU buffer on loan from the pool. */
export interface PooledBuffer {
  readonly gpu: GPUBuffer;
  /** Allocated size: the request rounded up to its size class. */
  readonly sizeBytes: number;
  /** Unique for the life of the context; bind groups are cached by it. */
  readonly id: number;
  /** The recording in which it was last given back; an upload must not land in a buffer that recording still reads. */
  releasedIn: number;
}

/** Counters of a pool, asserted constant in steady loops. */
export interface PoolStatistics {
  buffersCreated: number;
  /** Bytes on loan now. */
  liveBytes: number;
  /** Bytes kept for reuse. */
  idleBytes: number;
  peakBytes: number;
}

/**
 * Buffers by size class. Creating one costs about 90 us and WebGPU's garbage collection feels no memory pressure,
 * so buffers are given back explicitly, reused, and kept under a byte budget.
 */
export interface BufferPool {
  readonly statistics: Readonly<PoolStatistics>;
  /** @param notReleasedIn Skip buffers given back in this recording (for uploads). */
  take(sizeBytes: number, label: string, notReleasedIn?: number): PooledBuffer;
  release(buffer: PooledBuffer, recording: number): void;
  /** Destroys every idle buffer. */
  trim(): void;
  /** Destroys every buffer, on loan or not. */
  destroy(): void;
}

/** From this size on an allocation gets error scopes of its own, which tell who asked for how much. */
const SCOPED_BYTES = 16 * 2 ** 20;
/** More than this is not kept for reuse. */
const IDLE_BYTES = 2 * 2 ** 30;

/** Eight classes per power of two, so that at most an eighth is wasted. */
export function sizeClass(sizeBytes: number): number {
  const step = Math.max(256, 2 ** (Math.floor(Math.log2(Math.max(sizeBytes, 1))) - 3));
  return Math.max(256, Math.ceil(sizeBytes / step) * step);
}

/**
 * @param budgetBytes Upper bound for buffers on loan and idle together.
 * @param report Receives what the device finds wrong with an allocation after the call has returned.
 * @param beforeDestroy Called before idle buffers are destroyed: recorded work that reads them is submitted by then.
 */
export function createBufferPool(
  device: GPUDevice,
  budgetBytes: number,
  report: (error: Promise<PreimageError | undefined>) => void,
  beforeDestroy: () => void,
): BufferPool {
  const idle = new Map<number, PooledBuffer[]>();
  const all = new Set<PooledBuffer>();
  const statistics: PoolStatistics = { buffersCreated: 0, liveBytes: 0, idleBytes: 0, peakBytes: 0 };
  let nextId = 0;

  function trim(): void {
    beforeDestroy();
    for (const buffers of idle.values()) {
      for (const buffer of buffers) {
        buffer.gpu.destroy();
        all.delete(buffer);
      }
    }
    idle.clear();
    statistics.idleBytes = 0;
  }

  /** Forgets a buffer that the device could not allocate, on loan or idle by now, and makes room for another try. */
  function drop(buffer: PooledBuffer): void {
    if (!all.delete(buffer)) return;
    const candidates = idle.get(buffer.sizeBytes) ?? [];
    const index = candidates.indexOf(buffer);
    if (index >= 0) candidates.splice(index, 1);
    statistics[index >= 0 ? 'idleBytes' : 'liveBytes'] -= buffer.sizeBytes;
    trim();
  }

  function create(size: number, label: string): PooledBuffer {
    if (size > device.limits.maxBufferSize) {
      throw new OutOfMemoryError(
        `${label} needs a buffer of ${size} bytes; this device allows ${device.limits.maxBufferSize}.`,
        'Use smaller batches or a shorter context, or another adapter.',
      );
    }
    if (statistics.liveBytes + statistics.idleBytes + size > budgetBytes) trim();
    if (statistics.liveBytes + size > budgetBytes) {
      throw new OutOfMemoryError(
        `${label} needs ${size} bytes; ${statistics.liveBytes} of the budget of ${budgetBytes} bytes are in use.`,
        'Raise byteBudget, use smaller batches, or dispose tensors that are no longer needed.',
      );
    }
    const scopes: GPUErrorFilter[] = size >= SCOPED_BYTES ? ['out-of-memory', 'validation'] : [];
    for (const filter of scopes) device.pushErrorScope(filter);
    const gpu = device.createBuffer({ label, size, usage: STORAGE | COPY_SRC | COPY_DST });
    const buffer: PooledBuffer = { gpu, sizeBytes: size, id: nextId++, releasedIn: -1 };
    all.add(buffer);
    statistics.buffersCreated++;
    for (const _ of scopes) {
      report(
        device.popErrorScope().then((error) => {
          if (!error) return undefined;
          drop(buffer);
          return outOfMemory(`${label} (${size} bytes)`, error);
        }),
      );
    }
    return buffer;
  }

  return {
    statistics,
    take(sizeBytes, label, notReleasedIn) {
      // Rounding up must not push a tensor that fits over the limit.
      const rounded = sizeClass(sizeBytes);
      const size = rounded <= device.limits.maxStorageBufferBindingSize ? rounded : Math.ceil(sizeBytes / 4) * 4;
      const candidates = idle.get(size) ?? [];
      // The oldest that serves: a loop that asks for the same sizes then gets the same buffers, and finds its bind groups.
      const index = oldest(candidates, (buffer) => buffer.releasedIn !== notReleasedIn);
      let buffer: PooledBuffer;
      if (index >= 0) {
        buffer = candidates.splice(index, 1)[0];
        statistics.idleBytes -= size;
      } else {
        buffer = create(size, label);
      }
      statistics.liveBytes += size;
      statistics.peakBytes = Math.max(statistics.peakBytes, statistics.liveBytes);
      return buffer;
    },
    release(buffer, recording) {
      if (!all.has(buffer)) return;
      buffer.releasedIn = recording;
      statistics.liveBytes -= buffer.sizeBytes;
      statistics.idleBytes += buffer.sizeBytes;
      const list = idle.get(buffer.sizeBytes);
      if (list) list.push(buffer);
      else idle.set(buffer.sizeBytes, [buffer]);
      if (statistics.idleBytes > IDLE_BYTES) trim();
    },
    trim,
    destroy() {
      for (const buffer of all) buffer.gpu.destroy();
      all.clear();
      idle.clear();
      statistics.liveBytes = statistics.idleBytes = 0;
    },
  };
}

function oldest(buffers: readonly PooledBuffer[], serves: (buffer: PooledBuffer) => boolean): number {
  let best = -1;
  buffers.forEach((buffer, i) => {
    if (serves(buffer) && (best < 0 || buffer.id < buffers[best].id)) best = i;
  });
  return best;
}
