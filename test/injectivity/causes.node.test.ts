import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import type { Context } from '../../src/gpu/context.ts';
import { type Cause, findCauses } from '../../src/injectivity/causes.ts';
import { collide } from '../../src/injectivity/collide.ts';
import { explainCollision } from '../../src/injectivity/explain.ts';
import { compareIds } from '../../src/injectivity/prompt-set.ts';
import { parseConfig } from '../../src/model/config.ts';
import { loadModel, type ModelFiles, modelFiles } from '../../src/model/load.ts';
import { brokenModels, edited, repeat, zero } from '../support/broken-models.ts';
import { hashedCheckpoint } from '../support/hashed.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const config = parseConfig(
  { model_type: 'gpt2', vocab_size: 31, n_positions: 12, n_embd: 16, n_layer: 3, n_head: 2 },
  'config.json',
);
const neo = parseConfig(
  {
    model_type: 'gpt_neo',
    vocab_size: 31,
    max_position_embeddings: 12,
    hidden_size: 16,
    num_layers: 3,
    num_heads: 2,
    attention_layers: ['local', 'local', 'global'],
    attention_types: [[['local', 'local', 'global'], 1]],
    window_size: 2,
  },
  'config.json',
);
const TOKENS = [4, 9, 13, 27];
const fresh = hashedCheckpoint(config);
const ids = (...list: number[]) => Uint32Array.from(list);

/** All prompts of some tokens, up to a length, sorted by their ids. */
function promptsOf(tokens: readonly number[], longest: number): Uint32Array[] {
  let latest: number[][] = [[]];
  const all: number[][] = [];
  for (let length = 1; length <= longest; length++) {
    latest = latest.flatMap((prompt) => tokens.map((token) => [...prompt, token]));
    all.push(...latest);
  }
  return all.map((prompt) => ids(...prompt)).sort(compareIds);
}

/** What collides in a model, and what explains it: both of all pairs, at every layer. */
async function verdicts(files: ModelFiles, prompts: readonly Uint32Array[]) {
  const causes = await findCauses(files);
  const model = await loadModel(context, files);
  const pairs = (prompts.length * (prompts.length - 1)) / 2;
  const { layers } = await collide(model, prompts, { closest: pairs });
  model.dispose();
  return layers.map(({ layer, below, closest }) => {
    const told = closest.map(({ a, b, distance }) => {
      const explained = explainCollision(causes, prompts[a], prompts[b], layer);
      return { isNear: distance < 1e-6, by: explained.map(({ kind }) => kind).join(' + ') };
    });
    const exact = told.map(({ isNear, by }) => ({ isNear, by: by === 'not analytic' ? '' : by }));
    return { below, told, exact, by: [...new Set(exact.map(({ by }) => by))].filter(Boolean).sort() };
  });
}

/** Everything that collides is explained, and everything explained collides. */
function expectAgreement(layers: Awaited<ReturnType<typeof verdicts>>): void {
  for (const { below, exact } of layers) {
    expect(exact.filter(({ isNear, by }) => isNear !== (by !== ''))).toEqual([]);
    expect(exact.filter(({ isNear }) => isNear)).toHaveLength(below);
  }
}

describe('what collides in a model broken on purpose is what its weights explain', () => {
  const prompts = promptsOf(TOKENS, 3);
  /** By layer: how many of the 3,486 pairs collide, and what is named. */
  const expected: Record<string, [below: number[], by: string[][]]> = {
    nothing: [
      [0, 0, 0],
      [[], [], []],
    ],
    'two equal token rows': [
      [87, 87, 87],
      [['equal token rows'], ['equal token rows'], ['equal token rows']],
    ],
    'three token rows zero': [
      [513, 513, 513],
      [['equal token rows'], ['equal token rows'], ['equal token rows']],
    ],
    'two equal position rows': [
      [28, 4, 4],
      [['equal position rows'], ['equal position rows'], ['equal position rows']],
    ],
    'attention of the first block zero': [
      [504, 0, 0],
      [['constant attention'], [], []],
    ],
    'attention of the last block zero': [
      [0, 0, 0],
      [[], [], []],
    ],
    'attention of all blocks zero': [
      [504, 504, 504],
      [['constant attention'], ['constant attention'], ['constant attention']],
    ],
    'MLPs of all blocks zero': [
      [0, 0, 0],
      [[], [], []],
    ],
    'all blocks zero': [
      [504, 504, 504],
      [['constant attention'], ['constant attention'], ['constant attention']],
    ],
    ReLU: [
      [0, 0, 0],
      [[], [], []],
    ],
  };

  test.each(brokenModels(config, TOKENS, fresh).map(({ what, files }) => [what, files] as const))(
    '%s',
    async (what, files) => {
      const layers = await verdicts(files, prompts);
      expectAgreement(layers);
      if (!(what in expected)) return;
      const [below, by] = expected[what];
      expect(layers.map((layer) => layer.below)).toEqual(below);
      expect(layers.map((layer) => layer.by)).toEqual(by);
    },
  );
});

const causesOf = (edits: Parameters<typeof edited>[1], of = config, from = fresh) =>
  findCauses(modelFiles('edited', of, edited(from, edits)));

describe('the causes in a checkpoint', () => {
  test('none in one that is whole', async () => {
    expect(await causesOf({})).toEqual([]);
  });

  test('equal rows, in groups, 0 and -0 alike, in a sentence', async () => {
    const causes = await causesOf({
      'transformer.wte.weight': (_, row) => {
        row(9).set(row(4));
        for (const id of [28, 29, 30]) row(id).fill(id === 29 ? -0 : 0);
        row(13).set(row(12));
        row(13)[15] *= 1 + 2 ** -23; // the nearest other number is another
      },
      'transformer.wpe.weight': repeat(2, 5, 6, 11),
    });
    expect(causes).toEqual([
      { kind: 'equal token rows', rows: [4, 9], what: expect.stringContaining('tokens 4 and 9 are equal') },
      { kind: 'equal token rows', rows: [28, 29, 30], what: expect.stringContaining('28 to 30 are all zero') },
      { kind: 'equal position rows', rows: [2, 5, 6, 11], what: expect.stringContaining('2, 5, 6 and 11 are equal') },
    ]);
  });

  test('equal rows far apart in a table that is read in pieces', async () => {
    const big = parseConfig({ ...config.raw, vocab_size: 70_001 }, 'config.json');
    const causes = await causesOf({ 'transformer.wte.weight': repeat(3, 70_000) }, big, hashedCheckpoint(big));
    expect(causes).toMatchObject([{ kind: 'equal token rows', rows: [3, 70_000] }]);
  });

  test('attention whose values, output projection or gain is zero, or each in some channels', async () => {
    const block = 'transformer.h.1';
    const values = (from: number, to: number) => (all: Float32Array) =>
      all.forEach((_, i) => {
        const channel = (i % 48) - 32;
        if (channel >= from && channel < to) all[i] = 0;
      });
    const constant = [{ kind: 'constant attention', blocks: [1] }];
    expect(await causesOf({ [`${block}.attn.c_attn.weight`]: values(0, 16) })).toMatchObject(constant);
    expect(await causesOf({ [`${block}.attn.c_proj.weight`]: zero })).toMatchObject(constant);
    expect(await causesOf({ [`${block}.ln_1.weight`]: zero })).toMatchObject(constant);
    const firstHead = (all: Float32Array) => void all.fill(0, 0, 8 * 16);
    const projection = { [`${block}.attn.c_proj.weight`]: firstHead };
    expect(await causesOf({ ...projection, [`${block}.attn.c_attn.weight`]: values(8, 16) })).toMatchObject(constant);
    expect(await causesOf({ ...projection, [`${block}.attn.c_attn.weight`]: values(8, 15) })).toEqual([]);
  });

  test('the same in layers stored the other way round', async () => {
    const global = parseConfig(
      { ...neo.raw, attention_layers: undefined, attention_types: [[['global'], 3]] },
      'config.json',
    );
    const from = hashedCheckpoint(global);
    const attention = 'transformer.h.1.attn.attention';
    const constant = [{ kind: 'constant attention', blocks: [1] }];
    expect(await causesOf({}, global, from)).toEqual([]);
    expect(await causesOf({ [`${attention}.v_proj.weight`]: zero }, global, from)).toMatchObject(constant);
    expect(await causesOf({ [`${attention}.k_proj.weight`]: zero }, global, from)).toEqual([]);
    const halves = {
      [`${attention}.v_proj.weight`]: (all: Float32Array) => void all.fill(0, 0, 8 * 16),
      [`${attention}.out_proj.weight`]: (_: Float32Array, row: (i: number) => Float32Array) => {
        for (let i = 0; i < 16; i++) row(i).fill(0, 8);
      },
    };
    expect(await causesOf(halves, global, from)).toMatchObject(constant);
    const mlp = { 'transformer.h.2.mlp.c_fc.weight': zero };
    expect(await causesOf(mlp, global, from)).toMatchObject([{ kind: 'constant MLP', blocks: [2] }]);
  });

  test('functions that are not analytic: they are named where nothing else explains a collision', async () => {
    const raw = { ...config.raw, activation_function: 'relu', layer_norm_epsilon: 1e-60 };
    const causes = await causesOf({ 'transformer.wte.weight': repeat(4, 9) }, parseConfig(raw, 'config.json'));
    const [rows, activation, epsilon] = causes;
    expect(causes.map(({ kind }) => kind)).toEqual(['equal token rows', 'not analytic', 'not analytic']);
    expect(activation.what).toContain('relu');
    expect(epsilon.what).toContain('1e-60');
    expect(explainCollision(causes, ids(4, 13), ids(9, 13), 2)).toEqual([rows]);
    expect(explainCollision(causes, ids(4, 13), ids(5, 13), 2)).toEqual([activation, epsilon]);
  });
});

describe('local attention', () => {
  const long = promptsOf([4, 9], 5);

  test('collides where what differs lies too far back for the blocks so far, and nowhere else', async () => {
    const layers = await verdicts(modelFiles('local', neo, hashedCheckpoint(neo)), long);
    expectAgreement(layers);
    expect(layers.map(({ by }) => by)).toEqual([['local attention'], ['local attention'], []]);
  });

  test('with equal positions, does not hide what a smaller view tells apart', async () => {
    const files = modelFiles(
      'local, no positions',
      neo,
      edited(hashedCheckpoint(neo), { 'transformer.wpe.weight': zero }),
    );
    expectAgreement(await verdicts(files, long));
  });
});

describe('causes are named only together where it takes them all, and not at all where they do not suffice', () => {
  const tokens: Cause = { kind: 'equal token rows', rows: [4, 9], what: '' };
  const positions: Cause = { kind: 'equal position rows', rows: [0, 1], what: '' };
  const attention: Cause = { kind: 'constant attention', blocks: [0], what: '' };
  const causes = [tokens, positions, attention];

  test.each<[string, number[], number[], number, Cause[]]>([
    ['tokens', [5, 4, 7], [5, 9, 7], 3, [tokens]],
    ['tokens in other places', [5, 4, 7], [9, 5, 7], 1, [attention]],
    ['tokens of no one group', [5, 4, 7], [5, 5, 7], 3, []],
    ['the last token', [4, 7], [4, 6], 1, []],
    ['one length more, all alike', [4], [9, 4], 3, [tokens, positions]],
    ['the same after a block that moves nothing', [5], [6, 5], 1, [positions, attention]],
    ['the same after one that does', [5], [6, 5], 2, []],
    ['last tokens of a group, behind anything', [5, 4], [6, 9], 1, [tokens, attention]],
    ['a prompt and itself', [5, 4], [5, 4], 2, []],
  ])('%s', (_, a, b, layer, expected) => {
    expect(explainCollision(causes, ids(...a), ids(...b), layer)).toEqual(expected);
    expect(explainCollision(causes, ids(...b), ids(...a), layer)).toEqual(expected);
  });

  test('two that change places at equal positions', () => {
    const swapped = [ids(5, 6, 7), ids(6, 5, 7)] as const;
    expect(explainCollision([positions], ...swapped, 1)).toEqual([positions]);
    expect(explainCollision([positions], ...swapped, 2)).toEqual([]);
  });

  test('one token of a long prompt, in a deep model', () => {
    const a = Uint32Array.from({ length: 300 }, (_, i) => 10 + (i % 7) + (i % 40)).with(200, 4);
    expect(explainCollision(causes, a, a.with(200, 9), 48)).toEqual([tokens]);
    expect(explainCollision(causes, a, a.with(200, 5), 48)).toEqual([]);
  });
});
