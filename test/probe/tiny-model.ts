import type { Context } from '../../src/gpu/context.ts';
import { parseConfig } from '../../src/model/config.ts';
import { type LoadedModel, loadModel, modelFiles } from '../../src/model/load.ts';
import { loadTwin, type ReferenceModel } from '../../src/model/reference.ts';
import { headPart, modelParameters } from '../../src/probe/certificates/model-parts.ts';
import type { UnembeddingBlock } from '../../src/probe/certificates/types.ts';
import { hashedCheckpoint } from '../support/hashed.ts';

/** A model, its twin and its output head. */
export interface TinyModel {
  readonly model: LoadedModel;
  readonly twin: ReferenceModel;
  readonly head: UnembeddingBlock;
}

/**
 * 31 tokens, 12 positions, d = 16, two blocks.
 * @param gain What the hashed matrices of the blocks are multiplied by: at 1 a block changes little, at 6 much.
 */
export async function tinyModel(context: Context, gain: number): Promise<TinyModel> {
  const sizes = { vocab_size: 31, n_positions: 12, n_embd: 16, n_layer: 2, n_head: 2 };
  const config = parseConfig({ model_type: 'gpt2', ...sizes }, 'config.json');
  const hashed = hashedCheckpoint(config);
  const isMatrix = (name: string) => name.includes('.h.') && hashed.tensors.get(name)!.shape.length === 2;
  const checkpoint = {
    ...hashed,
    async float32(name: string, begin?: number, end?: number) {
      const values = await hashed.float32(name, begin, end);
      return isMatrix(name) ? values.map((value) => gain * value) : values;
    },
  };
  const files = modelFiles('tiny', config, checkpoint);
  const [model, twin] = [await loadModel(context, files), await loadTwin(files)];
  return { model, twin, head: await headPart(modelParameters(files)) };
}
