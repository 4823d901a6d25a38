import { describe, expect, it, test } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { adamwStep, clipFactor, sgdStep } from '../../src/reference/optimizer.ts';

const CONSTANTS = { betas: [0.9, 0.95], epsilon: 1e-8, weightDecay: 0.1 } as const;

describe('adamwStep', () => {
  it('first moves every parameter by the learning rate, whatever the size of its gradient', () => {
    const state = { parameter: [1, 1, 1], mean: [0, 0, 0], square: [0, 0, 0] };
    const { parameter } = adamwStep(state, [1e-3, -5, 0], 0.01, 1, { ...CONSTANTS, weightDecay: 0 });
    expect(parameter[0]).toBeCloseTo(0.99, 6);
    expect(parameter[1]).toBeCloseTo(1.01, 9);
    expect(parameter[2]).toBe(1);
  });

  it('decays parameters apart from their gradients', () => {
    const state = { parameter: [2], mean: [0], square: [0] };
    expect(adamwStep(state, [0], 0.01, 1, CONSTANTS).parameter[0]).toBeCloseTo(2 * (1 - 0.01 * 0.1), 15);
  });

  it('gives what PyTorch gives over two steps', () => {
    // torch.optim.AdamW([torch.tensor([0.5], dtype=torch.float64)], lr=0.01, betas=(0.9, 0.95), weight_decay=0.1),
    // gradients 0.3 and -0.2, worked out by hand: 0.5 - 0.0005 - 0.01, then with m = 0.1 * (0.9 * 0.3 - 0.2) / 0.19.
    const first = adamwStep({ parameter: [0.5], mean: [0], square: [0] }, [0.3], 0.01, 1, CONSTANTS);
    expect(first.parameter[0]).toBeCloseTo(0.4895, 8);
    const second = adamwStep(first, [-0.2], 0.01, 2, CONSTANTS);
    const mean = (0.1 * (0.9 * 0.3 - 0.2)) / 0.19;
    const square = (0.05 * (0.95 * 0.09 + 0.04)) / (1 - 0.95 ** 2);
    expect(second.parameter[0]).toBeCloseTo(0.4895 * 0.999 - (0.01 * mean) / Math.sqrt(square), 8);
  });

  it('refuses a gradient of another length', () => {
    const state = { parameter: [2], mean: [0], square: [0] };
    expect(() => adamwStep(state, [0, 1], 0.01, 1, CONSTANTS)).toThrow(ShapeError);
  });
});

test('sgdStep walks down the gradient', () => {
  expect([...sgdStep([1, 2], [10, -10], 0.1)]).toEqual([0, 3]);
  expect(() => sgdStep([1], [1, 2], 0.1)).toThrow(ShapeError);
});

describe('clipFactor', () => {
  it('shortens what is longer than the norm allowed, and nothing else', () => {
    expect(clipFactor([7, 9, 16], 1)).toBeCloseTo(1 / 5, 6);
    expect(clipFactor([7, 0.09, 0.16], 1)).toBe(1);
    expect(clipFactor([7, 9, 16], 0)).toBe(1);
  });

  it('is 0 where anything is no finite number', () => {
    expect(clipFactor([Number.NaN, 1], 1)).toBe(0);
    expect(clipFactor([1, Number.NaN], 0)).toBe(0);
    expect(clipFactor([1, Number.POSITIVE_INFINITY], 1)).toBe(0);
    expect(clipFactor([1, 3e38, 3e38], 1)).toBe(0);
  });
});
