import type { Checkpoint, TensorInfo } from '../../src/io/checkpoint.ts';
import type { ModelConfig } from '../../src/model/config.ts';
import { parametersOf } from '../../src/model/parameters.ts';
import { sizeOf } from '../../src/reference/shape.ts';

/**
 * Weights made by a formula, so that a big model needs no file: the `hashed-*` fixtures. Values are numbered through all
 * tensors in the order of their names and generated when asked for.
 */
export function hashedCheckpoint(config: ModelConfig): Checkpoint {
  const shapes = [...parametersOf(config)]
    .filter(({ name }) => name !== 'lm_head.weight')
    .map(({ name, shape }) => [name.startsWith('lm_head.') ? name : `transformer.${name}`, shape] as const)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const tensors = new Map<string, TensorInfo>();
  const starts = new Map<string, number>();
  let start = 0;
  for (const [name, shape] of shapes) {
    tensors.set(name, { dtype: 'F32', shape });
    starts.set(name, start);
    start += sizeOf(shape);
  }

  async function float32(name: string, begin = 0, end?: number): Promise<Float32Array<ArrayBuffer>> {
    const { shape } = tensors.get(name)!;
    const count = (end ?? sizeOf(shape)) - begin;
    const first = starts.get(name)! + begin;
    const values = new Float32Array(count);
    const isGain = name.includes('ln_') && name.endsWith('weight');
    const scale = isGain
      ? 0.2
      : shape.length === 1
        ? 0.05
        : name.includes('wte')
          ? 0.1
          : name.includes('wpe')
            ? 0.05
            : 0.06;
    for (let i = 0; i < count; i++) values[i] = scale * hash(first + i);
    if (isGain) for (let i = 0; i < count; i++) values[i] += 1;
    return values;
  }

  return {
    name: 'hashed weights',
    tensors,
    metadata: new Map(),
    float32,
    bytes: async (name, begin, end) => new Uint8Array((await float32(name, begin, end)).buffer),
    float64: async (name, begin, end) => Float64Array.from(await float32(name, begin, end)),
    close: async () => {},
  };
}

/** Value i, uniform in [-1, 1) with 24 bits. */
function hash(i: number): number {
  let x = (i + 0x9e3779b9) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  x ^= x >>> 16;
  return (x >>> 8) / 2 ** 23 - 1;
}
