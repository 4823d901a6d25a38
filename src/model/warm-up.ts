import type { Kernel } from '../gpu/shader.ts';
import type { LanguageModel } from './model.ts';
import { newPositionMap } from './position-map.ts';

/** Row counts that between them run every kernel: the way to multiply depends on the number of rows. */
const ROWS = [1, 8, 20];

/** The kernels of a forward pass, of candidates and of the output head, for `pipelines.warmUp`. */
export function forwardKernels(model: LanguageModel): Kernel[] {
  const { context, config } = model;
  const map = newPositionMap(model, Math.min(config.layers, 1), { capacity: 1 });
  const kernels = context.plan(() => {
    map.extend(model.embed(Uint32Array.of(0), Uint32Array.of(0)), [{ slot: 0, count: 1 }]);
    for (const count of ROWS) {
      const rows = model.embed(new Uint32Array(count), new Uint32Array(count));
      model.logits(map.states(rows, new Uint32Array(count)));
    }
  });
  map.cache.dispose();
  return kernels;
}

/**
 * Compiles what a model needs, in parallel, so that the first pass waits for nothing.
 * @param onProgress Called after each kernel with the number done and the total.
 * @throws ShaderError
 */
export async function warmUp(model: LanguageModel, onProgress?: (done: number, total: number) => void): Promise<void> {
  await model.context.pipelines.warmUp(forwardKernels(model), onProgress);
}
