import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { ConfigError, InputError, MissingTensorError, ShapeError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import type { TensorInfo } from '../../src/io/checkpoint.ts';
import { forward, residualStates } from '../../src/model/forward.ts';
import { type GenerateOptions, generate } from '../../src/model/generate.ts';
import { capture, type HookPoint } from '../../src/model/hooks.ts';
import { type LoadedModel, loadModel, type ModelFiles, openModel } from '../../src/model/load.ts';
import { countFrom } from '../../src/model/model.ts';
import { newPositionMap, positionMap } from '../../src/model/position-map.ts';
import { createPrefixCache } from '../../src/model/prefix-cache.ts';
import { rmsError } from '../../src/reference/agree.ts';
import { empty, read, readAll, type Tensor, upload } from '../../src/tensor/tensor.ts';

const PROMPT = Uint32Array.of(5, 17, 3, 96, 0, 41);

let context: Context;
let files: ModelFiles;
let model: LoadedModel;
beforeAll(async () => {
  context = await testContext();
  files = await openModel(checkoutSource('test/data/gpt2-tanh')); // 97 tokens, 40 positions, width 24, 3 layers
  model = await loadModel(context, files);
});
afterAll(async () => {
  await files.checkpoint.close();
  context.destroy();
});

/** Runs `work` and checks that it has left no buffer behind. */
async function leavingNothing(work: () => unknown): Promise<void> {
  const { liveBytes } = context.pool.statistics;
  await work();
  expect(context.pool.statistics.liveBytes).toBe(liveBytes);
}

describe('a checkpoint', () => {
  const changed = (name: string, info?: TensorInfo): ModelFiles => {
    const tensors = new Map(files.checkpoint.tensors);
    if (info) tensors.set(name, info);
    else tensors.delete(name);
    return { ...files, checkpoint: { ...files.checkpoint, tensors } };
  };

  test('that lacks a tensor is refused before anything is loaded', () =>
    leavingNothing(async () => {
      const name = 'transformer.h.2.ln_1.weight';
      await expect(loadModel(context, changed(name))).rejects.toThrow(MissingTensorError);
      await expect(loadModel(context, changed(name))).rejects.toThrow(/h\.2\.ln_1\.weight is not in .*n_layer = 3/);
    }));

  test('with a tensor of another shape is refused with both shapes and the config value', () =>
    leavingNothing(async () => {
      const wrong = changed('transformer.wte.weight', { dtype: 'F32', shape: [98, 24] });
      await expect(loadModel(context, wrong)).rejects.toThrow(/\[98, 24\], not \[97, 24\] .*vocab_size = 97/);
    }));

  test('with more blocks than the config is refused', async () => {
    const { checkpoint, config } = files;
    const fewer = { ...config, layers: 2 };
    await expect(loadModel(context, { ...files, config: fewer, checkpoint })).rejects.toThrow(ConfigError);
  });

  test('that ends in mid-load fails with its own error, and what was loaded is given back', () =>
    leavingNothing(async () => {
      let left = 5;
      const { float32 } = files.checkpoint;
      const checkpoint: ModelFiles['checkpoint'] = {
        ...files.checkpoint,
        float32: (...args) => (left-- > 0 ? float32(...args) : Promise.reject(new Error('the disk is gone'))),
      };
      await expect(loadModel(context, { ...files, checkpoint })).rejects.toThrow('the disk is gone');
    }));

  test('is loaded with progress that ends at the whole', async () => {
    const progress: number[][] = [];
    const again = await loadModel(context, files, (...bytes) => progress.push(bytes));
    expect(progress.length).toBeGreaterThan(3 * 12);
    expect(progress.at(-1)![0]).toBe(progress.at(-1)![1]);
    again.dispose();
  });
});

describe('a forward pass', () => {
  test.each([
    ['an empty prompt', [], /The prompt is empty/],
    ['an id beyond the vocabulary', [1, 97], /Token id 97 \(number 2 of 2\) is not in the vocabulary of 97/],
    ['a prompt beyond n_positions', new Array(41).fill(1), /has 41 tokens; the model has 40 positions.*by 1 tokens/],
  ])('refuses %s', (_, ids, message) =>
    leavingNothing(() => {
      expect(() => forward(model, Uint32Array.from(ids))).toThrow(InputError);
      expect(() => forward(model, Uint32Array.from(ids))).toThrow(message);
      expect(() => residualStates(model, Uint32Array.from(ids))).toThrow(message);
    }),
  );

  test.each([-1, 4, 1.5, Number.NaN])('refuses layer %d, which does not exist', (layer) =>
    leavingNothing(() => {
      expect(() => forward(model, PROMPT, { layer })).toThrow(InputError);
      expect(() => forward(model, PROMPT, { layer })).toThrow(
        `Layer ${layer} does not exist. Use 0 (the embedding) to 3`,
      );
    }),
  );

  test('takes a prompt that fills the context', async () => {
    const states = forward(model, countFrom(0, 40));
    expect(states.shape).toEqual([40, 24]);
    states.dispose();
  });

  test('with residual states of all layers leaves nothing behind, in a scope or by hand', () =>
    leavingNothing(async () => {
      const states = residualStates(model, PROMPT);
      expect(states.map(({ shape }) => shape)).toEqual(new Array(4).fill([6, 24]));
      for (const state of states) state.dispose();
      context.scope(() => void residualStates(model, PROMPT));
    }));
});

describe('a hook', () => {
  test.each(['blocks.3.hook_resid_pre', 'blocks.0.hook_typo', 'ln_f'])(
    'at %s would never fire, and is refused',
    (point) => {
      const hooks = new Map([[point as HookPoint, () => undefined]]);
      expect(() => forward(model, PROMPT, { hooks })).toThrow(`does not come by ${point}`);
    },
  );

  const wrong = () => empty(context, [1, 24]);
  const POINTS: HookPoint[] = [
    'hook_pos_embed',
    'blocks.1.attn.hook_q',
    'blocks.1.attn.hook_z',
    'blocks.1.mlp.hook_pre',
    'blocks.2.hook_resid_post',
  ];

  test.each(POINTS)('at %s that returns another shape is named, and nothing leaks', (point) =>
    leavingNothing(() => {
      const run = () => forward(model, PROMPT, { hooks: new Map([[point, wrong]]) });
      expect(run).toThrow(ShapeError);
      expect(run).toThrow(`The hook at ${point} returned [1,24] in place of [6,`);
    }),
  );

  test.each(['hook_embed', 'blocks.1.hook_resid_pre', 'blocks.1.hook_mlp_out', 'blocks.1.hook_resid_post'] as const)(
    'at %s may return its own tensor again and again: the pass does not dispose it',
    (point) =>
      leavingNothing(async () => {
        const patch = upload(context, new Float32Array(6 * 24).fill(0.5), [6, 24]);
        const hooks = new Map([[point, () => patch]]);
        const runs = [forward(model, PROMPT, { hooks }), forward(model, PROMPT, { hooks })];
        const [a, b] = await readAll(runs);
        expect(a).toEqual(b);
        expect((await read(patch))[0]).toBe(0.5);
        for (const tensor of [...runs, patch]) tensor.dispose();
      }),
  );

  test('that returns what it was given changes nothing', async () => {
    const plain = await read(forward(model, PROMPT));
    const same = (value: Tensor) => value;
    const hooks = new Map(POINTS.map((point) => [point, same] as const));
    expect(rmsError(await read(forward(model, PROMPT, { hooks })), plain)).toBeLessThan(2e-6);
  });

  test('that captures keeps the last of several passes', () =>
    leavingNothing(() => {
      const { hooks, values } = capture(['blocks.0.hook_resid_mid']);
      for (let pass = 0; pass < 3; pass++) forward(model, PROMPT, { hooks }).dispose();
      expect(values.size).toBe(1);
      for (const value of values.values()) value.dispose();
    }));
});

describe('a position map', () => {
  const rows = (count: number) => model.embed(new Uint32Array(count), countFrom(0, count));

  test('refuses what does not fit its cache', () =>
    leavingNothing(() =>
      context.scope(() => {
        const map = newPositionMap(model, 2, { slots: 2, capacity: 4 });
        expect(() => map.extend(rows(5), [{ slot: 0, count: 5 }])).toThrow(/Slot 0 has room for 4 .* would hold 5/);
        expect(() => map.extend(rows(1), [{ slot: 2, count: 1 }])).toThrow(InputError);
        expect(() => map.extend(rows(3), [{ slot: 1, count: 2 }])).toThrow(ShapeError);
        expect(map.cache.lengths).toEqual([0, 0]);
        map.extend(rows(4), [{ slot: 1, count: 4 }]);
        expect(() => map.extend(rows(1), [{ slot: 1, count: 1 }])).toThrow(/larger capacity, or truncate/);
        expect(() => map.cache.truncate(1, 5)).toThrow(/Slot 1 of 2 holds 4 positions/);
        expect(() => map.cache.truncate(2, 0)).toThrow(InputError);
        map.cache.dispose();
      }),
    ));

  test('refuses rows that would see what is not there', () =>
    leavingNothing(() =>
      context.scope(() => {
        const map = newPositionMap(model, 2, { slots: 2, capacity: 4 });
        map.extend(rows(3), [{ slot: 0, count: 3 }]);
        expect(() => map.states(rows(1), Uint32Array.of(2))).toThrow(/Row 0 .* slot 2, which holds none/);
        expect(() => map.states(rows(1), Uint32Array.of(0), Uint32Array.of(4))).toThrow(
          /4 positions of slot 0, which holds 3/,
        );
        expect(() => map.states(rows(2), Uint32Array.of(0))).toThrow(/\[2,24\]; \[1, 24\] is needed/);
        expect(map.states(rows(1), Uint32Array.of(1)).shape).toEqual([1, 24]);
        map.cache.dispose();
      }),
    ));

  test('refuses a cache that is not deep enough', () => {
    const cache = createPrefixCache(model, { depth: 1, capacity: 2 });
    expect(() => positionMap(model, 2, cache)).toThrow(/holds blocks 0 to 1; a map from 0 to 2 needs 0 to 2/);
    cache.dispose();
  });

  test('of layer 0 gives rows of its own', async () => {
    const map = newPositionMap(model, 0);
    const given = rows(2);
    const states = map.states(given, Uint32Array.of(0, 0));
    given.dispose();
    expect(await read(states)).toHaveLength(48);
    states.dispose();
  });
});

describe('generating', () => {
  const SAMPLED: GenerateOptions = { maxTokens: 20, temperature: 1 };

  async function tokens(options: GenerateOptions, prompt = PROMPT): Promise<number[]> {
    const made: number[] = [];
    for await (const token of generate(model, prompt, options)) made.push(token);
    return made;
  }

  test.each([
    [{ temperature: -1 }, /temperature is -1/],
    [{ temperature: Number.NaN }, /temperature is NaN/],
    [{ topK: 0 }, /top-k is 0/],
    [{ topK: 1.5 }, /top-k is 1.5/],
    [{ topP: 0 }, /top-p is 0/],
    [{ topP: 1.1 }, /top-p is 1.1/],
    [{ maxTokens: -1 }, /tokens to generate is -1/],
    [{ maxTokens: 2.5 }, /tokens to generate is 2.5/],
  ])('refuses %j', async (options, message) => {
    await expect(tokens(options)).rejects.toThrow(InputError);
    await expect(tokens(options)).rejects.toThrow(message);
  });

  test('refuses prompts as a forward pass does', async () => {
    await expect(tokens({}, new Uint32Array())).rejects.toThrow(InputError);
    await expect(tokens({}, new Uint32Array(41))).rejects.toThrow(InputError);
  });

  test('greedily takes the best of the whole forward pass each time', () =>
    leavingNothing(async () => {
      const made = await tokens({ maxTokens: 10 });
      expect(await tokens({ maxTokens: 10 })).toEqual(made);
      const states = forward(model, Uint32Array.from([...PROMPT, ...made]));
      const table = model.logits(states);
      const logits = await read(table);
      made.forEach((token, i) => {
        const row = logits.subarray((PROMPT.length - 1 + i) * 97, (PROMPT.length + i) * 97);
        expect(row.indexOf(Math.max(...row))).toBe(token);
      });
      states.dispose();
      table.dispose();
    }));

  test('token by token gives the logits of the whole', async () => {
    const ids = countFrom(30, 12);
    const whole = await read(model.logits(forward(model, ids)));
    const map = newPositionMap(model, 3, { capacity: ids.length });
    for (const [t, id] of ids.entries()) {
      const state = map.extend(model.embed(Uint32Array.of(id), Uint32Array.of(t)), [{ slot: 0, count: 1 }]);
      expect(rmsError(await read(model.logits(state)), whole.subarray(97 * t, 97 * (t + 1)))).toBeLessThan(5e-6);
    }
    map.cache.dispose();
  });

  test('with one seed gives one text, with others others', async () => {
    const one = await tokens({ ...SAMPLED, seed: 1 });
    expect(await tokens({ ...SAMPLED, seed: 1 })).toEqual(one);
    expect(await tokens({ ...SAMPLED, seed: 2 })).not.toEqual(one);
  });

  test('from one token alone, or from a sliver of the probability, is greedy', async () => {
    const greedy = await tokens({ maxTokens: 20 });
    expect(await tokens({ ...SAMPLED, topK: 1 })).toEqual(greedy);
    expect(await tokens({ ...SAMPLED, topP: 1e-9 })).toEqual(greedy);
    expect(await tokens({ ...SAMPLED, temperature: 1e-6 })).toEqual(greedy);
    expect(await tokens(SAMPLED)).not.toEqual(greedy);
  });

  test('ends with the context, and at once where there is no room', async () => {
    expect(await tokens({})).toHaveLength(34);
    expect(await tokens({}, new Uint32Array(40))).toEqual([]);
    expect(await tokens({ maxTokens: 0 })).toEqual([]);
  });

  test('stops when the signal fires or the reader leaves, and gives its cache back', () =>
    leavingNothing(async () => {
      const controller = new AbortController();
      const made: number[] = [];
      for await (const token of generate(model, PROMPT, { signal: controller.signal })) {
        if (made.push(token) === 3) controller.abort();
      }
      expect(made).toHaveLength(3);
      expect(await tokens({ signal: AbortSignal.abort() })).toEqual([]);
      for await (const _ of generate(model, PROMPT)) break;
    }));
});
