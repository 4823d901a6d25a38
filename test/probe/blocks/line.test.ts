import { afterAll, beforeAll, expect, test } from 'vitest';
import { testContext } from '#context';
import type { Context } from '../../../src/gpu/context.ts';
import { leakyMlp, randomLeakyMlp } from '../../../src/probe/blocks/leaky-mlp.ts';
import { leakyMlpInverse } from '../../../src/probe/blocks/leaky-mlp-inverse.ts';
import { followLine } from '../../../src/probe/blocks/line.ts';
import { runRounds } from '../../../src/probe/rounds.ts';
import { seededRandom } from '../../support/agree.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

test.each([3, 7, 24])('a LeakyReLU MLP alone is solved whatever the sign of its determinant, d = %i', async (d) => {
  const signs = new Set<number>();
  for (let seed = 1; seed <= 6; seed++) {
    const mlp = randomLeakyMlp(seed, d);
    const inverse = leakyMlpInverse(mlp);
    signs.add(inverse.sign);
    using block = leakyMlp(context, mlp);
    const targets = [1, 2, 3].map((i) => Float64Array.from(seededRandom(10 * seed + i).normal(d, 2)));
    const runs = targets.map((y) => ({ slot: 0, search: followLine({ step: 0, y, tolerance: 4e-7, floor: 3e-6 }) }));
    const { results } = await runRounds(runs, { context, chain: { steps: [block], twin: (x) => block.twin(x) } });
    results.forEach((found, i) => {
      expect(found!.solved).toBe(true);
      expect(found!.residual).toBeLessThan(1e-6);
      const x = inverse.preimages(targets[i]);
      const condition = inverse.condition.inWeight * inverse.condition.outWeight;
      const off = Math.hypot(...x.map((v, j) => v - found!.x[j])) / Math.hypot(...x);
      expect(off).toBeLessThan(1e-6 * condition);
    });
  }
  expect(signs.size).toBe(2);
});
