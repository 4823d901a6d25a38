import { OutOfMemoryError } from '../errors.ts';
import type { Context } from '../gpu/context.ts';
import type { Checkpoint } from '../io/checkpoint.ts';
import type { Table } from '../ops/embedding.ts';
import { sizeOf } from '../reference/shape.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import type { ModelConfig } from './config.ts';
import { partsOf, resolveParameters, tensorsOf } from './parameters.ts';

/** Called while weights go to the GPU. */
export type OnLoad = (loadedBytes: number, totalBytes: number) => void;

/** Tensors on the GPU, f32, by the names of `tensorsOf`; matrices over the binding limit in chunks of rows. */
export interface Weights {
  /** A tensor that fits one binding, as all but vocabulary matrices do. */
  tensor(name: string): Tensor;
  /** A matrix [rows, width], in chunks where it must be. */
  table(name: string): Table;
  /** All of them, in the order of the forward pass; vectors as one chunk [width]. */
  entries(): Iterable<readonly [name: string, table: Table]>;
  dispose(): void;
}

/** Elements that a tensor shares with one of the parts stored in it. */
export interface Run {
  readonly tensor: Tensor;
  /** The first of them in the tensor. */
  readonly at: number;
  /** Number of the part, from 0. */
  readonly part: number;
  /** The first of them in the part. */
  readonly begin: number;
  readonly count: number;
}

/** Where `parts` equal parts, one after another, lie in the chunks of a tensor. */
export function* runsOf(chunks: readonly Tensor[], parts: number): Generator<Run> {
  const partSize = chunks.reduce((sum, { size }) => sum + size, 0) / parts;
  let first = 0; // of the chunk
  for (const tensor of chunks) {
    for (let at = 0, count: number; at < tensor.size; at += count) {
      const part = Math.floor((first + at) / partSize);
      const begin = first + at - part * partSize;
      count = Math.min(tensor.size - at, partSize - begin);
      yield { tensor, at, part, begin, count };
    }
    first += tensor.size;
  }
}

const PIECE_ELEMENTS = 4 * 2 ** 20;

/**
 * Fills a run with the elements of its part as stored, a piece at a time.
 * @param onPiece Called with the bytes of each piece that went to the GPU.
 */
export async function fillRun(
  { tensor, at, begin, count }: Run,
  checkpoint: Checkpoint,
  stored: string,
  onPiece?: (bytes: number) => void,
): Promise<void> {
  for (let done = 0; done < count; done += PIECE_ELEMENTS) {
    const end = Math.min(done + PIECE_ELEMENTS, count);
    const values = await checkpoint.float32(stored, begin + done, begin + end);
    tensor.context.write(tensor.buffer, 4 * (at + done), values);
    onPiece?.(values.byteLength);
  }
}

/**
 * Uploads every parameter, a piece at a time: the CPU never holds more than 16 MiB of weights.
 * @throws MissingTensorError, OutOfMemoryError, SourceError
 */
export async function loadWeights(
  context: Context,
  config: ModelConfig,
  checkpoint: Checkpoint,
  onLoad?: OnLoad,
): Promise<Weights> {
  const names = resolveParameters(config, checkpoint);
  const tensors = [...tensorsOf(config)];
  const totalBytes = tensors.reduce((sum, { shape }) => sum + 4 * sizeOf(shape), 0);
  const tables = new Map<string, Table>();
  let loadedBytes = 0;

  const dispose = () => {
    for (const { chunks } of tables.values()) for (const chunk of chunks) chunk.dispose();
  };

  async function load(name: string, shape: readonly number[]): Promise<void> {
    const chunks = allocate(name, shape);
    const parts = partsOf(name).map((part) => names.get(part)!);
    for (const run of runsOf(chunks, parts.length)) {
      await fillRun(run, checkpoint, parts[run.part], (bytes) => {
        loadedBytes += bytes;
        onLoad?.(loadedBytes, totalBytes);
      });
    }
  }

  function allocate(name: string, shape: readonly number[]): readonly Tensor[] {
    const [rows, width] = shape.length === 2 ? [shape[0], shape[1]] : [1, shape[0]];
    // Vector loads need chunks of whole rows in multiples of four.
    const fitting = Math.floor(context.device.limits.maxStorageBufferBindingSize / (4 * width));
    const chunkRows = fitting >= rows ? rows : Math.floor(fitting / 4) * 4;
    const chunks: Tensor[] = [];
    tables.set(name, { rows, width, chunks });
    for (let first = 0; first < rows; first += chunkRows) {
      const count = Math.min(chunkRows, rows - first);
      chunks.push(context.unscoped(() => empty(context, shape.length === 2 ? [count, width] : shape, 'f32', name)));
    }
    return chunks;
  }

  try {
    for (const { name, shape } of tensors) await load(name, shape);
    await context.finish();
  } catch (error) {
    dispose();
    throw error;
  }
  return {
    tensor(name) {
      const { chunks, rows, width } = tables.get(name)!;
      if (chunks.length === 1) return chunks[0];
      throw new OutOfMemoryError(
        `${name} [${rows}, ${width}] is larger than this device binds at once (${context.device.limits.maxStorageBufferBindingSize} bytes).`,
        'Create the context with a larger bindingBytes where the adapter allows it, or use another adapter.',
      );
    },
    table: (name) => tables.get(name)!,
    entries: () => tables.entries(),
    dispose,
  };
}
