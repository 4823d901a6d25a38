import type { Checkpoint } from '../../src/io/checkpoint.ts';
import { type ModelConfig, parseConfig } from '../../src/model/config.ts';
import { initialCheckpoint } from '../../src/model/initial.ts';
import { type ModelFiles, modelFiles } from '../../src/model/load.ts';

/** Changes a parameter in place; `row(i)` is a view of one of its rows. */
type Edit = (values: Float32Array, row: (i: number) => Float32Array) => void;

/** A checkpoint with some of its parameters changed, by their names as stored. */
export function edited(checkpoint: Checkpoint, edits: Readonly<Record<string, Edit>>): Checkpoint {
  async function float32(name: string, begin = 0, end?: number): Promise<Float32Array<ArrayBuffer>> {
    const edit = edits[name];
    if (!edit) return checkpoint.float32(name, begin, end);
    const values = await checkpoint.float32(name);
    const width = checkpoint.tensors.get(name)!.shape.at(-1)!;
    edit(values, (i) => values.subarray(i * width, (i + 1) * width));
    return values.slice(begin, end);
  }
  return {
    ...checkpoint,
    float32,
    bytes: async (name, begin, end) => new Uint8Array((await float32(name, begin, end)).buffer),
    float64: async (name, begin, end) => Float64Array.from(await float32(name, begin, end)),
  };
}

/** Row `from` also stands at the others. */
export const repeat =
  (from: number, ...to: readonly number[]): Edit =>
  (_, row) => {
    for (const i of to) row(i).set(row(from));
  };

export const zero: Edit = (values) => void values.fill(0);

/** A fresh model that one thing is wrong with. */
export interface BrokenModel {
  readonly what: string;
  readonly files: ModelFiles;
}

/**
 * The known ways to break injectivity (arXiv 2510.15511, section 3), and some that do not: fresh GPT-2 weights with a
 * part of them changed.
 * @param tokens Three that prompts use.
 */
export function brokenModels(
  config: ModelConfig,
  [a, b, c]: readonly number[],
  fresh = initialCheckpoint(config, 1),
): BrokenModel[] {
  const blocks = Array.from({ length: config.layers }, (_, block) => `transformer.h.${block}`);
  const zeroed = (names: readonly string[]) => Object.fromEntries(names.map((name) => [name, zero]));
  const attention = blocks.map((block) => `${block}.attn.c_proj.weight`);
  const mlp = blocks.map((block) => `${block}.mlp.c_proj.weight`);
  const [wte, wpe] = ['transformer.wte.weight', 'transformer.wpe.weight'];
  const edits: Readonly<Record<string, Record<string, Edit>>> = {
    nothing: {},
    'two equal token rows': { [wte]: repeat(a, b) },
    'three token rows zero': { [wte]: (_, row) => [a, b, c].forEach((id) => void row(id).fill(0)) },
    'two equal position rows': { [wpe]: repeat(0, 1) },
    'all position rows equal': { [wpe]: repeat(0, ...Array.from({ length: config.contextLength }, (_, i) => i)) },
    'attention of the first block zero': zeroed(attention.slice(0, 1)),
    'attention of the last block zero': zeroed(attention.slice(-1)),
    'attention of all blocks zero': zeroed(attention),
    'MLPs of all blocks zero': zeroed(mlp),
    'all blocks zero': zeroed([...attention, ...mlp]),
  };
  const relu = parseConfig({ ...config.raw, activation_function: 'relu' }, config.name);
  return [
    ...Object.entries(edits).map(([what, changed]) => ({
      what,
      files: modelFiles(what, config, edited(fresh, changed)),
    })),
    { what: 'ReLU', files: modelFiles('ReLU', relu, fresh) },
  ];
}
