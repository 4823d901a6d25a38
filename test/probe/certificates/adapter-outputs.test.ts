import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import type { Context } from '../../../src/gpu/context.ts';
import { forward } from '../../../src/model/forward.ts';
import { capture, type HookPoint } from '../../../src/model/hooks.ts';
import { loadModel, openModel } from '../../../src/model/load.ts';
import { regionFor } from '../../../src/probe/certificates/check.ts';
import { modelParameters } from '../../../src/probe/certificates/model-parts.ts';
import { certify } from '../../../src/probe/certificates/separation.ts';
import { read } from '../../../src/tensor/tensor.ts';

/** Outputs that were not only rounded to f32 but computed in it, massive states among them. */
let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

describe.each(['gpt2-massive', 'gpt2-tanh', 'gptneo'])(
  'what the adapter computes of %s is never certified:',
  (name) => {
    test('LayerNorm, attention alone, MLP alone', async () => {
      const files = await openModel(checkoutSource(`test/data/${name}`));
      const parameters = modelParameters(files);
      const model = await loadModel(context, files);
      const { width: d, vocabularySize, layers } = model.config;
      const digest = await files.digest();
      const ids = Uint32Array.from({ length: 12 }, (_, t) => (7 * t * t + 3) % vocabularySize);
      const blocks = Array.from({ length: layers }, (_, layer) => layer);
      const points = blocks.flatMap((layer): HookPoint[] => [
        `blocks.${layer}.hook_attn_out`,
        `blocks.${layer}.hook_mlp_out`,
      ]);
      const { hooks, values } = capture([...points, 'ln_final.hook_normalized']);
      context.scope(() => {
        const inner = new Map([...hooks].filter(([point]) => point !== 'ln_final.hook_normalized'));
        model.logits(forward(model, ids, { hooks: inner }), new Map([...hooks].slice(-1)));
      });
      const rowsOf = async (point: HookPoint) => {
        const all = await read(values.get(point)!);
        return Array.from(ids, (_, t) => all.slice(t * d, (t + 1) * d));
      };

      const norm = await regionFor('ellipsoid', { model: digest, part: 'ln_f' }, parameters);
      for (const y of await rowsOf('ln_final.hook_normalized')) expect(certify(norm, y)).toBeUndefined();
      for (const layer of blocks) {
        const mlp = await regionFor('bound', { model: digest, part: `h.${layer}.mlp` }, parameters);
        for (const y of await rowsOf(`blocks.${layer}.hook_mlp_out`)) expect(certify(mlp, y)).toBeUndefined();
        for (const [t, y] of (await rowsOf(`blocks.${layer}.hook_attn_out`)).entries()) {
          const subject = { model: digest, part: `h.${layer}.attn`, prefix: [...ids.subarray(0, t)] };
          const region = await regionFor('hull', subject, parameters);
          expect(certify(region, y)).toBeUndefined();
          // Not for want of a search: the same output, moved, is.
          expect(
            certify(
              region,
              y.map((value, i) => value + 1000 * Math.cos(i * i)),
            ),
          ).toBeDefined();
        }
      }
      for (const value of values.values()) value.dispose();
      model.dispose();
    });
  },
);
