import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { folderSource } from '../../../src/io/folder.node.ts';
import { openCheckpoint } from '../../../src/io/sharded.ts';
import { parseConfig } from '../../../src/model/config.ts';
import { resolveParameters } from '../../../src/model/parameters.ts';
import { loadReferenceModel } from '../../../src/model/reference.ts';
import { firstAttention, firstAttentionTwin } from '../../../src/probe/blocks/first-attention.ts';
import { firstAttentionInverse } from '../../../src/probe/blocks/first-attention-inverse.ts';
import { DEFAULT_MODEL, fixture } from '../../support/fixtures.node.ts';

async function openModel(folder: string) {
  const config = parseConfig(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')), 'config.json');
  const checkpoint = await openCheckpoint(folderSource(folder));
  onTestFinished(() => checkpoint.close());
  const names = resolveParameters(config, checkpoint);
  return { config, parameter: (name: string) => checkpoint.float32(names.get(name)!) };
}

const apart = (a: ArrayLike<number>, b: Float64Array): number =>
  Math.hypot(...b.map((v, i) => v - a[i])) / Math.hypot(...b);

describe.each(['gpt2-tanh', 'gptneo'].filter(fixture))('%s', (name) => {
  test('the step of the adapter is that of the reference', async () => {
    const { config, parameter } = await openModel(fixture(name)!);
    const reference = await loadReferenceModel(config, parameter);
    const x = reference.embed([3]);
    for (let layer = 0; layer < config.layers; layer++) {
      const step = await firstAttention(config, layer, parameter);
      expect(
        apart(firstAttentionTwin(step, x), reference.states(x, reference.prefix(), layer + 0.5, layer)),
      ).toBeLessThan(1e-12);
    }
  });
});

test.each([0, 5])(
  'block %i of the default model: the state itself is among the preimages of its output',
  async (layer) => {
    const { config, parameter } = await openModel(DEFAULT_MODEL);
    const reference = await loadReferenceModel(config, parameter);
    const x = reference.residualStates([314])[layer];
    const step = await firstAttention(config, layer, parameter);
    const preimages = firstAttentionInverse(step)(firstAttentionTwin(step, x));
    expect(Math.min(...preimages.map((p) => apart(p.x, x)))).toBeLessThan(1e-9);
    expect(preimages.reduce((sum, p) => sum + p.sign, 0)).toBe(1);
    for (const { residual } of preimages) expect(residual).toBeLessThan(1e-12);
  },
);
