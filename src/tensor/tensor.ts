import { ShapeError } from '../errors.ts';
import type { Context } from '../gpu/context.ts';
import type { PooledBuffer } from '../gpu/pool.ts';
import { sizeOf } from '../reference/shape.ts';

/** Element types of tensors on the GPU, four bytes each. */
export type ElementType = 'f32' | 'u32';

/** A buffer and the number of tensors that share it; the last one to go gives it back. */
export interface Storage {
  readonly buffer: PooledBuffer;
  owners: number;
}

/** A row-major array on the GPU. It holds a pooled buffer until `dispose()`, or until the scope it was made in ends. */
export interface Tensor extends Disposable {
  readonly context: Context;
  readonly shape: readonly number[];
  /** Product of the shape. */
  readonly size: number;
  readonly type: ElementType;
  /** @throws ShapeError after `dispose()`. */
  readonly buffer: PooledBuffer;
  /** Shared by a tensor and its reshapes. */
  readonly storage: Storage;
  /** Gives the buffer back; safe while recorded work still uses it, and safe to call twice. */
  dispose(): void;
}

function make(context: Context, shape: readonly number[], type: ElementType, storage: Storage): Tensor {
  storage.owners++;
  let disposed = false;
  const dispose = () => {
    if (disposed) return;
    disposed = true;
    if (--storage.owners === 0) context.release(storage.buffer);
  };
  const tensor: Tensor = {
    context,
    shape: [...shape],
    size: sizeOf(shape),
    type,
    storage,
    get buffer() {
      if (disposed) {
        throw new ShapeError(
          `A tensor [${shape}] is used after dispose().`,
          'Dispose it later, or return it from its scope.',
        );
      }
      return storage.buffer;
    },
    dispose,
    [Symbol.dispose]: dispose,
  };
  context.track(tensor);
  return tensor;
}

/** A tensor whose contents are undefined until a kernel writes them. */
export function empty(context: Context, shape: readonly number[], type: ElementType = 'f32', label = 'tensor'): Tensor {
  return make(context, shape, type, { buffer: context.take(4 * sizeOf(shape), label), owners: 0 });
}

/**
 * A tensor holding `data`, which is copied at once.
 * @param shape Default: one dimension.
 * @throws ShapeError when data and shape disagree.
 */
export function upload(
  context: Context,
  data: Float32Array | Uint32Array,
  shape: readonly number[] = [data.length],
  label = 'upload',
): Tensor {
  if (sizeOf(shape) !== data.length) {
    throw new ShapeError(
      `${data.length} values do not fill [${shape}].`,
      'Pass as many values as the shape has elements.',
    );
  }
  const type = data instanceof Uint32Array ? 'u32' : 'f32';
  return make(context, shape, type, { buffer: context.upload(data, label), owners: 0 });
}

/**
 * The same elements under another shape; shares the buffer, which lives until both are disposed.
 * @throws ShapeError when the sizes differ.
 */
export function reshape(tensor: Tensor, shape: readonly number[]): Tensor {
  if (sizeOf(shape) !== tensor.size) {
    throw new ShapeError(
      `Cannot reshape [${tensor.shape}] (${tensor.size} elements) to [${shape}] (${sizeOf(shape)}).`,
      'Both shapes must hold the same number of elements.',
    );
  }
  return make(tensor.context, shape, tensor.type, tensor.storage);
}

/** A second owner of the same elements that outlives the scope it is made in; to be disposed by hand. */
export function share(tensor: Tensor): Tensor {
  return tensor.context.unscoped(() => reshape(tensor, tensor.shape));
}

/** Submits what is recorded and reads a tensor back. The only way to wait for the GPU, with `readAll`. */
export async function read(tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  return (await readAll([tensor]))[0];
}

/** Reads several f32 tensors back in one round trip. */
export async function readAll(tensors: readonly Tensor[]): Promise<Float32Array<ArrayBuffer>[]> {
  return (await readBytes(tensors)).map((bytes) => new Float32Array(bytes));
}

/** Reads a u32 tensor back. */
export async function readIndices(tensor: Tensor): Promise<Uint32Array<ArrayBuffer>> {
  return new Uint32Array((await readBytes([tensor]))[0]);
}

/** Reads the bytes of several tensors of any type in one round trip. */
export function readBytes(tensors: readonly Tensor[]): Promise<ArrayBuffer[]> {
  const context = tensors[0]?.context;
  if (!context) return Promise.resolve([]);
  return context.read(tensors.map((tensor) => ({ buffer: tensor.buffer, sizeBytes: 4 * tensor.size })));
}

/** As `readBytes`, and disposes the tensors whether or not they could be read. */
export async function takeBytes(tensors: readonly Tensor[]): Promise<ArrayBuffer[]> {
  try {
    return await readBytes(tensors);
  } finally {
    for (const tensor of tensors) tensor.dispose();
  }
}

/** Reads an f32 tensor back and disposes it. */
export async function take(tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  return new Float32Array((await takeBytes([tensor]))[0]);
}
