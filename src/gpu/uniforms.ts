import { COPY_DST, UNIFORM } from './usage.ts';

/** A number written as f32 into a uniform; plain numbers are written as u32. */
export interface F32 {
  readonly f32: number;
}

/** Marks a uniform value as f32. */
export const f32 = (value: number): F32 => ({ f32: value });

/** The fields of a kernel's uniform struct in order, each four bytes. */
export type Uniforms = readonly (number | F32)[];

/** Dynamic offsets are multiples of this. */
export const UNIFORM_SLOT_BYTES = 256;

/**
 * One buffer with a slot for each dispatch of a recording: `queue.writeBuffer` lands before every dispatch of an open
 * recording, so two dispatches must never share a slot. Written once, just before the submit.
 */
export interface UniformRing {
  readonly buffer: GPUBuffer;
  /** Stores values and returns their byte offset; undefined when the ring is full and must be submitted first. */
  push(values: Uniforms): number | undefined;
  /** Sends what was pushed to the GPU and starts over. */
  flush(): void;
}

/** @param slots Dispatches per recording at most. */
export function createUniformRing(device: GPUDevice, slots: number): UniformRing {
  const bytes = new ArrayBuffer(slots * UNIFORM_SLOT_BYTES);
  const view = new DataView(bytes);
  const buffer = device.createBuffer({ label: 'uniforms', size: bytes.byteLength, usage: UNIFORM | COPY_DST });
  let used = 0;
  return {
    buffer,
    push(values) {
      if (used === slots) return undefined;
      const offset = used++ * UNIFORM_SLOT_BYTES;
      values.forEach((value, i) => {
        if (typeof value === 'number') view.setUint32(offset + 4 * i, value, true);
        else view.setFloat32(offset + 4 * i, value.f32, true);
      });
      return offset;
    },
    flush() {
      if (used > 0) device.queue.writeBuffer(buffer, 0, bytes, 0, used * UNIFORM_SLOT_BYTES);
      used = 0;
    },
  };
}
