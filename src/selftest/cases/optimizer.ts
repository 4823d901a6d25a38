import { adamwStep, clipFactor, sgdStep } from '../../ops/optimizer.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { type Case, EXACT, normal } from '../case.ts';

const CONSTANTS = { betas: [0.9, 0.95], epsilon: 1e-8, weightDecay: 0.1 } as const;

/** A later step of AdamW, from moments that are there; `part` says what is compared. */
function adamwCase(size: number, part: 'parameter' | 'mean' | 'square'): Case {
  const state = { parameter: normal(80, size), mean: normal(81, size), square: normal(82, size).map((x) => x * x) };
  const gradient = normal(83, size);
  return {
    op: 'optimizer',
    name: `adamw ${size}, ${part}`,
    // A parameter is the difference of terms of size 1, each rounded.
    bounds: { rel: 1e-6, abs: 5e-7 },
    run: (c) => {
      const tensors = {
        parameter: upload(c, state.parameter),
        mean: upload(c, state.mean),
        square: upload(c, state.square),
      };
      adamwStep(tensors, upload(c, gradient), upload(c, Float32Array.of(0.5)), 0.01, 7, CONSTANTS);
      return tensors[part];
    },
    want: () => reference.adamwStep(state, reference.scale(gradient, 0.5), 0.01, 7, CONSTANTS)[part],
  };
}

function sgdCase(size: number, factor: number): Case {
  const parameter = normal(84, size);
  const gradient = factor === 0 ? new Float32Array(size).fill(Number.NaN) : normal(85, size);
  return {
    op: 'optimizer',
    name: `sgd ${size}${factor === 0 ? ', no numbers' : ''}`,
    bounds: { rel: 1e-6, abs: 1e-7 },
    run: (c) => {
      const p = upload(c, parameter);
      sgdStep(p, upload(c, gradient), upload(c, Float32Array.of(factor)), 0.1);
      return p;
    },
    want: () => (factor === 0 ? parameter : reference.sgdStep(parameter, reference.scale(gradient, factor), 0.1)),
  };
}

function clipCase(name: string, values: readonly number[], maxNorm: number, bounds = { rel: 1e-6, abs: 0 }): Case {
  const lossAndSquares = Float32Array.from(values);
  return {
    op: 'optimizer',
    name: `clip ${name}`,
    bounds,
    run: (c) => clipFactor(upload(c, lossAndSquares), maxNorm),
    want: () => [reference.clipFactor(lossAndSquares, maxNorm)],
  };
}

/** Steps of both optimizers, and clipping of what is too long, short enough, or no number. */
export function optimizerCases(): Case[] {
  return [
    ...[1, 65, 4097].map((size) => adamwCase(size, 'parameter')),
    adamwCase(257, 'mean'),
    adamwCase(257, 'square'),
    sgdCase(1, 0.25),
    sgdCase(257, 0.25),
    sgdCase(65, 0),
    clipCase('a long gradient', [3, 4, 9, 3], 1),
    clipCase('many gradients', [1, ...normal(86, 257).map((x) => x * x)], 2),
    clipCase('a short gradient', [3, 0.25], 1, EXACT),
    clipCase('nothing', [3, 4, 9, 3], 0, EXACT),
    clipCase('an infinite gradient', [3, 4, Number.POSITIVE_INFINITY], 1, EXACT),
    clipCase('a NaN gradient', [3, Number.NaN, 4], 0, EXACT),
    clipCase('a NaN loss', [Number.NaN, 4, 9], 1, EXACT),
    clipCase('a sum beyond f32', [1, 3e38, 3e38], 1, EXACT),
  ];
}
