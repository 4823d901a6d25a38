import { describe, expect, test } from 'vitest';
import type { Finding, Solve, StepFinding } from '../../src/probe/findings.ts';
import { probeReport } from '../../src/probe/report.ts';
import { pathText, tallyOf, theoryText } from '../../src/probe/report-words.ts';

const hostile = '</script><img src=x onerror="alert(1)">\n\u0007\u202e &';
const words = ['It', ' was', hostile, '\ufffd', ' owl'];
const token = (id: number) => words[id % words.length];
const run = {
  command: 'preimage probe --random 2 --report out.html',
  model: 'weights',
  digest: '0123456789abcdef',
  adapter: 'swiftshader',
  version: '0.1.0',
  date: new Date('2026-01-02T03:04:05Z'),
  token,
  place: 'the stack up to layer 2',
  vocabulary: Float32Array.from({ length: 20 }, (_, i) => Math.sin(i)),
  decode: (ids: Uint32Array) => Array.from(ids, token).join(''),
};

function step(name: string, more: Partial<StepFinding> = {}): StepFinding {
  const counts = { folds: 0, rejected: 0, jumps: 0, restarts: 0 };
  return { name, stage: 'broyden', residual: 2e-7, distance: 3, bound: 12, path: [], ...counts, ...more };
}

/** s rises, folds back, and rises again. */
const folded = step('h.0.mlp', {
  stage: 'lu',
  sign: 1,
  folds: 2,
  jumps: 1,
  path: [0, 0.6, 0.4, 1].map((s, i) => ({ s, arclength: i / 2 })),
});

function finding(position: number, more: Partial<Finding> = {}): Finding {
  return {
    position,
    reached: true,
    residual: 4e-7,
    exactResidual: 3e-7,
    rows: 123,
    jacobians: 0,
    refinements: 1,
    steps: [step('h.1.mlp', { sign: 1 }), step('h.0.mlp')],
    nearest: [{ token: 2, distance: 120 }],
    length: 121,
    decoded: [{ token: 1, logit: 9, margin: 2.5 }],
    vector: Float32Array.of(1, 2, 3, position),
    target: Float64Array.of(1, 1, 1, 1),
    ...more,
  };
}

const solve = (findings: readonly Finding[], more: Partial<Solve> = {}): Solve => ({
  name: 'random 0',
  prefix: new Uint32Array(),
  wanted: findings.length,
  findings,
  solved: findings.every(({ reached }) => reached),
  ...more,
});

describe('a page of one file', () => {
  test('says in words what came out, and draws it', () => {
    const html = probeReport([solve([finding(0)]), solve([finding(0, { steps: [folded] })])], run);
    expect(html).toContain('REACHED');
    expect(html).toContain('2 of 2 targets reached to 1e-5 or better in float64.');
    for (const title of ['Every vector', 'Residuals', 'Work and paths', 'How far from text', 'Step by step'])
      expect(html).toContain(`>${title}</h2>`);
    expect(html).toContain('fold of random 0, position 0, h.0.mlp at s 0.600');
    expect(html).not.toMatch(/(?:NaN|undefined|Infinity)/);
    expect(html).not.toMatch(/https?:\/\/(?!www\.w3\.org\/2000\/svg)/);
  });

  test('names of tokens and of records cannot become elements', () => {
    const html = probeReport([solve([finding(0)], { name: hostile })], run);
    expect(html).not.toContain('<img');
    expect(html).not.toContain('\u202e');
  });

  test('a text: its tokens, and what the model says by itself', () => {
    const forced = { token: 1, margin: 2.5, exactMargin: 2.4 };
    const text = { text: Uint32Array.of(1), continuation: Uint32Array.of(1, 4), prefix: Uint32Array.of(0) };
    const html = probeReport([solve([finding(1, { forced })], text)], run);
    expect(html).toContain('FORCED');
    expect(html).toContain('1 of 1 token the likeliest in f32 and in float64, the narrowest by 2.40 logits.');
    expect(html).toContain(' was owl');
  });

  test('what is not reached is not called unreachable', () => {
    const short = finding(0, { reached: false, residual: Number.POSITIVE_INFINITY, exactResidual: 0.3, steps: [] });
    const html = probeReport([solve([short], { wanted: 3 })], run);
    expect(html).toContain('NOT REACHED');
    expect(html).toContain('0 of 3 targets reached');
    expect(html).toContain('not certified');
    expect(html).not.toMatch(/(?:NaN|undefined|Infinity)/);
  });

  test('nothing at all, and vectors behind the input, of which no distance from the vocabulary is known', () => {
    expect(probeReport([solve([], { wanted: 1, solved: false })], run)).toContain('NOT REACHED');
    const inside = finding(3, { nearest: [], length: undefined });
    const html = probeReport([solve([inside])], { ...run, vocabulary: undefined });
    expect(html).not.toContain('How far from text');
  });
});

test('in words: stages, folds, jumps, signs, and the ball', () => {
  const tally = tallyOf([solve([finding(0, { jacobians: 4, steps: [folded, step('h.0.attn', { sign: -1 })] })])]);
  expect(pathText(tally)).toBe(
    "Steps: 1 of 2 by Broyden's method alone, 1 along the path (0 by GMRES, 1 by LU), 2 folds, 1 jump caught by the orientation; 123 rows, 4 Jacobians.",
  );
  expect(theoryText(tally)).toContain('the farthest at 0.250 M. det Dg is positive at 1 of the 2 steps looked at.');
});
