import { norm as length } from '../../linalg/vector.ts';
import { layernorm } from '../../reference/layernorm.ts';
import { regionFor } from './check.ts';
import type { Control, Targets, Trial } from './control-targets.ts';
import { normPart } from './model-parts.ts';
import { certify } from './separation.ts';
import type { Region } from './types.ts';

/** How many times as far from the origin as the largest output seen the targets of an MLP lie. */
const DISTANCES = [2, 10];

const trialOf =
  (region: Region) =>
  (target: Float64Array): Trial =>
  () =>
    certify(region, target);

/** Targets that went through f32. */
const rounded = (region: Region) => (target: Float64Array) => trialOf(region)(target.map(Math.fround));

const times = <T>(count: number, make: (i: number) => T): T[] => Array.from({ length: count }, (_, i) => make(i));

/**
 * After a LayerNorm: random directions of an output's length; outputs at the rim of the ellipsoid, 1 % farther out; and
 * outputs whose normed row has a mean of 0.01.
 */
export async function normControls(targets: Targets): Promise<Control[]> {
  const { model, digest, blocks } = targets;
  const { layers, layerNormEpsilon } = model.config;
  const places = [
    { part: 'ln_f', layer: layers },
    ...blocks.flatMap((layer) => ['ln_1', 'ln_2'].map((name) => ({ part: `h.${layer}.${name}`, layer }))),
  ];
  const [random, stretched, shifted, reachable]: Trial[][] = [[], [], [], []];
  for (const [n, { part, layer }] of places.entries()) {
    const region = await regionFor('ellipsoid', { model: digest, part }, model);
    const { weight, bias } = await normPart(model, part);
    const trial = trialOf(region);
    const outputOf = (x: Float64Array) => layernorm(x, weight, bias, layerNormEpsilon).y;
    for (let i = 0; i < targets.share(n, places.length); i++) {
      const y = outputOf(targets.input(layer, i));
      const rim = outputOf(targets.noise(1000)); // epsilon takes next to nothing from its length
      reachable.push(rounded(region)(i % 5 === 4 ? rim : y));
      random.push(trial(targets.ofLength(length(y))));
      stretched.push(trial(rim.map((value, k) => bias[k] + 1.01 * (value - bias[k]))));
      shifted.push(trial(y.map((value, k) => value + 0.01 * weight[k])));
    }
  }
  const names = { 'random directions': random, 'stretched by 1 %': stretched, 'mean of 0.01': shifted };
  return Object.entries(names).map(([name, unreachable]) => ({
    kind: 'ellipsoid',
    name: `LayerNorm: ${name}`,
    unreachable,
    reachable,
  }));
}

/** Attention alone behind 1, 5 and 50 random tokens: random directions of an output's length. */
export async function attentionControl(targets: Targets): Promise<Control> {
  const { model, digest, blocks, reference } = targets;
  const lengths = [...new Set([1, 5, 50].map((n) => Math.min(n, model.config.contextLength - 1)))];
  const unreachable: Trial[] = [];
  const reachable: Trial[] = [];
  for (const [n, { layer, positions }] of blocks
    .flatMap((layer) => lengths.map((positions) => ({ layer, positions })))
    .entries()) {
    const prefix = targets.tokens(positions);
    const region = await regionFor('hull', { model: digest, part: `h.${layer}.attn`, prefix }, model);
    const cache = reference.prefix(layer + 1);
    reference.extend(reference.embed(prefix), cache);
    const outputs = times(targets.share(n, blocks.length * lengths.length), (i) => {
      const x = targets.input(layer, i);
      return reference.states(x, cache, layer + 0.5, layer).map((value, k) => value - x[k]);
    });
    unreachable.push(...outputs.map((y) => trialOf(region)(targets.ofLength(length(y)))));
    reachable.push(...outputs.map(rounded(region)));
  }
  return { kind: 'hull', name: 'attention alone: random directions', unreachable, reachable };
}

/** MLPs after their LayerNorm: random directions, as far out as the largest output seen and farther. */
export async function boundControls(targets: Targets): Promise<Control[]> {
  const { model, digest, blocks, reference } = targets;
  const far: Trial[][] = DISTANCES.map(() => []);
  const reachable: Trial[] = [];
  for (const [b, layer] of blocks.entries()) {
    const region = await regionFor('bound', { model: digest, part: `h.${layer}.mlp` }, model);
    const outputs = times(targets.share(b, blocks.length), (i) => {
      const x = targets.input(layer, i);
      const y = reference.states(x, reference.prefix(layer + 1), layer + 1, layer + 0.5);
      return y.map((value, k) => value - x[k]);
    });
    const largest = Math.max(...outputs.map(length));
    DISTANCES.forEach((distance, n) => {
      far[n].push(...outputs.map(() => trialOf(region)(targets.ofLength(distance * largest))));
    });
    reachable.push(...outputs.map(rounded(region)));
  }
  return DISTANCES.map((distance, n) => ({
    kind: 'bound',
    name: `MLP after LN: random, ${distance} x the largest seen`,
    unreachable: far[n],
    reachable,
  }));
}
