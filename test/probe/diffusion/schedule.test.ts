import { expect, test } from 'vitest';
import { InputError } from '../../../src/errors.ts';
import { angleAt, ddimSteps } from '../../../src/probe/diffusion/schedule.ts';

test('a step takes a point with the true noise to where that noise would have put it', () => {
  for (const [times, count] of [
    [50, 20],
    [50, 50],
    [7, 3],
    [1, 1],
  ]) {
    for (const { from, to, signal, noise } of ddimSteps(times, count)) {
      const at = (time: number) => Math.cos(angleAt(time, times)) * 1.3 + Math.sin(angleAt(time, times)) * -0.4;
      expect(signal * at(from) + noise * -0.4).toBeCloseTo(at(to), 12);
    }
  }
});

test('steps lead from the last time to the data, each from where the one before ended', () => {
  const steps = ddimSteps(50, 20);
  expect(steps).toHaveLength(20);
  expect(steps[0].from).toBe(50);
  expect(steps[19].to).toBe(0);
  steps.forEach(({ from, to }, i) => {
    expect(from).toBeGreaterThan(to);
    if (i > 0) expect(from).toBe(steps[i - 1].to);
  });
});

test('every step enlarges the point, which the proof that it is onto rests on', () => {
  for (const { signal } of ddimSteps(50, 20)) expect(signal).toBeGreaterThanOrEqual(1);
});

test('more steps than times are refused', () => {
  expect(() => ddimSteps(10, 11)).toThrow(InputError);
  expect(() => ddimSteps(10, 0)).toThrow('Take 1 to 10 steps.');
});
