import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { InputError } from '../../src/errors.ts';
import type { Context } from '../../src/gpu/context.ts';
import type { LayerLens, LinearLens } from '../../src/lens/lens.ts';
import { parseConfig } from '../../src/model/config.ts';
import { type LoadedModel, loadModel, modelFiles } from '../../src/model/load.ts';
import { loadTwin, type ReferenceModel } from '../../src/model/reference.ts';
import { headPart, modelParameters } from '../../src/probe/certificates/model-parts.ts';
import { areaUnder, caughtAt, rocCurve } from '../../src/probe/detection.ts';
import { leads } from '../../src/probe/detection-lead.ts';
import { stateLikelihood } from '../../src/probe/detection-likelihood.ts';
import { nearNatural } from '../../src/probe/detection-natural.ts';
import { forceNearby } from '../../src/probe/detection-nearby.ts';
import { distancesOf, freeVectors, scoresOf, statesOf } from '../../src/probe/detection-scores.ts';
import { forcedStates } from '../../src/probe/targets.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { hashedCheckpoint } from '../support/hashed.ts';

describe('ROC curves', () => {
  test('scores that do not overlap are told apart at every threshold between them', () => {
    const curve = rocCurve([5, 4, 6], [1, 2]);
    expect(areaUnder(curve)).toBe(1);
    expect(areaUnder(rocCurve([1, 2], [5, 4, 6]))).toBe(0);
    expect(curve.at(-1)).toMatchObject({ falsePositives: 1, truePositives: 1 });
    expect(caughtAt(curve, 0)).toBe(1);
  });

  test('the area is the share of pairs in order, ties counted half', () => {
    const { next } = seededRandom(3);
    const draw = (count: number, shift: number) => Array.from({ length: count }, () => Math.floor(8 * next() + shift));
    for (const [p, n] of [
      [1, 1],
      [3, 65],
      [64, 7],
      [257, 63],
    ]) {
      const [positive, negative] = [draw(p, 2), draw(n, 0)];
      const order = positive.flatMap((a) => negative.map((b): number => (a > b ? 1 : a === b ? 0.5 : 0)));
      const share = order.reduce((sum, value) => sum + value, 0) / order.length;
      expect(areaUnder(rocCurve(positive, negative))).toBeCloseTo(share, 12);
    }
  });

  test('equal scores cannot be parted: one point, half the area', () => {
    expect(rocCurve([0, 0], [0, 0, 0])).toHaveLength(2);
    expect(areaUnder(rocCurve([0, 0], [0, 0, 0]))).toBe(0.5);
    expect(areaUnder(rocCurve([Number.POSITIVE_INFINITY], [Number.POSITIVE_INFINITY, 1]))).toBe(0.75);
  });

  test('what is caught depends on the false alarms one puts up with', () => {
    const curve = rocCurve([9, 7, 5, 3], [8, 6, 4, 2]);
    expect([0, 0.2, 0.25, 0.5, 1].map((share) => caughtAt(curve, share))).toEqual([0.25, 0.25, 0.5, 0.75, 1]);
  });

  test('nothing to compare is refused', () => {
    expect(() => rocCurve([], [1])).toThrow(InputError);
    expect(() => rocCurve([1], [])).toThrow(InputError);
    expect(() => rocCurve([Number.NaN], [1])).toThrow(InputError);
  });
});

/** A lens of one dimension and two tokens: h_t ~ b (w + p_t) + c h_(t-1) + i, variance s. */
const line = (b: number, c: number | undefined, i: number, s: number): LinearLens => ({
  embedding: Float32Array.of(b),
  ...(c !== undefined && { previous: Float32Array.of(c) }),
  intercept: Float32Array.of(i),
  covariance: Float32Array.of(s),
  kappa: 1,
});

describe('the likelihood of states under a lens', () => {
  const tables = { vocabulary: [-1, 1], positions: [0, 10] };
  const lens: LayerLens = { layer: 1, rms: 0, first: line(1, undefined, 0, 1), rest: line(2, 0.5, 3, 4) };
  const likelihood = stateLikelihood(lens, tables);
  const gauss = (x: number, mean: number, variance: number) =>
    Math.exp(-((x - mean) ** 2) / (2 * variance)) / Math.sqrt(2 * Math.PI * variance);

  test('is the mean of the tokens', () => {
    const first = (gauss(0.3, -1, 1) + gauss(0.3, 1, 1)) / 2;
    expect(likelihood(Float64Array.of(0.3), 0)).toBeCloseTo(Math.log(first), 12);
    const means = [-1, 1].map((w) => 2 * (w + 10) + 0.5 * 4 + 3);
    const second = (gauss(24, means[0], 4) + gauss(24, means[1], 4)) / 2;
    expect(likelihood(Float64Array.of(24), 1, Float64Array.of(4))).toBeCloseTo(Math.log(second), 12);
  });

  test('stays a number far away from all of them', () => {
    expect(likelihood(Float64Array.of(1e6), 0)).toBeCloseTo(-((1e6 - 1) ** 2) / 2 - Math.log(2 * Math.PI) / 2, -2);
  });
});

describe('leads of tokens', () => {
  const d = 7;
  const { normal } = seededRandom(5);
  const norm = { weight: normal(d).map((v) => 1 + 0.2 * v), bias: normal(d, 0.1) };
  const head = { norm, weight: normal(12 * d) };
  const leadOf = leads(head, 1e-2);

  test('their gradient is the derivative of the margin', () => {
    for (const token of [0, 5, 11]) {
      const h = Float64Array.from(normal(d));
      const { gradient } = leadOf(h, token);
      const slopes = h.map((value, i) => {
        const at = (x: number) => leadOf(h.with(i, x), token).margin;
        return (at(value + 1e-6) - at(value - 1e-6)) / 2e-6;
      });
      slopes.forEach((slope, i) => {
        expect(gradient[i]).toBeCloseTo(slope, 6);
      });
    }
  });

  test('a state near natural ones forces the token, nearer to them than the centred row', () => {
    const natural = Array.from({ length: 5 }, () => Float64Array.from(normal(d, 3)));
    const centredNorm = 8;
    const forced = forcedStates(head, { centredNorm, margin: 0.5 });
    const apart = (a: Float64Array, b: Float64Array) => Math.hypot(...a.map((v, i) => v - b[i]));
    for (let token = 0, tried = 0; token < 12 && tried < 3; token++) {
      let state: Float64Array;
      try {
        state = forced(token).state;
      } catch {
        continue; // it can never win by as much
      }
      tried++;
      const near = nearNatural(leads(head, 0), { token, margin: 0.5 }, state, natural);
      expect(leads(head, 0)(near, token).margin).toBeGreaterThanOrEqual(0.5 - 1e-9);
      const nearest = (of: Float64Array) => Math.min(...natural.map((one) => apart(of, one)));
      expect(nearest(near)).toBeLessThanOrEqual(nearest(state));
    }
  });
});

const SMALL = {
  ...{ model_type: 'gpt2', activation_function: 'gelu_new', layer_norm_epsilon: 1e-5 },
  ...{ vocab_size: 67, n_positions: 8, n_embd: 24, n_layer: 2, n_head: 3 },
};

describe('on a small model', () => {
  const config = parseConfig(SMALL, 'config.json');
  const files = modelFiles('small', config, hashedCheckpoint(config));
  const parameters = modelParameters(files);
  const d = config.width;
  let context: Context;
  let model: LoadedModel;
  let twin: ReferenceModel;
  let tables: { vocabulary: Float32Array; positions: Float32Array };
  beforeAll(async () => {
    context = await testContext();
    model = await loadModel(context, files);
    twin = await loadTwin(files);
    const [vocabulary, positions] = [
      await parameters.parameter('wte.weight'),
      await parameters.parameter('wpe.weight'),
    ];
    tables = { vocabulary, positions };
  });
  afterAll(() => {
    model.dispose();
    context.destroy();
  });

  test('rows of tokens lie at no distance from the vocabulary, and lead to the states of their text', async () => {
    const inputs = [Uint32Array.of(3, 1, 4, 15), Uint32Array.of(9, 2, 6, 5)].map((ids) => ({
      prefix: ids.slice(0, 2),
      rows: Float32Array.from(twin.embed(ids.slice(2), 2)),
    }));
    const states = await statesOf(model, inputs, [1, 2]);
    const exact = twin.residualStates([9, 2, 6, 5]);
    [1, 2].forEach((layer, k) => {
      expect(Math.max(...states[1][k].map((value, i) => Math.abs(value - exact[layer][i])))).toBeLessThan(1e-5);
    });
    const likelihoods = [() => 1, (_: Float64Array, t: number, previous?: Float64Array) => (previous ? -t : 0)];
    const scores = scoresOf(inputs[1], states[1], tables, { width: d, likelihoods });
    expect(scores.distances).toEqual([0, 0]);
    expect(scores.surprises).toEqual([
      [-1, -1],
      [2, 3],
    ]);
    const farther = { ...inputs[1], rows: inputs[1].rows.map((value) => 2 * value) };
    expect(distancesOf(freeVectors(farther, tables, d), tables).every((distance) => distance > 0.5)).toBe(true);
  });

  test('vectors near token rows force texts, behind a text or none, and keep the length of rows', async () => {
    const leadOf = leads(await headPart(parameters), config.layerNormEpsilon);
    const tasks = [{ text: Uint32Array.of(5, 60) }, { text: Uint32Array.of(33), prefix: Uint32Array.of(1, 2, 3, 4) }];
    const rowLengths = Array.from({ length: 67 }, (_, v) => Math.hypot(...tables.vocabulary.slice(v * d, (v + 1) * d)));
    const [shortest, longest] = [Math.min(...rowLengths), Math.max(...rowLengths)];
    const farthest: number[] = [];
    for (const margin of [0.01, 0.1]) {
      const found = await forceNearby(model, leadOf, tasks, { margin, random: seededRandom(2) });
      const distances = tasks.flatMap(({ text, prefix = new Uint32Array() }, i) => {
        const held = twin.prefix();
        if (prefix.length > 0) twin.extend(twin.embed(prefix), held);
        const states = twin.extend(found[i], held);
        text.forEach((token, n) => {
          expect(leadOf(states.slice(n * d, (n + 1) * d), token).margin).toBeGreaterThan(margin - 1e-4);
        });
        const vectors = freeVectors({ prefix, rows: found[i] }, tables, d);
        for (const vector of vectors) {
          expect(Math.hypot(...vector)).toBeGreaterThan(shortest - 1e-5);
          expect(Math.hypot(...vector)).toBeLessThan(longest + 1e-5);
        }
        return distancesOf(vectors, tables);
      });
      farthest.push(Math.max(...distances));
    }
    expect(farthest[0]).toBeLessThan(farthest[1]);
  });
});
