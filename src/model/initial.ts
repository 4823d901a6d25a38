import type { Checkpoint, TensorInfo } from '../io/checkpoint.ts';
import { sizeOf } from '../reference/shape.ts';
import type { ModelConfig } from './config.ts';
import { parametersOf, publishedName } from './parameters.ts';

/** How the values of a parameter begin: normal around 0, or all the same. */
type Start = { readonly std: number } | { readonly value: number };

/**
 * Fresh weights, for every family as GPT-2's: matrices and embeddings normal with standard deviation 0.02
 * (`initializer_range` of the config), projections back into the residual stream divided by sqrt(2 L), biases 0,
 * LayerNorm gains 1. Values are made when asked for, and depend on nothing but the seed, the name of the parameter and
 * their place in it.
 * Source: Radford et al. 2019, section 2.3; GPT2PreTrainedModel of transformers.
 */
export function initialCheckpoint(config: ModelConfig, seed: number): Checkpoint {
  const tensors = new Map<string, TensorInfo>();
  const starts = new Map<string, Start>();
  for (const { name, shape } of parametersOf(config)) {
    tensors.set(publishedName(name), { dtype: 'F32', shape });
    starts.set(publishedName(name), startOf(name, shape, config));
  }

  async function float32(name: string, begin = 0, end?: number): Promise<Float32Array<ArrayBuffer>> {
    const start = starts.get(name)!;
    const values = new Float32Array((end ?? sizeOf(tensors.get(name)!.shape)) - begin);
    if ('value' in start) return values.fill(start.value);
    const uniform = uniformNoise(seed, name);
    for (let i = 0; i < values.length; i++) {
      const u = uniform(2 * (begin + i));
      values[i] = start.std * Math.sqrt(-2 * Math.log(1 - u)) * Math.cos(2 * Math.PI * uniform(2 * (begin + i) + 1));
    }
    return values;
  }

  return {
    name: `fresh weights (seed ${seed})`,
    tensors,
    metadata: new Map(),
    float32,
    bytes: async (name, begin, end) => new Uint8Array((await float32(name, begin, end)).buffer),
    float64: async (name, begin, end) => Float64Array.from(await float32(name, begin, end)),
    close: async () => {},
  };
}

function startOf(name: string, shape: readonly number[], { raw, layers }: ModelConfig): Start {
  if (shape.length === 1) return { value: /\bln_\w+\.weight$/.test(name) ? 1 : 0 };
  const range = raw.initializer_range;
  const std = typeof range === 'number' && range > 0 ? range : 0.02;
  return { std: /(c_proj|out_proj)\.weight$/.test(name) ? std / Math.sqrt(2 * layers) : std };
}

/** Numbers in [0, 1) by index: two keyed rounds of a permutation of 32 bits, so that no two names share a stretch. */
function uniformNoise(seed: number, name: string): (index: number) => number {
  const first = scramble(hashText(name) ^ scramble(seed));
  const second = scramble(first + 0x9e3779b9);
  return (index) => (scramble(scramble(index + first) ^ second) >>> 0) / 2 ** 32;
}

/** The finaliser of MurmurHash3. */
function scramble(value: number): number {
  let x = value | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

/** FNV-1a. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return hash;
}
