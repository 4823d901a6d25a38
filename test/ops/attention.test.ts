import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { linearize } from '../../src/autograd/tape.ts';
import { InputError } from '../../src/errors.ts';
import { type Context, createContext } from '../../src/gpu/context.ts';
import { appendToCache, attention, uploadVisibility } from '../../src/ops/attention.ts';
import * as reference from '../../src/reference/index.ts';
import { empty, read, readIndices, type Tensor, take, upload } from '../../src/tensor/tensor.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';

const WIDTH = 6;
const SHAPE = { heads: 2, scale: 0.6 };
const CAPACITY = 8;

let own: Context;
beforeAll(async () => {
  own = await testContext();
});
afterAll(() => own.destroy());

const u32 = (...values: number[]) => Uint32Array.from(values);

describe('who sees what', () => {
  const upload = (slots: number[], seen: number[], live?: number[]) =>
    uploadVisibility(own, { slots: u32(...slots), seen: u32(...seen), live: live && u32(...live) });

  test('each row knows how many rows just after it see it', async () => {
    const { rows } = upload([2, 2, 2, 0, 1, 1], [4, 5, 6, 3, 0, 1], [0, 1, 2, 0, 0, 1]);
    const readers = (await readIndices(rows)).filter((_, i) => i % 4 === 3);
    expect([...readers]).toEqual([2, 1, 0, 0, 1, 0]);
  });

  test('rows that are not asked to see each other do not', async () => {
    const { rows, liveInAll } = upload([0, 0, 0], [5, 5, 5]);
    expect([...(await readIndices(rows))]).toEqual([0, 5, 0, 0, 0, 5, 0, 0, 0, 5, 0, 0]);
    expect(liveInAll).toBe(0);
  });

  test.each([
    ['in another slot', [0, 1], [3, 4], [0, 1]],
    ['not at the position before', [0, 0], [3, 3], [0, 1]],
    ['more than are there', [0, 0], [3, 4], [0, 2]],
    ['before the first', [0], [3], [1]],
  ])('a row cannot see rows %s', (_, slots, seen, live) => {
    expect(() => upload(slots, seen, live)).toThrow(InputError);
    expect(() => upload(slots, seen, live)).toThrow(/rows before it/);
  });
});

describe.each(['cpu', 'hardware'] as const)('derivatives of attention, on %s adapters', (kind) => {
  let context: Context;
  beforeEach(async () => {
    context = await createContext({ device: own.device, kind });
  });

  const random = seededRandom(1);
  const [slots, seen, live] = [u32(0, 0, 0), u32(2, 3, 4), u32(0, 1, 2)];
  const qkv = random.normal(3 * 3 * WIDTH); // (3, 3d)
  const dy = random.normal(3 * WIDTH); // (3, d)
  const keys = random.normal(CAPACITY * WIDTH);
  const values = random.normal(CAPACITY * WIDTH);

  const upload3 = (data: Float32Array) => upload(context, data, [1, CAPACITY, WIDTH]);
  const cacheOf = () => ({ keys: upload3(keys), values: upload3(values) });
  function extend(x: Tensor, cache: ReturnType<typeof cacheOf>): Tensor {
    appendToCache(x, cache, upload(context, u32(0, 2, 1, 3, 2, 4), [3, 2]));
    return attention(x, cache, uploadVisibility(context, { slots, seen, live }), SHAPE);
  }

  test('run through the rows that were appended, also when others have taken their place in the cache', async () => {
    const cache = cacheOf();
    const at = linearize((x) => extend(x, cache), [upload(context, qkv, [3, 3 * WIDTH])]);
    extend(upload(context, seededRandom(2).normal(qkv.length), [3, 3 * WIDTH]), cache);
    const [gradient] = at.vjp(upload(context, dy, [3, WIDTH]));
    const tangent = at.jvp([upload(context, qkv, [3, 3 * WIDTH])]);

    const scene = { keys, values, capacity: CAPACITY, slots, seen, live };
    const options = { ...SHAPE, headDim: WIDTH / SHAPE.heads };
    const bounds = { rel: 1e-5, abs: 6e-6 };
    expectAgree(await read(gradient), reference.attentionVjp(dy, qkv, scene, options), bounds);
    expectAgree(await read(tangent), reference.attentionJvp(qkv, qkv, scene, options), bounds);
  });

  test('are not computed in the cache, and say so', () => {
    const cache = cacheOf();
    const at = linearize(
      (k) => attention(upload(context, qkv, [3, 3 * WIDTH]), { ...cache, keys: k }, visible(), SHAPE),
      [cache.keys],
    );
    expect(() => at.vjp(upload(context, dy, [3, WIDTH]))).toThrow(/attention has no derivative in its input 1/);
    expect(() => at.jvp([cache.keys])).toThrow(/attention has no derivative in the cache/);
  });

  test('of no rows are empty', async () => {
    const nobody = uploadVisibility(context, { slots: u32(), seen: u32() });
    const at = linearize((x) => attention(x, cacheOf(), nobody, SHAPE), [empty(context, [0, 3 * WIDTH])]);
    expect(at.value.shape).toEqual([0, WIDTH]);
    expect(await take(at.vjp(empty(context, [0, WIDTH]))[0])).toHaveLength(0);
    expect(await take(at.jvp([empty(context, [0, 3 * WIDTH])]))).toHaveLength(0);
  });

  const visible = () => uploadVisibility(context, { slots, seen, live });
});
