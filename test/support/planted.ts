import { memoryStore } from '../../src/injectivity/store.ts';
import { seededRandom } from '../../src/reference/random.ts';

/** How far planted states are from the ones they are copies of, as a share of their size. */
export const PLANTED_SIZES: readonly number[] = [0, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3];

/** States kept in memory; every fifth prompt's becomes a copy of another, moved by one of the sizes in turn. */
export function plantedStore(prompts: number, width: number) {
  const store = memoryStore(prompts, width);
  return {
    ...store,
    async write(layer: number, first: number, states: Float32Array): Promise<void> {
      const random = seededRandom(layer);
      for (let row = 5; row < states.length / width; row += 5) {
        const size = PLANTED_SIZES[(row / 5) % PLANTED_SIZES.length];
        const away = random.normal(width);
        for (let i = 0; i < width; i++) states[row * width + i] = states[(row - 3) * width + i] * (1 + size * away[i]);
      }
      await store.write(layer, first, states);
    },
  };
}
