import { expect, test } from 'vitest';
import { lossCurve } from '../../src/train/loss-curve.ts';

const numbers = (svg: string) => [...svg.matchAll(/points="([^"]*)"/g)].map(([, points]) => points.split(' '));

test('a curve shows training, held-out text and the line to beat', () => {
  const losses = Float32Array.from({ length: 5000 }, (_, i) => 4 + 4 * Math.exp(-i / 1000));
  const evaluations = [0, 2500, 5000].map((step) => ({ step, loss: 4.2 + 4 * Math.exp(-step / 1000) }));
  const svg = lossCurve({ losses, evaluations, unigramLoss: 6.5 });
  const [unigram, training, heldOut] = numbers(svg);
  expect(unigram).toHaveLength(2);
  expect(training.length).toBeGreaterThan(300);
  expect(training.length).toBeLessThanOrEqual(400);
  expect(heldOut).toHaveLength(3);
  expect(svg).toContain('token frequencies alone: 6.50');
  expect(svg).toContain('5,000');
});

test('a curve may have one step, or none, or a loss that does not move', () => {
  for (const losses of [[], [5], [5, 5, 5]]) {
    const svg = lossCurve({ losses, evaluations: losses.map((loss, step) => ({ step, loss })) });
    expect(svg).not.toMatch(/NaN|Infinity|undefined/);
  }
  expect(lossCurve({ losses: [], evaluations: [{ step: 0, loss: 8.3 }] })).not.toMatch(/NaN|Infinity/);
});
