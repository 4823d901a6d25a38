import { linearize } from '../../autograd/tape.ts';
import { ACTIVATIONS, activation } from '../../ops/activation.ts';
import type { ActivationName } from '../../reference/activation.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { BOUNDS, type Case, normal } from '../case.ts';
import { eachSet, nameOfSets } from '../sets.ts';

/** Magnitudes from 0 to 1e4, both signs, and a thousand normal values. */
function values(): Float32Array {
  const magnitudes = [0, 1e-30, 1e-6, 1e-3, 0.01, 0.1, 0.24, 0.26, 0.5, 1, 2, 3.3, 5, 8, 13, 50, 100, 1e4];
  return Float32Array.from([...magnitudes, ...magnitudes.map((v) => -v), ...normal(9, 1001, 2)]);
}

function activationCase(name: ActivationName): Case {
  const x = values();
  return {
    op: 'activation',
    name,
    bounds: BOUNDS,
    run: (c) => activation(upload(c, x), name),
    want: () => reference.activation(name, x),
  };
}

/** The slope at every value: the gradient of the sum; or along several sets of normal numbers. */
function slopeCase(name: ActivationName, way: 'vjp' | 'jvp', sets = 1): Case {
  const x = values();
  const d = sets === 1 ? new Float32Array(x.length).fill(1) : normal(31, sets * x.length);
  const slopes = reference.activationSlope(name, x);
  return {
    op: 'activation',
    name: `${way} ${name}${nameOfSets(sets)}`,
    bounds: sets === 1 ? BOUNDS : { ...BOUNDS, abs: 4e-6 }, // the slopes' absolute error times numbers up to 4
    run(c) {
      const at = linearize((v) => activation(v, name), [upload(c, x)]);
      const along = upload(c, d);
      return way === 'vjp' ? at.vjp(along)[0] : at.jvp([along]);
    },
    want: () => eachSet(sets, (one) => reference.multiply(one(d), slopes)),
  };
}

/** Every activation and its slope. */
export const activationCases = (): Case[] => [
  ...ACTIVATIONS.map(activationCase),
  ...ACTIVATIONS.map((name) => slopeCase(name, 'vjp')),
  slopeCase('gelu_new', 'jvp'),
  slopeCase('gelu', 'jvp', 3),
  slopeCase('leaky_relu', 'vjp', 3),
];
