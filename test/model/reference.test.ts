import { describe, expect, it } from 'vitest';
import { InputError, ShapeError } from '../../src/errors.ts';
import { parseConfig } from '../../src/model/config.ts';
import { parametersOf, resolveParameters } from '../../src/model/parameters.ts';
import { loadReferenceModel, truncate } from '../../src/model/reference.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';
import { hashedCheckpoint } from '../support/hashed.ts';

const SIZES = { model_type: 'gpt2', vocab_size: 31, n_positions: 12, n_embd: 15, n_layer: 3, n_head: 3 };
/** What to change for a model of each family; the window of GPT-Neo is shorter than the prompt. */
const FAMILIES = {
  gpt2: {},
  gpt_neo: {
    model_type: 'gpt_neo',
    max_position_embeddings: 12,
    hidden_size: 15,
    num_layers: 3,
    num_heads: 3,
    attention_types: [[['local', 'global', 'local'], 1]],
    window_size: 3,
  },
};
const IDS = [3, 1, 4, 1, 5, 9, 2];
const D = SIZES.n_embd;
const EXACT = { rel: 0, abs: 1e-14 };

async function model(changes: Record<string, unknown> = {}) {
  const config = parseConfig({ ...SIZES, ...changes }, 'config.json');
  const checkpoint = hashedCheckpoint(config);
  const names = resolveParameters(config, checkpoint);
  return loadReferenceModel(config, (name) => checkpoint.float32(names.get(name)!));
}

const rowsOf = (state: Float64Array, from: number, to?: number) => state.subarray(from * D, to && to * D); // (to - from, D)

describe.each(Object.entries(FAMILIES))('the prefix cache of the float64 twin, %s', (_, changes) => {
  it.each([0, 1, 2, 3])('a prefix and one more position give the row of the whole forward, layer %d', async (layer) => {
    const twin = await model(changes);
    const whole = twin.residualStates(IDS);
    for (const t of [0, 1, 6]) {
      const prefix = twin.prefix(layer);
      twin.extend(twin.embed(IDS.slice(0, t)), prefix);
      const row = twin.states(twin.embed(IDS.slice(t, t + 1), t), prefix); // (1, D)
      expectAgree(row, rowsOf(whole[layer], t, t + 1), EXACT);
    }
  });

  it('states leaves the prefix alone and evaluates each row by itself', async () => {
    const twin = await model(changes);
    const prefix = twin.prefix();
    twin.extend(twin.embed(IDS.slice(0, 4)), prefix);
    const rows = Float64Array.from(seededRandom(1).normal(5 * D)); // (5, D)
    const all = twin.states(rows, prefix); // (5, D)
    expect(prefix.length).toBe(4);
    for (let b = 0; b < 5; b++)
      expectAgree(twin.states(rowsOf(rows, b, b + 1), prefix), rowsOf(all, b, b + 1), { rel: 0, abs: 0 });
  });

  it('extends in pieces as in one go, at every layer', async () => {
    const twin = await model(changes);
    const whole = twin.residualStates(IDS);
    for (let layer = 0; layer <= 3; layer++) {
      const prefix = twin.prefix();
      twin.extend(twin.embed(IDS.slice(0, 2)), prefix);
      twin.extend(twin.embed([]), prefix);
      const rest = twin.extend(twin.embed(IDS.slice(2), 2), prefix, layer);
      expectAgree(rest, rowsOf(whole[layer], 2), EXACT);
    }
  });

  it('truncate takes back what was appended', async () => {
    const twin = await model(changes);
    const prefix = twin.prefix();
    twin.extend(twin.embed(IDS.slice(0, 3)), prefix);
    const next = twin.embed([7], 3); // (1, D)
    const before = twin.states(next, prefix);
    twin.extend(twin.embed([8, 8], 3), prefix);
    truncate(prefix, 3);
    expectAgree(twin.states(next, prefix), before, { rel: 0, abs: 0 });
    expect(() => truncate(prefix, 4)).toThrow(InputError);
  });

  it('is causal: later tokens do not move earlier rows', async () => {
    const twin = await model(changes);
    const [a, b] = [twin.residualStates(IDS), twin.residualStates([...IDS.slice(0, 5), 0, 0])];
    for (let layer = 0; layer <= 3; layer++)
      expectAgree(rowsOf(a[layer], 0, 5), rowsOf(b[layer], 0, 5), { rel: 0, abs: 0 });
  });
});

describe.each(Object.entries(FAMILIES))('half places of the float64 twin, %s', (_, changes) => {
  const PLACES = [0, 0.5, 1, 1.5, 2, 2.5, 3];

  /** A prefix of four positions, and three rows that might follow it. */
  async function behindPrefix() {
    const twin = await model(changes);
    const prefix = twin.prefix();
    twin.extend(twin.embed(IDS.slice(0, 4)), prefix);
    return { twin, prefix, rows: Float64Array.from(seededRandom(2).normal(3 * D)) };
  }

  it('from any place to a later one, in steps as in one go', async () => {
    const { twin, prefix, rows } = await behindPrefix();
    for (const [i, from] of PLACES.entries()) {
      let state: Float64Array = rows;
      for (const place of PLACES.slice(i)) {
        expectAgree(twin.states(rows, prefix, place, from), state, { rel: 0, abs: 0 });
        state = place < 3 ? twin.states(state, prefix, place + 0.5, place) : state;
      }
    }
  });

  it('the first half of a block sees the prefix, the second sees its own row alone', async () => {
    const { twin, prefix, rows } = await behindPrefix();
    const other = twin.prefix();
    twin.extend(twin.embed([9, 9]), other);
    const moved = (place: number, from: number) => {
      const [a, b] = [prefix, other].map((seen) => twin.states(rows, seen, place, from));
      return a.some((value, i) => value !== b[i]);
    };
    for (const block of [0, 1, 2]) {
      expect(moved(block + 0.5, block)).toBe(true);
      expect(moved(block + 1, block + 0.5)).toBe(false);
    }
  });

  it('what each half adds has no effect of the mean and the size of its row: it stands behind a LayerNorm', async () => {
    const { twin, prefix, rows } = await behindPrefix();
    const scaled = rows.map((value) => 1e4 * value + 7e4);
    for (const from of PLACES.slice(0, -1)) {
      const added = (x: Float64Array) => twin.states(x, prefix, from + 0.5, from).map((value, i) => value - x[i]);
      expectAgree(added(scaled), added(rows), { rel: 0, abs: 1e-5 }); // up to the epsilon of the LayerNorm
    }
  });

  it('refuses places between, behind the prefix or before the start', async () => {
    const { twin, rows } = await behindPrefix();
    const prefix = twin.prefix(2);
    for (const [place, from] of [
      [0.25, 0],
      [2, 0.75],
      [2.5, 0],
      [1, 1.5],
      [1, -0.5],
      [Number.NaN, 0],
    ])
      expect(() => twin.states(rows, prefix, place, from)).toThrow(InputError);
    expect(() => twin.prefix(1.5)).toThrow(InputError);
    expect(() => twin.extend(rows, twin.prefix(2), 0.5)).toThrow(/0.5 is no layer/);
  });
});

describe('the float64 twin', () => {
  it('uses a head of its own, with bias', async () => {
    const config = parseConfig({ ...SIZES, tie_word_embeddings: false, lm_head_bias: true }, 'config.json');
    const byName = new Map([...parametersOf(config)].map(({ name, shape }) => [name, shape.reduce((a, b) => a * b)]));
    const value = (name: string) => (name === 'lm_head.weight' ? 0 : name === 'lm_head.bias' ? 2 : 1);
    const twin = await loadReferenceModel(config, async (name) =>
      new Float32Array(byName.get(name)!).fill(value(name)),
    );
    expect([...twin.logits(new Float64Array(D))]).toEqual(Array(31).fill(2));
  });

  it('refuses what it cannot take', async () => {
    const twin = await model();
    expect(() => twin.residualStates([31])).toThrow(InputError);
    expect(() => twin.residualStates(Array(13).fill(0))).toThrow(/position 12.*0 to 11/);
    expect(() => twin.prefix(4)).toThrow(InputError);
    expect(() => twin.states(new Float64Array(D), twin.prefix(2), 3)).toThrow(/Layer 3.*0 to 2/);
    expect(() => twin.states(new Float64Array(D + 1), twin.prefix())).toThrow(ShapeError);
  });
});
