import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { InputError, ShapeError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import { positionMap } from '../../src/model/position-map.ts';
import { createPrefixCache } from '../../src/model/prefix-cache.ts';
import { matmul } from '../../src/ops/matmul.ts';
import { rowMap, subBlocks } from '../../src/probe/row-map.ts';
import { read, reshape, upload } from '../../src/tensor/tensor.ts';
import { rmsError, seededRandom } from '../support/agree.ts';
import { sigmoidMap } from './own-maps.ts';
import { type TinyModel, tinyModel } from './tiny-model.ts';

let context: Context;
let tiny: TinyModel;
beforeAll(async () => {
  context = await testContext();
  tiny = await tinyModel(context, 6);
});
afterAll(() => {
  tiny.model.dispose();
  context.destroy();
});

const SLOTS = new Uint32Array(5);

test("a user's own operation has values and derivatives as a map of rows", async () => {
  const d = 7;
  const { map, twin } = sigmoidMap(context, 1, d, 2);
  const { normal } = seededRandom(2);
  const x = normal(5 * d);
  const rows = upload(context, x, [5, d]);
  using at = map.linearize(rows, SLOTS);
  const row = (of: ArrayLike<number>, b: number) => Float64Array.from({ length: d }, (_, i) => of[b * d + i]);
  const values = Float64Array.from([0, 1, 2, 3, 4].flatMap((b) => [...twin(row(x, b))]));
  expect(rmsError(await read(map.states(rows, SLOTS)), values)).toBeLessThan(1e-6);
  expect(rmsError(await read(at.value), values)).toBeLessThan(1e-6);
  const tangents = normal(5 * d);
  const jvp = await read(at.jvp(upload(context, tangents, [5, d])));
  const jacobians = await read(at.jacobians()); // (d, 5, d)
  for (let b = 0; b < 5; b++) {
    const along = (h: number) => twin(row(x, b).map((value, i) => value + h * tangents[b * d + i]));
    const [right, left] = [along(1e-5), along(-1e-5)];
    const slope = right.map((value, i) => (value - left[i]) / 2e-5);
    expect(rmsError(jvp.slice(b * d, (b + 1) * d), slope)).toBeLessThan(1e-5);
    const product = slope.map((_, j) =>
      row(tangents, b).reduce((sum, value, i) => sum + value * jacobians[(j * 5 + b) * d + i], 0),
    );
    expect(rmsError(product, slope)).toBeLessThan(1e-5);
  }
});

test('a map that changes the shape of its rows is told by name', () => {
  const w = upload(context, new Float32Array(12), [3, 4]);
  const wide = rowMap('widened', 3, (rows) => matmul(rows, w));
  const flat = rowMap('flattened', 3, (rows) => reshape(rows, [15]));
  const rows = upload(context, new Float32Array(15), [5, 3]);
  for (const map of [wide, flat]) {
    expect(() => map.states(rows, SLOTS)).toThrow(ShapeError);
    expect(() => map.linearize(rows, SLOTS)).toThrow(ShapeError);
  }
  expect(() => wide.states(rows, SLOTS)).toThrow(/widened is given rows \[5,3\] and returns \[5,4\]\..*\[B, 3\]/);
  expect(() => rowMap('same', 4, (x) => x).states(rows, SLOTS)).toThrow(/same is given rows \[5,3\]/);
});

describe('the sub-blocks of a model', () => {
  test.each([
    [2, 0, ['h.0.attn', 'h.0.mlp', 'h.1.attn', 'h.1.mlp']],
    [1.5, 0.5, ['h.0.mlp', 'h.1.attn']],
    [2, 1.5, ['h.1.mlp']],
    [1, 1, []],
  ])('to %s from %s have their names, and make up the map as a whole', async (layer, from, names) => {
    using cache = createPrefixCache(tiny.model, { slots: 2 });
    const whole = positionMap(tiny.model, 2, cache);
    context.scope(() => {
      const rows = tiny.model.embed(Uint32Array.of(1, 2, 3, 4), Uint32Array.of(0, 1, 2, 0));
      whole.extend(rows, [
        { slot: 0, count: 3 },
        { slot: 1, count: 1 },
      ]);
    });
    const slots = Uint32Array.of(0, 1, 1);
    const steps = subBlocks(tiny.model, layer, cache, from);
    expect(steps.map(({ name }) => name)).toEqual(names);
    const rows = upload(context, seededRandom(3).normal(3 * 16), [3, 16]);
    const got = steps.reduce((x, step) => step.states(x, slots), rows);
    const want = positionMap(tiny.model, layer, cache, from).states(rows, slots);
    expect(await read(got)).toEqual(await read(want));
    const held = tiny.twin.prefix();
    tiny.twin.extend(tiny.twin.embed([1, 2, 3]), held);
    const [before, after] = [await read(rows), await read(got)].map((all) => all.slice(0, 16));
    expect(rmsError(after, tiny.twin.states(before, held, layer, from))).toBeLessThan(1e-5);
  });

  test('are refused at places the model does not have', () => {
    using cache = createPrefixCache(tiny.model);
    expect(() => subBlocks(tiny.model, 2.5, cache)).toThrow(InputError);
    expect(() => subBlocks(tiny.model, 2, cache, 0.25)).toThrow(InputError);
    expect(() => subBlocks(tiny.model, 2, cache, -1)).toThrow(InputError);
  });
});
