import { afterAll, beforeAll, expect, test } from 'vitest';
import { testContext } from '#context';
import { InputError } from '../../../src/errors.ts';
import type { Context } from '../../../src/gpu/context.ts';
import { type Diffusion, deterministicDiffusion, trajectories } from '../../../src/probe/diffusion/ddim.ts';
import { type Denoiser, newDenoiser } from '../../../src/probe/diffusion/denoiser.ts';
import { noiseFigure } from '../../../src/probe/diffusion/figure.ts';
import { findNoise } from '../../../src/probe/diffusion/find-noise.ts';
import { ringOfGaussians, ringTargets } from '../../../src/probe/diffusion/points.ts';
import { trainDenoiser } from '../../../src/probe/diffusion/train.ts';
import { expectAgree, seededRandom } from '../../support/agree.ts';

let context: Context;
let denoiser: Denoiser;
let diffusion: Diffusion;
beforeAll(async () => {
  context = await testContext();
  denoiser = await newDenoiser(context, 1, { width: 16, times: 10 });
  await trainDenoiser(denoiser, ringOfGaussians, { steps: 60, batch: 64 });
  diffusion = await deterministicDiffusion(denoiser, 5);
});
afterAll(() => {
  denoiser.dispose();
  context.destroy();
});

const targets = Float32Array.from(ringTargets(seededRandom(5), 3).flatMap(({ points }) => [...points]));

test('noise is found for targets of every kind, and leads there in f32 and in float64', async () => {
  const found = await findNoise(context, diffusion, targets);
  expect(found).toHaveLength(targets.length / 2);
  const noise = Float32Array.from(found.flatMap(({ solution }) => [...solution.x]));
  const states = await trajectories(denoiser, diffusion, noise);
  found.forEach(({ target, solution, rows }, i) => {
    expect([...target]).toEqual([...targets.subarray(2 * i, 2 * i + 2)]);
    expect(solution.solved).toBe(true);
    const size = Math.hypot(...target);
    const [x, y] = diffusion.twin(solution.x, 0);
    expect(Math.hypot(x - target[0], y - target[1]) / size).toBeLessThan(1e-5);
    const [last, at] = [states[states.length - 1], 2 * i];
    expect(Math.hypot(last[at] - target[0], last[at + 1] - target[1]) / size).toBeLessThan(1e-4);
    expect(rows).toBeLessThan(400);
  });
});

test('the path by Jacobians finds noise too', async () => {
  const [{ solution, jacobians }] = await findNoise(context, diffusion, targets.subarray(0, 2), { stages: ['lu'] });
  expect(solution.solved).toBe(true);
  expect(solution.exactResidual).toBeLessThan(1e-5);
  expect(jacobians).toBeGreaterThan(0);
});

test('what is found lies where the proof says that all solutions lie', async () => {
  const [{ solution }] = await findNoise(context, diffusion, Float32Array.of(7, -6));
  const states = await trajectories(denoiser, diffusion, Float32Array.from(solution.x));
  diffusion.schedule.forEach(({ signal, noise }, k) => {
    const [before, after] = [states[k], states[k + 1]];
    const distance = Math.hypot(before[0] - after[0] / signal, before[1] - after[1] / signal);
    expect(distance).toBeLessThan((Math.abs(noise) * diffusion.bound) / signal);
  });
});

test('the way of points through the steps is that of the float64 twin', async () => {
  const noise = seededRandom(6).normal(2 * 7);
  const states = await trajectories(denoiser, diffusion, noise);
  expect(states).toHaveLength(diffusion.steps.length + 1);
  expect(states[0]).toEqual(noise);
  const want = Array.from({ length: 7 }, (_, i) => [
    ...diffusion.twin(Float64Array.from(noise.subarray(2 * i, 2 * i + 2)), 0),
  ]);
  expectAgree(states[5], want.flat(), { rel: 1e-4, abs: 1e-4 }); // rounding grows where the model drives points apart
});

test('targets that are no points of the plane are refused', async () => {
  await expect(findNoise(context, diffusion, [1, Number.NaN])).rejects.toThrow(InputError);
  await expect(findNoise(context, diffusion, [1, 2, 3])).rejects.toThrow('The targets are 3 numbers.');
});

test('a search that is cut short returns what it was done with', async () => {
  expect(await findNoise(context, diffusion, targets, { signal: AbortSignal.abort() })).toEqual([]);
});

test('the figure holds a way, a noise and a target for each, and draws both axes to one scale', () => {
  const states = [Float32Array.of(0, 0, 1, 1), Float32Array.of(1, 0, 1, 3), Float32Array.of(2, 0, 1, 4)];
  const source = String(
    noiseFigure({ title: 'Two <targets>', samples: Float32Array.of(3, 3), targets: states[2], states }),
  );
  expect(source.match(/<polyline/g)).toHaveLength(2);
  expect(source).toContain('noise found, (1.00, 1.00)');
  expect(source).toContain('target, (1.00, 4.00)');
  expect(source).toContain('Two &lt;targets&gt;');
  const [first, second] = [...source.matchAll(/points="([^"]*)"/g)].map(([, list]) =>
    list.split(' ').map((pair) => pair.split(',').map(Number)),
  );
  const across = (first[2][0] - first[0][0]) / 2;
  const up = (second[0][1] - second[2][1]) / 3;
  expect(up / across).toBeCloseTo(1, 1);
});
