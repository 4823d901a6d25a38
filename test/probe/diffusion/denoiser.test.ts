import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { testContext } from '#context';
import { jacobian } from '../../../src/autograd/jacobian.ts';
import { TrainingError } from '../../../src/errors.ts';
import type { Context } from '../../../src/gpu/context.ts';
import { type Denoiser, newDenoiser } from '../../../src/probe/diffusion/denoiser.ts';
import { ringOfGaussians } from '../../../src/probe/diffusion/points.ts';
import { trainDenoiser } from '../../../src/probe/diffusion/train.ts';
import { denoiserTwin } from '../../../src/probe/diffusion/twin.ts';
import { readAll, take, upload } from '../../../src/tensor/tensor.ts';
import { expectAgree, seededRandom } from '../../support/agree.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

async function small(seed = 1): Promise<Denoiser> {
  const denoiser = await newDenoiser(context, seed, { width: 16, times: 10 });
  onTestFinished(denoiser.dispose);
  return denoiser;
}

const POINTS = 65;
const points = seededRandom(2).normal(2 * POINTS, 3);
const at = Uint32Array.from({ length: POINTS }, (_, i) => 1 + (i % 10));

test('predictions and their derivatives are those of the float64 twin, each of its own point', async () => {
  const denoiser = await small();
  const { predictNoise } = await denoiserTwin(denoiser);
  const got = await take(denoiser.predictNoise(upload(context, points, [POINTS, 2]), at));
  const want = Array.from(at, (time, i) => [
    ...predictNoise(Float64Array.from(points.subarray(2 * i, 2 * i + 2)), time),
  ]);
  expectAgree(got, want.flat(), { rel: 1e-5, abs: 4e-6 }); // 2 blocks deep

  const few = upload(context, points.slice(0, 6), [3, 2]);
  const derivatives = await take(jacobian((x) => denoiser.predictNoise(x, at.subarray(0, 3)), few)); // (6, 6)
  const h = 1e-5;
  for (let input = 0; input < 6; input++) {
    const moved = (by: number) => {
      const x = Float64Array.from(points.subarray(0, 6), (value, i) => (i === input ? value + by : value));
      return [0, 1, 2].flatMap((i) => [...predictNoise(x.subarray(2 * i, 2 * i + 2), at[i])]);
    };
    const [more, less] = [moved(h), moved(-h)];
    const slopes = more.map((value, output) => (value - less[output]) / (2 * h));
    expectAgree(
      slopes.map((_, output) => derivatives[6 * output + input]),
      slopes,
      { rel: 1e-4, abs: 1e-5 },
    );
  }
});

test('no prediction is longer than the bound, however far the point', async () => {
  const denoiser = await small();
  const { bound } = await denoiserTwin(denoiser);
  for (const radius of [1, 10, 1e3, 1e6]) {
    const far = points.map((value) => value * radius);
    const noise = await take(denoiser.predictNoise(upload(context, far, [POINTS, 2]), at));
    for (let i = 0; i < POINTS; i++) expect(Math.hypot(noise[2 * i], noise[2 * i + 1])).toBeLessThan(bound);
  }
});

test('training lowers the loss below that of no prediction, and is the same for the same seed', async () => {
  const plan = { steps: 30, batch: 65, seed: 3 };
  const trained = async () => {
    const denoiser = await small();
    const loss = await trainDenoiser(denoiser, ringOfGaussians, plan);
    return { loss, weights: await readAll(denoiser.parameters.map(({ tensor }) => tensor)) };
  };
  const [once, again] = [await trained(), await trained()];
  expect(once.loss).toBeLessThan(0.95);
  expect(again).toEqual(once);
});

test('a loss that is no number ends the training', async () => {
  const broken = trainDenoiser(await small(), (_, count) => new Float32Array(2 * count).fill(Number.NaN), { steps: 1 });
  await expect(broken).rejects.toThrow(TrainingError);
});

test('a time that the denoiser does not know is refused', async () => {
  const { predictNoise } = await small();
  const point = upload(context, Float32Array.of(1, 2), [1, 2]);
  expect(() => predictNoise(point, Uint32Array.of(0))).toThrow();
  expect(() => predictNoise(point, Uint32Array.of(11))).toThrow('Position 10 does not exist');
});
