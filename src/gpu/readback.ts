import { COPY_DST, MAP_READ } from './usage.ts';

/** A buffer the CPU can map, in sizes that repeat: reading back the same amount again creates nothing. */
export interface Readback {
  /** Takes a buffer of at least `sizeBytes`. */
  take(sizeBytes: number): GPUBuffer;
  /** Gives it back, unmapped. */
  release(buffer: GPUBuffer): void;
  destroy(): void;
}

/** Larger ones are made and destroyed each time: they are rare, and costly to keep. */
const KEPT_BYTES = 4 * 2 ** 20;

/** Staging buffers by powers of two. */
export function createReadback(device: GPUDevice): Readback {
  const idle: GPUBuffer[] = [];
  return {
    take(sizeBytes) {
      const size =
        sizeBytes > KEPT_BYTES ? Math.ceil(sizeBytes / 4) * 4 : Math.max(256, 2 ** Math.ceil(Math.log2(sizeBytes)));
      const index = idle.findIndex((buffer) => buffer.size === size);
      return index >= 0
        ? idle.splice(index, 1)[0]
        : device.createBuffer({ label: 'readback', size, usage: MAP_READ | COPY_DST });
    },
    release(buffer) {
      if (buffer.size > KEPT_BYTES || buffer.mapState === 'pending') return buffer.destroy();
      if (buffer.mapState === 'mapped') buffer.unmap();
      idle.push(buffer);
    },
    destroy() {
      for (const buffer of idle.splice(0)) buffer.destroy();
    },
  };
}
