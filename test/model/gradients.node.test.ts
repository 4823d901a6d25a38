import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { checkoutSource, testContext } from '#context';
import { valueAndGrad } from '../../src/autograd/grad.ts';
import { linearize } from '../../src/autograd/tape.ts';
import { type Context, createContext } from '../../src/gpu/context.ts';
import type { Checkpoint } from '../../src/io/checkpoint.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { type LoadedModel, loadModel, openModel } from '../../src/model/load.ts';
import { countFrom } from '../../src/model/model.ts';
import { partsOf, publishedName, resolveParameters } from '../../src/model/parameters.ts';
import { newPositionMap, type PositionMap, positionMap } from '../../src/model/position-map.ts';
import { loadReferenceModel, type ReferenceModel } from '../../src/model/reference.ts';
import { crossEntropy } from '../../src/ops/cross-entropy.ts';
import { add } from '../../src/ops/elementwise.ts';
import { embedding } from '../../src/ops/embedding.ts';
import { readAll, type Tensor, upload } from '../../src/tensor/tensor.ts';
import { rmsError, seededRandom } from '../support/agree.ts';
import { dot } from '../support/twins.ts';

/** Largest difference allowed, in units of the RMS of each tensor. */
const BOUND = 1e-4;

const FIXTURES = [
  'gpt2-tanh',
  'gpt2-erf-wide',
  'gpt2-relu-untied',
  'gpt2-scaled-attention',
  'gpt2-unscaled-attention',
  'gptneo',
];

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

interface Fixture {
  readonly model: LoadedModel;
  readonly twin: ReferenceModel;
  readonly file: Checkpoint;
  readonly batch: number;
  readonly length: number;
  readonly ids: Uint32Array;
}

async function load(name: string, on: Context): Promise<Fixture> {
  const source = checkoutSource(`test/data/${name}`);
  const { config, checkpoint, ...files } = await openModel(source);
  const model = await loadModel(on, { config, checkpoint, ...files });
  const names = resolveParameters(config, checkpoint);
  const twin = await loadReferenceModel(config, (parameter) => checkpoint.float32(names.get(parameter)!));
  const file = await openSafetensors((await source.open('reference.safetensors'))!);
  onTestFinished(() => {
    model.dispose();
    return file.close();
  });
  const [batch = 0, length = 0] = file.tensors.get('input_ids')!.shape;
  return { model, twin, file, batch, length, ids: Uint32Array.from(await file.float32('input_ids')) };
}

/** All sequences of a fixture at once, from their token rows [B T, d] (before the position is added) to `layer`. */
function statesOf({ model, batch, length }: Fixture, rows: Tensor, layer: number): Tensor {
  const map = newPositionMap(model, layer, { slots: batch, capacity: length });
  const positions = Uint32Array.from({ length: batch * length }, (_, r) => r % length);
  const at = embedding(model.context, model.weights.table('wpe.weight'), positions);
  const segments = Array.from({ length: batch }, (_, slot) => ({ slot, count: length }));
  const states = map.extend(add(rows, at), segments);
  map.cache.dispose();
  return states;
}

/** Derivative of state `layer` in the token rows along `tangent`: central differences of the twin, of fourth order. */
function twinDifference({ model, twin, batch, length, ids }: Fixture, tangent: Float32Array, layer: number) {
  const d = model.config.width;
  const at = (t: number) =>
    Array.from({ length: batch }, (_, b) => {
      const rows = twin.embed(ids.subarray(b * length, (b + 1) * length)); // (T, d)
      const moved = rows.map((v, i) => v + t * tangent[b * length * d + i]);
      return [...twin.extend(moved, twin.prefix(), layer)];
    }).flat();
  const h = 1e-4;
  const [a, b, c, e] = [at(-2 * h), at(-h), at(h), at(2 * h)];
  return a.map((v, i) => (v - 8 * b[i] + 8 * c[i] - e[i]) / (12 * h));
}

const worst = new Map<string, [string, number]>();

/** Compares in units of the RMS of the tensor, and notes the worst of a fixture. */
function compare(fixture: string, name: string, got: ArrayLike<number>, want: ArrayLike<number>): void {
  const error = rmsError(got, want);
  if (error > (worst.get(fixture)?.[1] ?? 0)) worst.set(fixture, [name, error]);
  expect(error, name).toBeLessThan(BOUND);
}

// With PREIMAGE_SHOW=1 (Node), the figures the README quotes.
afterAll(() => {
  if (!globalThis.process?.env.PREIMAGE_SHOW) return;
  for (const [fixture, [name, error]] of worst) console.log(`${fixture}: worst ${error.toExponential(1)} at ${name}`);
});

describe.each(['cpu', 'hardware'] as const)('with kernels for %s adapters', (kind) => {
  let on: Context;
  beforeAll(async () => {
    on = await createContext({ device: context.device, kind });
  });

  test.each(FIXTURES)('%s: the loss and every gradient are those of transformers', async (name) => {
    const fixture = await load(name, on);
    const { model, file, length, ids } = fixture;
    const tensors = [...model.weights.entries()].map(([tensor]) => tensor);
    const weights = tensors.map((tensor) => model.weights.tensor(tensor));
    // Added to the token rows, so that its gradient is theirs.
    const offset = upload(on, new Float32Array(ids.length * model.config.width), [ids.length, model.config.width]);
    // The last position of each sequence predicts nothing.
    const labels = Int32Array.from(ids, (_, i) => (i % length === length - 1 ? -100 : ids[i + 1]));
    const { value, gradients } = valueAndGrad(() => {
      const rows = add(embedding(on, model.tokenTable, ids), offset); // (B T, d)
      return crossEntropy(model.logits(statesOf(fixture, rows, model.config.layers)), labels);
    }, [...weights, offset]);
    const [loss, ...read] = await readAll([value, ...gradients]);
    compare(name, 'loss', loss, await file.float64('loss'));
    const got = new Map([['grad.rows', read.pop()!]]);
    tensors.forEach((tensor, i) => {
      const parts = partsOf(tensor);
      const size = read[i].length / parts.length;
      parts.forEach((part, p) => {
        got.set(`grad.${publishedName(part)}`, read[i].subarray(p * size, (p + 1) * size));
      });
    });
    const wanted = [...file.tensors.keys()].filter((key) => key.startsWith('grad.'));
    expect([...got.keys()].toSorted()).toEqual(wanted.toSorted());
    for (const [key, gradient] of got) compare(name, key, gradient, await file.float64(key));
  });

  test.each(FIXTURES)(
    '%s: directional derivatives of every residual state, and <u, J v> = <J^T u, v>',
    async (name) => {
      const fixture = await load(name, on);
      const { model, file, ids } = fixture;
      const rows = embedding(on, model.tokenTable, ids); // (B T, d)
      const direction = await file.float32('tangent');
      const tangent = upload(on, direction, rows.shape);
      // transformers rounds GPT-Neo's attention weights to f32, which its differences magnify to 1e-2.
      const want = async (layer: number) =>
        name === 'gptneo' ? twinDifference(fixture, direction, layer) : file.float64(`jvp.${layer}`);
      for (let layer = 0; layer <= model.config.layers; layer++) {
        const at = linearize((x) => statesOf(fixture, x, layer), [rows]);
        const cotangent = upload(on, seededRandom(layer).normal(rows.size), rows.shape);
        const [v, jv, u, jtu] = await readAll([tangent, at.jvp([tangent]), cotangent, ...at.vjp(cotangent)]);
        compare(name, `jvp.${layer}`, jv, await want(layer));
        expect(Math.abs(dot(u, jv) - dot(jtu, v))).toBeLessThan(1e-5 * Math.sqrt(dot(u, u) * dot(jv, jv)));
        at.dispose();
      }
    },
  );
});

describe('the linearized position map', () => {
  let model: LoadedModel;
  let map: PositionMap;
  const prefixes = [5, 0, 11];
  beforeAll(async () => {
    model = await loadModel(context, await openModel(checkoutSource('weights')));
    map = newPositionMap(model, 4, { slots: 3, capacity: 16 });
    for (const [slot, count] of prefixes.entries()) {
      if (count === 0) continue;
      const ids = Uint32Array.from({ length: count }, (_, i) => 100 * slot + 7 * i);
      map.extend(model.embed(ids, countFrom(0, count)), [{ slot, count }]);
    }
  });
  afterAll(() => {
    map.cache.dispose();
    model.dispose();
  });

  const slots = Uint32Array.of(0, 1, 2, 0);
  const rowsAt = () => model.embed(Uint32Array.of(17, 400, 33, 2000), Uint32Array.of(5, 0, 11, 5));
  const random = (seed: number, rows: number) =>
    upload(context, seededRandom(seed).normal(rows * map.width), [rows, map.width]);

  test.each([
    ['the whole map', 0, 4],
    ['an attention step', 2, 2.5],
    ['an MLP step', 2.5, 3],
    ['a stack from its middle', 1.5, 3.5],
  ])('%s: value, jvp and vjp of each row by its own prefix, in sets', async (_, from, layer) => {
    const part = positionMap(model, layer, map.cache, from);
    const rows = rowsAt();
    const at = part.linearize(rows, slots);
    const tangents = random(1, 12); // three sets
    const cotangents = random(2, 12);
    const [value, states, v, jv, u, jtu] = await readAll([
      at.value,
      part.states(rows, slots),
      tangents,
      at.jvp(tangents),
      cotangents,
      at.vjp(cotangents),
    ]);
    expect(rmsError(value, states)).toBeLessThan(2e-6); // fused kernels round once less
    const d = map.width;
    for (let r = 0; r < 12; r++) {
      const row = (values: Float32Array) => values.subarray(r * d, (r + 1) * d);
      const size = Math.sqrt(dot(row(u), row(u)) * dot(row(jv), row(jv)));
      expect(Math.abs(dot(row(u), row(jv)) - dot(row(jtu), row(v))) / size, `row ${r}`).toBeLessThan(1e-5);
    }
    // Another set at the same point, alone.
    const [last] = await readAll([at.jvp(upload(context, v.slice(8 * d), [4, d]))]);
    expect(rmsError(last, jv.subarray(8 * d))).toBeLessThan(1e-5);
    at.dispose();
  });

  test('two half steps are a block', async () => {
    const rows = rowsAt();
    const [attn, mlp, block] = [
      [2, 2.5],
      [2.5, 3],
      [2, 3],
    ].map(([from, layer]) => positionMap(model, layer!, map.cache, from));
    const [halves, whole] = await readAll([mlp!.states(attn!.states(rows, slots), slots), block!.states(rows, slots)]);
    expect(halves).toEqual(whole);
  });

  test('Jacobians hold what single directions say', async () => {
    const step = positionMap(model, 2.5, map.cache, 2);
    const rows = rowsAt();
    const at = step.linearize(rows, slots);
    const d = step.width;
    const [jacobians, jv] = await readAll([at.jacobians(), at.jvp(random(3, 4))]);
    const v = seededRandom(3).normal(4 * d);
    const product = Float64Array.from({ length: 4 * d }, (_, i) => {
      const [b, j] = [Math.floor(i / d), i % d];
      return dot(jacobians.subarray((j * 4 + b) * d, (j * 4 + b + 1) * d), v.subarray(b * d, (b + 1) * d));
    });
    expect(rmsError(jv, product)).toBeLessThan(1e-5);
    at.dispose();
  });

  test('only a map through all blocks of a cache extends it', () => {
    const part = positionMap(model, 3, map.cache, 2);
    expect(() => part.extend(rowsAt(), [{ slot: 0, count: 4 }])).toThrow(/without keys/);
    expect(() => positionMap(model, 2, map.cache, 3)).toThrow(/cannot end at 2/);
    expect(() => positionMap(model, 2.25, map.cache)).toThrow(/no residual state at 2.25/);
    expect(() =>
      map.extend(rowsAt(), [
        { slot: 1, count: 1 },
        { slot: 0, count: 2 },
        { slot: 1, count: 1 },
      ]),
    ).toThrow(/segments one after another/);
  });
});
