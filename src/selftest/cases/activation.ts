import { ACTIVATIONS, activation } from '../../ops/activation.ts';
import type { ActivationName } from '../../reference/activation.ts';
import * as reference from '../../reference/index.ts';
import { upload } from '../../tensor/tensor.ts';
import { BOUNDS, type Case, normal } from '../case.ts';

/** An activation over magnitudes from 0 to 1e4, both signs, and a thousand normal values. */
function activationCase(name: ActivationName): Case {
  const magnitudes = [0, 1e-30, 1e-6, 1e-3, 0.01, 0.1, 0.24, 0.26, 0.5, 1, 2, 3.3, 5, 8, 13, 50, 100, 1e4];
  const x = Float32Array.from([...magnitudes, ...magnitudes.map((v) => -v), ...normal(9, 1001, 2)]);
  return {
    op: 'activation',
    name,
    bounds: BOUNDS,
    run: (c) => activation(upload(c, x), name),
    want: () => reference.activation(name, x),
  };
}

/** Every activation. */
export const activationCases = (): Case[] => ACTIVATIONS.map(activationCase);
