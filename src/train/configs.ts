import { type ModelConfig, parseConfig } from '../model/config.ts';
import type { TrainingPlan } from './plan.ts';

/** A shape of GPT-2 to train from scratch, and how. */
export interface NamedConfig {
  readonly layers: number;
  readonly width: number;
  readonly heads: number;
  readonly contextLength: number;
  /** What serves it better than the defaults. */
  readonly plan: Partial<TrainingPlan>;
}

/** The sizes of GPT-2 are those of Radford et al. 2019, table 2; learning rates fall with size as in GPT-3's table 2.1. */
export const namedConfigs: Readonly<Record<string, NamedConfig>> = {
  /** Learns words and some grammar within minutes on a processor. */
  tiny: { layers: 2, width: 64, heads: 4, contextLength: 128, plan: { batch: 4, learningRate: 4e-3 } },
  /** The shape of the model in weights/. */
  small: { layers: 6, width: 192, heads: 6, contextLength: 256, plan: { batch: 16, learningRate: 1e-3 } },
  gpt2: { layers: 12, width: 768, heads: 12, contextLength: 1024, plan: { batch: 8, learningRate: 6e-4 } },
  'gpt2-medium': { layers: 24, width: 1024, heads: 16, contextLength: 1024, plan: { batch: 8, learningRate: 3e-4 } },
  'gpt2-large': { layers: 36, width: 1280, heads: 20, contextLength: 1024, plan: { batch: 8, learningRate: 2.5e-4 } },
  'gpt2-xl': { layers: 48, width: 1600, heads: 25, contextLength: 1024, plan: { batch: 8, learningRate: 2e-4 } },
};

/** The config.json of a named shape with this many tokens. */
export function configNamed(name: string, vocabularySize: number): ModelConfig {
  const { layers, width, heads, contextLength } = namedConfigs[name];
  const json = {
    model_type: 'gpt2',
    architectures: ['GPT2LMHeadModel'],
    activation_function: 'gelu_new',
    vocab_size: vocabularySize,
    n_positions: contextLength,
    n_embd: width,
    n_layer: layers,
    n_head: heads,
    n_inner: null,
    layer_norm_epsilon: 1e-5,
    initializer_range: 0.02,
    embd_pdrop: 0,
    attn_pdrop: 0,
    resid_pdrop: 0,
    scale_attn_weights: true,
    tie_word_embeddings: true,
    dtype: 'float32',
  };
  return parseConfig(json, `config ${name}`);
}
