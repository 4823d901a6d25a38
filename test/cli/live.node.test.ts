import { describe, expect, test } from 'vitest';
import { marginText, summary } from '../../src/cli/live.ts';
import { bar } from '../../src/cli/text.ts';
import type { LoadedModel } from '../../src/model/load.ts';
import type { Inversion, PositionResult, Verdict } from '../../src/sipit/types.ts';

const model = { name: 'm\x1b[2J', context: { adapter: { name: 'abacus' } } } as LoadedModel;

function at(changes: Partial<PositionResult>): PositionResult {
  return { position: 0, verdict: 'accepted', token: 7, distance: 1, radius: 1, candidates: 1, rivals: 0, ...changes };
}

/** An inversion of four positions that ended after those with these verdicts. */
function ended(...verdicts: Verdict[]): Inversion {
  return {
    tokens: verdicts.map(() => 7),
    exact: false,
    layer: 0,
    policy: 'likely-first',
    scope: 'evaluated',
    noise: 0,
    positions: verdicts.map((verdict, position) => at({ position, verdict })),
    length: 4,
    cost: { forwardEquivalents: 1.234, scoring: 0.2, candidates: 2, seconds: 1 },
  };
}

test.each<[Verdict, string]>([
  ['ambiguous', 'AMBIGUOUS'],
  ['not found', 'NOT FOUND'],
])('a search that ended at a position that is %s says so', (verdict, shown) => {
  const text = summary(ended('accepted', verdict), model, false);
  expect(text).toContain(`${shown} at position 1`);
  expect(text).toContain('The search ended at position 1: 2 positions not tried.');
});

test('a search that was stopped did not end there', () => {
  const text = summary(ended('accepted'), model, true);
  expect(text).toContain('STOPPED after 1 of 4 positions.');
  expect(text).not.toContain('The search ended');
});

test('the name of a model cannot steer the terminal', () => {
  expect(summary(ended('not found'), model, false)).toContain('m\\x1b[2J');
});

describe('an exact inversion says what was compared', () => {
  const exact = { ...ended('accepted', 'accepted', 'accepted', 'accepted'), exact: true };
  test.each<[Partial<Inversion>, string]>([
    [{ scope: 'calibrated' }, "no other token could be nearer, by the lens's calibration"],
    [{ scope: 'vocabulary' }, 'no other token of the vocabulary fits'],
    [{ scope: 'evaluated' }, 'no other token that was tried fits'],
    [{ scope: 'calibrated', noise: 0.01 }, 'no other token could be as likely'],
    [{ noise: 0.01 }, 'Noise of 1 % of the RMS is allowed for.'],
    [{}, 'cost: 1.23 forward passes of the prompt, 2 rows evaluated'],
  ])('%o', (changes, text) => {
    expect(summary({ ...exact, ...changes }, model, false).replace(/\n +/g, ' ')).toContain(text);
  });
});

test('what is flagged says why, and where nothing fits, what to check', () => {
  const reason = 'tokens 1 and 2 have equal rows and cannot be told apart';
  const positions = [at({}), at({ position: 1, verdict: 'ambiguous', reason })];
  const text = summary({ ...ended(), positions }, model, false);
  expect(text).toContain(`AMBIGUOUS at position 1: ${reason}.`);
  expect(text).not.toContain('--layer');
  expect(summary({ ...ended(), positions: [positions[1]] }, model, false)).toContain('of layer 0 (--layer)');
});

test('a margin is a bound unless the token that is next was evaluated', () => {
  const runnerUp = { token: 3, distance: 5 };
  expect(marginText(at({ margin: 4, runnerUp }))).toBe('4.00');
  expect(marginText(at({ margin: 4, runnerUp, othersBeyond: 6 }))).toBe('4.00');
  expect(marginText(at({ margin: 3, runnerUp, othersBeyond: 4 }))).toBe('≥3.00');
  expect(marginText(at({ margin: -1, othersBeyond: 0 }))).toBe('–');
  expect(marginText(at({}))).toBe('');
});

test('a bar is drawn to an eighth of a column', () => {
  expect([bar(0, 4), bar(0.5, 4), bar(0.53, 4), bar(2, 4)]).toEqual(['', '██', '██▏', '████']);
});
