import { expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { loadModel, openModel } from '../../src/model/load.ts';
import { invert } from '../../src/sipit/invert.ts';

test('a prompt longer than the local window comes back from every layer of a GPT-Neo by transformers', async () => {
  const context = await testContext();
  const source = checkoutSource('test/data/gptneo');
  const model = await loadModel(context, await openModel(source));
  const file = await openSafetensors((await source.open('reference.safetensors'))!);
  const ids = (await file.float32('input_ids')).subarray(0, 15);
  const { width, layers } = model.config;
  for (let layer = 1; layer <= layers; layer++) {
    const values = await file.float32(`residual.${layer}`, 0, 15 * width);
    const { exact, tokens } = await invert(model, { values, width, layer, dtype: 'F32' });
    expect([exact, ...tokens]).toEqual([true, ...ids]);
  }
  model.dispose();
  await file.close();
  context.destroy();
});
