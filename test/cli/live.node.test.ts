import { expect, test } from 'vitest';
import { summary } from '../../src/cli/live.ts';
import type { LoadedModel } from '../../src/model/load.ts';
import type { Inversion, Verdict } from '../../src/sipit/types.ts';

const model = { name: 'm\x1b[2J', context: { adapter: { name: 'abacus' } } } as LoadedModel;

/** An inversion of four positions that ended after those with these verdicts. */
function ended(...verdicts: Verdict[]): Inversion {
  return {
    tokens: verdicts.map(() => 7),
    exact: false,
    layer: 0,
    policy: 'likely-first',
    runnerUpScope: 'evaluated',
    positions: verdicts.map((verdict, position) => {
      return { position, verdict, token: 7, distance: 1, radius: 1, candidates: 1 };
    }),
    length: 4,
    cost: { forwardEquivalents: 1, candidates: 2, seconds: 1 },
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
