import type { ModelConfig } from './config.ts';

/** How a family names and stores the linear layers of a block; names are within the block. */
export interface BlockLayout {
  /** The layer that makes queries, keys and values, side by side. */
  readonly qkv: string;
  /** The layers it is stored as, each an equal share of its outputs: itself where it is stored whole. */
  readonly qkvParts: readonly string[];
  readonly qkvBias: boolean;
  /** The layer from the heads back to the residual stream. */
  readonly attentionOut: string;
  /** Matrices are `[out, in]`, as in torch's Linear, not `[in, out]`, as in transformers' Conv1D. */
  readonly transposed: boolean;
}

/** By family. */
export const layouts: Readonly<Record<ModelConfig['family'], BlockLayout>> = {
  gpt2: {
    qkv: 'attn.c_attn',
    qkvParts: ['attn.c_attn'],
    qkvBias: true,
    attentionOut: 'attn.c_proj',
    transposed: false,
  },
  gpt_neo: {
    qkv: 'attn.attention.qkv_proj',
    qkvParts: ['attn.attention.q_proj', 'attn.attention.k_proj', 'attn.attention.v_proj'],
    qkvBias: false,
    attentionOut: 'attn.attention.out_proj',
    transposed: true,
  },
};
