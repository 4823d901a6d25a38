import type { Context } from '../gpu/context.ts';
import { activation } from '../ops/activation.ts';
import { appendToCache, attention } from '../ops/attention.ts';
import { add } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import { layernorm } from '../ops/layernorm.ts';
import { type MatmulOptions, matmul } from '../ops/matmul.ts';
import { placeColumns, replaceColumns, sliceRows, takeColumns } from '../ops/slice.ts';
import { reshape, type Tensor } from '../tensor/tensor.ts';
import type { ModelConfig } from './config.ts';
import { type HookPoint, type Hooks, tap } from './hooks.ts';
import { layouts } from './layout.ts';
import { type Attend, checkPositions, checkTokens, type LanguageModel } from './model.ts';
import type { Weights } from './weights.ts';

/**
 * GPT-2 (Radford et al. 2019) and GPT-Neo (Black et al. 2021): pre-norm blocks `h = x + attn(ln_1 x)`,
 * `y = h + mlp(ln_2 h)`, learned positions. They differ in the scale and the window of attention, which the config
 * gives, and in how linear layers are stored.
 */
export function gpt(context: Context, config: ModelConfig, weights: Weights): LanguageModel {
  const { width: d, heads, layerNormEpsilon } = config;
  const { qkv: qkvName, qkvBias, attentionOut, transposed: transposeB } = layouts[config.family];

  const norm = (x: Tensor, name: string) =>
    layernorm(x, weights.tensor(`${name}.weight`), weights.tensor(`${name}.bias`), layerNormEpsilon);
  const linear = (x: Tensor, name: string, options: MatmulOptions = {}) =>
    matmul(x, weights.tensor(`${name}.weight`), { transposeB, bias: weights.tensor(`${name}.bias`), ...options });

  /** x + linear(input), in one kernel unless a hook wants to see the second term. */
  function residualStep(x: Tensor, input: Tensor, name: string, point: HookPoint, hooks?: Hooks): Tensor {
    if (!hooks?.has(point)) return linear(input, name, { residual: x });
    return add(x, tap(hooks, point, linear(input, name)));
  }

  function queriesKeysValues(x: Tensor, layer: number, hooks?: Hooks): Tensor {
    const name = `h.${layer}.${qkvName}`;
    const bias = qkvBias ? weights.tensor(`${name}.bias`) : undefined;
    let qkv = matmul(norm(x, `h.${layer}.ln_1`), weights.tensor(`${name}.weight`), { transposeB, bias }); // (n, 3d)
    (['q', 'k', 'v'] as const).forEach((part, i) => {
      const point = `blocks.${layer}.attn.hook_${part}` as const;
      if (!hooks?.has(point)) return;
      const value = takeColumns(qkv, i * d, d);
      const tapped = tap(hooks, point, value);
      if (tapped !== value) qkv = replaceColumns(qkv, i * d, tapped);
    });
    return qkv;
  }

  function attentionStep(input: Tensor, layer: number, attend: Attend, hooks?: Hooks): Tensor {
    const at = `blocks.${layer}` as const;
    const { cache, visibility, append } = attend;
    const x = tap(hooks, `${at}.hook_resid_pre`, input); // (n, d)
    const qkv = queriesKeysValues(x, layer, hooks); // (n, 3d)
    if (append) appendToCache(qkv, cache, append);
    const [scale, window] = [config.attentionScale(layer), config.attentionWindow(layer)];
    const z = attention(qkv, cache, visibility, { heads, scale, window }); // (n, d)
    const mixed = tap(hooks, `${at}.attn.hook_z`, z);
    const middle = residualStep(x, mixed, `h.${layer}.${attentionOut}`, `${at}.hook_attn_out`, hooks); // (n, d)
    return tap(hooks, `${at}.hook_resid_mid`, middle);
  }

  function mlpStep(h: Tensor, layer: number, hooks?: Hooks): Tensor {
    const at = `blocks.${layer}` as const;
    const hidden = tap(hooks, `${at}.mlp.hook_post`, innerLayer(norm(h, `h.${layer}.ln_2`), layer, hooks)); // (n, inner)
    const y = residualStep(h, hidden, `h.${layer}.mlp.c_proj`, `${at}.hook_mlp_out`, hooks); // (n, d)
    return tap(hooks, `${at}.hook_resid_post`, y);
  }

  function innerLayer(x: Tensor, layer: number, hooks?: Hooks): Tensor {
    const point = `blocks.${layer}.mlp.hook_pre` as const;
    const name = `h.${layer}.mlp.c_fc`;
    if (!hooks?.has(point)) return linear(x, name, { activation: config.activation });
    return activation(tap(hooks, point, linear(x, name)), config.activation);
  }

  function embed(ids: Uint32Array, positions: Uint32Array, hooks?: Hooks): Tensor {
    checkTokens(config, ids);
    checkPositions(config, positions, ids.length);
    const wte = weights.table('wte.weight');
    const wpe = weights.tensor('wpe.weight');
    if (!hooks?.has('hook_embed') && !hooks?.has('hook_pos_embed')) {
      return embedding(context, wte, ids, { positions: wpe, at: positions });
    }
    const tokens = tap(hooks, 'hook_embed', embedding(context, wte, ids));
    return add(tokens, tap(hooks, 'hook_pos_embed', embedding(context, weights.table('wpe.weight'), positions)));
  }

  const head = weights.table(config.tiedHead ? 'wte.weight' : 'lm_head.weight');
  const headBias = config.headBias ? weights.tensor('lm_head.bias') : undefined;

  function logits(rows: Tensor, hooks?: Hooks): Tensor {
    const normed = tap(hooks, 'ln_final.hook_normalized', norm(rows, 'ln_f')); // (n, d)
    if (head.chunks.length === 1) return matmul(normed, head.chunks[0], { transposeB: true, bias: headBias }); // (n, V)
    let all: Tensor | undefined; // (n, V)
    let first = 0;
    for (const chunk of head.chunks) {
      const count = chunk.shape[0];
      const bias = headBias && sliceRows(reshape(headBias, [head.rows, 1]), first, count);
      const columns = matmul(normed, chunk, { transposeB: true, bias }); // (n, count)
      all = all ? replaceColumns(all, first, columns) : placeColumns(columns, first, head.rows);
      first += count;
    }
    return all!;
  }

  return {
    context,
    config,
    weights,
    tokenTable: weights.table('wte.weight'),
    embed: (...args) => context.scope(() => embed(...args)),
    appendKeysValues: (x, layer, cache, append) =>
      context.scope(() => appendToCache(queriesKeysValues(x, layer), cache, append)),
    attentionStep: (...args) => context.scope(() => attentionStep(...args)),
    mlpStep: (...args) => context.scope(() => mlpStep(...args)),
    logits: (...args) => context.scope(() => logits(...args)),
    dispose: weights.dispose,
    [Symbol.dispose]: weights.dispose,
  };
}
