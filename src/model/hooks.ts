import { InputError, ShapeError } from '../errors.ts';
import { reshape, share, type Tensor } from '../tensor/tensor.ts';

/** Activations inside a block, by TransformerLens's names; rows are [n, width], heads side by side. */
const BLOCK_POINTS = [
  'hook_resid_pre', // (n, d)
  'attn.hook_q', // (n, d)
  'attn.hook_k', // (n, d)
  'attn.hook_v', // (n, d)
  'attn.hook_z', // (n, d), before W_O
  'hook_attn_out', // (n, d)
  'hook_resid_mid', // (n, d)
  'mlp.hook_pre', // (n, inner)
  'mlp.hook_post', // (n, inner)
  'hook_mlp_out', // (n, d)
  'hook_resid_post', // (n, d)
] as const;

/** The last stands in `LanguageModel.logits`, which takes the same hooks as the pass before it. */
const OUTER_POINTS = ['hook_embed', 'hook_pos_embed', 'ln_final.hook_normalized'] as const;

/** Where a forward pass can be watched or changed. */
export type HookPoint = (typeof OUTER_POINTS)[number] | `blocks.${number}.${(typeof BLOCK_POINTS)[number]}`;

/** Called with an activation; what it returns, if anything, takes its place. */
export type Hook = (value: Tensor) => Tensor | undefined;

/** Hooks by the point they stand at. Points without one cost nothing: fused kernels never make their values. */
export type Hooks = ReadonlyMap<HookPoint, Hook>;

/**
 * Checks that a pass through the first `layers` blocks comes by every hook: one that never fires is a mistake.
 * @throws InputError naming the point.
 */
export function checkHooks(hooks: Hooks, layers: number): void {
  for (const point of hooks.keys()) {
    const [, layer, inner] = /^blocks\.(\d+)\.(.+)$/.exec(point) ?? [];
    const isInBlock = Number(layer) < layers && BLOCK_POINTS.some((name) => name === inner);
    if (isInBlock || OUTER_POINTS.some((name) => name === point)) continue;
    throw new InputError(
      `A pass through ${layers} blocks does not come by ${point}.`,
      `Hook ${OUTER_POINTS.join(', ')}, or blocks.0 to blocks.${layers - 1}.`,
    );
  }
}

/** Hooks that keep the activations of the named points; the caller disposes them. */
export function capture(points: readonly HookPoint[]): { hooks: Hooks; values: Map<HookPoint, Tensor> } {
  const values = new Map<HookPoint, Tensor>();
  const keep =
    (point: HookPoint): Hook =>
    (value) => {
      values.get(point)?.dispose();
      values.set(point, share(value));
      return undefined;
    };
  return { hooks: new Map(points.map((point) => [point, keep(point)])), values };
}

/**
 * The value at a point, after its hook.
 * @throws ShapeError when a hook returns another shape.
 */
export function tap(hooks: Hooks | undefined, point: HookPoint, value: Tensor): Tensor {
  const replacement = hooks?.get(point)?.(value);
  if (!replacement || replacement === value) return value;
  if (replacement.shape.join() !== value.shape.join()) {
    throw new ShapeError(
      `The hook at ${point} returned [${replacement.shape}] in place of [${value.shape}].`,
      'Return a tensor of the same shape, or undefined.',
    );
  }
  return reshape(replacement, value.shape); // the pass disposes what is its own; the hook keeps its tensor
}
