import { afterAll, beforeAll, expect, test } from 'vitest';
import { testContext } from '#context';
import type { Context } from '../../src/gpu/context.ts';
import { difference, norm } from '../../src/linalg/vector.ts';
import { leakyMlpStep, randomLeakyMlp } from '../../src/probe/blocks/leaky-mlp.ts';
import { linearAttention, randomLinearAttention } from '../../src/probe/blocks/linear-attention.ts';
import { linearAttentionInverse } from '../../src/probe/blocks/linear-attention-inverse.ts';
import type { Chain } from '../../src/probe/chain.ts';
import { isSame, listed, preimages } from '../../src/probe/preimages.ts';
import { coverage } from '../../src/probe/preimages-exact.ts';
import { preimagesSideBySide } from '../../src/probe/preimages-side-by-side.ts';
import { runRounds } from '../../src/probe/rounds.ts';
import { seededRandom } from '../support/agree.ts';

let context: Context;
beforeAll(async () => {
  context = await testContext();
});
afterAll(() => context.destroy());

const D = 4;

/** A residual block of large weights, and outputs of small inputs: those have several preimages. */
function folded() {
  const mlp = randomLeakyMlp(2, D, 4 * D);
  const outWeight = Float32Array.from(mlp.outWeight, (value) => 2 * value);
  const norm = { gain: new Float32Array(D).fill(1), bias: new Float32Array(D), epsilon: 1e-5 };
  const block = leakyMlpStep(context, { ...mlp, outWeight }, norm);
  const inputs = [1, 3, 4].map((seed) => Float64Array.from(seededRandom(seed).normal(D, 0.5)));
  return { block, chain: { steps: [block], twin: (x) => block.twin(x) } satisfies Chain, inputs };
}

test('lists distinct preimages with their signs; most lists of a residual block add up to 1', async () => {
  const { block, chain, inputs } = folded();
  const tasks = inputs.map((known) => ({ y: block.twin(known), known }));
  const lists = await preimagesSideBySide(tasks, { context, chain, newtons: 40, paths: 1, budget: 300 * (D + 1) });
  block.dispose();
  lists.forEach(({ preimages, known, signSum, work }, i) => {
    const { y } = tasks[i];
    for (const [k, { x, sign, residual }] of preimages.entries()) {
      expect(norm(difference(block.twin(x), y)) / norm(y)).toBeLessThan(1e-10);
      expect(residual).toBeLessThan(1e-10);
      expect(Math.abs(sign)).toBe(1);
      for (const other of preimages.slice(k + 1)) expect(isSame({ x, sign }, other)).toBe(false);
    }
    expect(preimages.some(({ sign }) => sign > 0)).toBe(true);
    expect(signSum).toBe(preimages.reduce((sum, { sign }) => sum + sign, 0));
    if (known!.index >= 0) expect(norm(difference(preimages[known!.index].x, inputs[i]))).toBeLessThan(1e-6);
    expect(work.rows).toBeGreaterThan((1 + D) * work.jacobians);
  });
  expect(lists.filter(({ signSum }) => signSum === 1).length).toBeGreaterThanOrEqual(2);
  expect(lists.some(({ preimages }) => preimages.some(({ sign }) => sign < 0))).toBe(true);
  expect(lists.filter(({ known }) => known!.index >= 0).length).toBeGreaterThanOrEqual(2);
});

test('one after another finds what side by side finds', async () => {
  const { block, chain, inputs } = folded();
  const options = { paths: 1, newtons: 8, seed: 5 };
  const y = block.twin(inputs[0]);
  const [together] = await preimagesSideBySide([{ y, known: inputs[0] }], { context, chain, ...options });
  const problem = { step: 0, y, tolerance: 1e-6, floor: 1e-5 };
  const search = preimages(problem, { ...options, known: inputs[0] });
  const { results, work } = await runRounds([{ slot: 0, search }], { context, chain });
  block.dispose();
  expect(results[0]).toEqual({ preimages: together.preimages, signSum: together.signSum, known: together.known });
  expect(work[0]).toEqual(together.work);
});

test('stays within its budget of rows', async () => {
  const { block, chain, inputs } = folded();
  const budget = 60 * (D + 1);
  const [{ work }] = await preimagesSideBySide([{ y: block.twin(inputs[1]) }], { context, chain, budget });
  block.dispose();
  expect(work.rows).toBeLessThan(2 * budget);
});

test('what is found is on the exact list', async () => {
  const attention = randomLinearAttention(3, { width: D, residual: true });
  const prefix = seededRandom(4).normal(3 * D);
  const block = linearAttention(context, attention, prefix);
  const known = Float64Array.from(seededRandom(5).normal(D));
  const y = block.twin(known);
  const chain: Chain = { steps: [block], twin: (x) => block.twin(x) };
  const [list] = await preimagesSideBySide([{ y, known }], {
    context,
    chain,
    newtons: 30,
    paths: 0,
    budget: 300 * (D + 1),
  });
  block.dispose();
  const { all, found, strange, hasKnown } = coverage(list, linearAttentionInverse(attention, prefix)(y));
  expect(strange).toBe(0);
  expect(found).toBe(list.preimages.length);
  expect(found).toBeGreaterThan(0);
  expect(all).toBeGreaterThanOrEqual(found);
  expect(hasKnown).toBe(true);
});

test('points that float64 does not confirm are left out', () => {
  const problem = { step: 0, y: Float64Array.of(1, 0), tolerance: 1e-6, floor: 1e-5 };
  const point = { x: Float64Array.of(1, 2), sign: 1, residual: 1e-6, isExact: true, origin: 'newton' } as const;
  expect(listed(problem, [point]).preimages).toEqual([]);
  const inFloat32 = { ...point, isExact: false };
  expect(listed(problem, [inFloat32, inFloat32]).preimages).toEqual([inFloat32]);
});
