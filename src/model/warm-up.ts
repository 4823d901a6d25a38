import { distance } from '../ops/distance.ts';
import { add } from '../ops/elementwise.ts';
import { embedding } from '../ops/embedding.ts';
import { topk } from '../ops/topk.ts';
import type { LanguageModel } from './model.ts';
import { newPositionMap } from './position-map.ts';

/** Row counts that between them run every kernel: the way to multiply depends on the number of rows. */
const ROWS = [1, 8, 20];

/**
 * Compiles what a model needs, in parallel, so that the first pass waits for nothing.
 * @param onProgress Called after each kernel with the number done and the total.
 * @throws ShaderError
 */
export async function warmUp(model: LanguageModel, onProgress?: (done: number, total: number) => void): Promise<void> {
  const { context, config } = model;
  const map = newPositionMap(model, Math.min(config.layers, 1), { capacity: 1 });
  const kernels = context.plan(() => {
    map.extend(model.embed(Uint32Array.of(0), Uint32Array.of(0)), [{ slot: 0, count: 1 }]);
    for (const count of ROWS) {
      const rows = model.embed(new Uint32Array(count), new Uint32Array(count));
      const states = map.states(rows, new Uint32Array(count));
      model.logits(states);
      distance(states, rows);
    }
    // What the inverter ranks embedding rows with.
    const row = embedding(context, model.tokenTable, Uint32Array.of(0));
    const distances = distance(model.tokenTable.chunks[0], add(row, row));
    topk(distances, Math.min(16, distances.size), 'smallest');
  });
  map.cache.dispose();
  await context.pipelines.warmUp(kernels, onProgress);
}
