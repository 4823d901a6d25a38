import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { testContext } from '#context';
import { createNodeContext } from '../../src/gpu/context.node.ts';
import type { Context } from '../../src/gpu/context.ts';
import { folderSource } from '../../src/io/folder.node.ts';
import { parseConfig } from '../../src/model/config.ts';
import { forward, residualStates } from '../../src/model/forward.ts';
import { capture, type HookPoint } from '../../src/model/hooks.ts';
import { type LoadedModel, loadModel, modelFiles, openModel } from '../../src/model/load.ts';
import { sliceRows } from '../../src/ops/slice.ts';
import { rmsError } from '../../src/reference/agree.ts';
import { read, readAll, type Tensor } from '../../src/tensor/tensor.ts';
import { worstRow } from '../support/agree.ts';
import { DEFAULT_MODEL, fixture, openFile, shared } from '../support/fixtures.node.ts';
import { hashedCheckpoint } from '../support/hashed.ts';

/** Largest difference allowed, in units of the RMS of a row. */
const BOUND = 2e-5;

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

async function load(folder: string): Promise<LoadedModel> {
  const files = await openModel(folderSource(folder));
  const model = await loadModel(context, files).finally(() => files.checkpoint.close());
  onTestFinished(() => model.dispose());
  return model;
}

/** Worst errors by what was compared, shown with PREIMAGE_SHOW=1. */
function expectSmall(title: string, errors: Record<string, number>): void {
  if (process.env.PREIMAGE_SHOW) console.log(title, errors);
  for (const [name, error] of Object.entries(errors)) expect(error, name).toBeLessThan(BOUND);
}

describe('llm-viz-sort', () => {
  const SEQUENCES = 3;
  const LENGTH = 11;
  /** Our hook points, and what the publisher calls their values. */
  const POINTS: readonly [HookPoint, string][] = [
    ['hook_embed', 'tok_emb'],
    ['blocks.0.hook_resid_pre', 'x'],
    ['blocks.0.attn.hook_q', 'q'],
    ['blocks.0.attn.hook_k', 'k'],
    ['blocks.0.attn.hook_v', 'v'],
    ['blocks.0.attn.hook_z', 'y'],
    ['blocks.0.hook_attn_out', 'yProj'],
    ['blocks.0.hook_resid_mid', 'attnResid'],
    ['blocks.0.mlp.hook_pre', 'fc'],
    ['blocks.0.mlp.hook_post', 'gelu'],
    ['blocks.0.hook_mlp_out', 'mlp'],
    ['blocks.0.hook_resid_post', 'block0'],
    ['blocks.1.hook_resid_post', 'block1'],
    ['blocks.2.hook_resid_post', 'block2'],
    ['ln_final.hook_normalized', 'ln_f'],
  ];

  test('every published intermediate value, at the hook that bears its name', async () => {
    const folder = fixture('llm-viz-sort')!;
    const model = await load(folder);
    const published = await openFile(folder, 'published_partials.safetensors');
    const ids = Uint32Array.from(await published.float64('idx'));
    const got = new Map<string, number[]>([
      ...POINTS.map(([, name]): [string, number[]] => [name, []]),
      ['lm_head', []],
    ]);
    for (let b = 0; b < SEQUENCES; b++) {
      const { hooks, values } = capture(POINTS.map(([point]) => point));
      const state = forward(model, ids.subarray(b * LENGTH, (b + 1) * LENGTH), { hooks });
      const logits = model.logits(state, hooks);
      const tensors = [...POINTS.map(([point]) => values.get(point)!), logits];
      const names = [...POINTS.map(([, name]) => name), 'lm_head'];
      (await readAll(tensors)).forEach((value, i) => void got.get(names[i])!.push(...value));
      for (const tensor of [state, ...tensors]) tensor.dispose();
    }
    const errors: Record<string, number> = {};
    for (const [name, values] of got) {
      const { shape } = published.tensors.get(name)!;
      const want = await published.float64(name);
      errors[name] = rmsError(shape.length === 4 ? byHead(values, shape) : values, want);
    }
    expectSmall('llm-viz-sort', errors);
  });

  /** Rows with heads side by side [b, t, heads, headDim] as the publisher has them, [b, heads, t, headDim]. */
  function byHead(
    values: readonly number[],
    [batch = 0, heads = 0, length = 0, headDim = 0]: readonly number[],
  ): number[] {
    const turned = new Array<number>(values.length);
    for (let b = 0; b < batch; b++)
      for (let head = 0; head < heads; head++)
        for (let t = 0; t < length; t++)
          for (let i = 0; i < headDim; i++)
            turned[((b * heads + head) * length + t) * headDim + i] =
              values[((b * length + t) * heads + head) * headDim + i];
    return turned;
  }
});

test.for(['gpt2-basic-258', 'gpt2-basic-4096'])(
  '%s: the published best token after every vector',
  async (name, { skip }) => {
    const folder = shared(`data/models/${name}`);
    if (!folder) return skip(`needs ../shared/data/models/${name}`);
    const model = await load(folder);
    const vectors = publishedVectors(folder);
    expect(vectors.length).toBeGreaterThan(0);
    for (const { ids, best } of vectors) {
      const logits = await read(context.scope(() => model.logits(sliceRows(forward(model, ids), ids.length - 1, 1))));
      expect(logits.indexOf(Math.max(...logits))).toBe(best);
    }
  },
);

/** Lines `V|name|length|ids|count|token:logit,...`, best first. */
function publishedVectors(folder: string): { ids: Uint32Array; best: number }[] {
  const lines = readFileSync(join(folder, 'published_vectors.txt'), 'utf8').split('\n');
  return lines
    .filter((line) => line.startsWith('V|'))
    .map((line) => {
      const [, , , ids = '', , logits = ''] = line.trim().split('|');
      return { ids: Uint32Array.from(ids.split(','), Number), best: Number.parseInt(logits, 10) };
    });
}

test('the default model: states and last logits of three texts', async () => {
  const model = await load(DEFAULT_MODEL);
  const reference = await openFile(fixture('preimage-books')!, 'reference.safetensors');
  const { width, vocabularySize } = model.config;
  const errors: Record<string, number> = {};
  for (const text of [0, 1, 2]) {
    const ids = Uint32Array.from(await reference.float64(`${text}.input_ids`));
    const states = residualStates(model, ids);
    const logits = context.scope(() => model.logits(sliceRows(states.at(-1)!, ids.length - 1, 1)));
    const [last, ...got] = await readAll([logits, ...states]);
    for (const [layer, state] of got.entries()) {
      const want = await reference.float64(`${text}.residual.${layer}`);
      errors[`${text}.residual.${layer}`] = worstRow(state, want, width);
    }
    errors[`${text}.logits`] = worstRow(last!, await reference.float64(`${text}.logits.last`), vocabularySize);
    for (const tensor of [logits, ...states]) tensor.dispose();
  }
  expectSmall('preimage-books', errors);
});

describe("GPT-2 small's real size", () => {
  const MIB = 2 ** 20;

  test.for([
    ['whole', 1024 * MIB],
    ['in chunks that bindings of 128 MiB allow', 128 * MIB],
  ] as const)('with its token embedding %s', { timeout: 300_000 }, async ([, bindingBytes], { skip }) => {
    const folder = fixture('hashed-gpt2-small');
    if (!folder) return skip('needs ../shared/fixtures/hashed-gpt2-small');
    const own = await createNodeContext({ bindingBytes });
    onTestFinished(() => own.destroy());
    const config = parseConfig(JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8')), 'config.json');
    const start = performance.now();
    const model = await loadModel(own, modelFiles('hashed-gpt2-small', config, hashedCheckpoint(config)));
    const loaded = performance.now();
    const limit = own.device.limits.maxStorageBufferBindingSize;
    expect(model.tokenTable.chunks.length).toBe(Math.ceil((4 * config.vocabularySize * config.width) / limit));

    const reference = await openFile(folder, 'reference.safetensors');
    const positions = await reference.float64('positions');
    const states = residualStates(model, Uint32Array.from(await reference.float64('input_ids')));
    const kept = own.scope(() => {
      const rowsOf = (state: Tensor) => [...positions].map((p) => sliceRows(state, p, 1));
      return { states: states.map(rowsOf), logits: rowsOf(states.at(-1)!).map((row) => model.logits(row)) };
    });
    const errors: Record<string, number> = {};
    for (const [name, rows] of [
      ...kept.states.map((rows, l) => [`residual.${l}`, rows] as const),
      ['logits', kept.logits] as const,
    ]) {
      const want = await reference.float64(name);
      const got = (await readAll(rows)).flatMap((row) => [...row]);
      errors[name] = worstRow(got, want, want.length / positions.length);
    }
    if (process.env.PREIMAGE_SHOW)
      console.log(
        'loaded',
        loaded - start,
        'ran',
        performance.now() - loaded,
        process.memoryUsage().rss / MIB,
        own.pool.statistics,
      );
    expectSmall('hashed-gpt2-small', errors);
  });
});
