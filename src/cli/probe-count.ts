import type { LoadedModel } from '../model/load.ts';
import type { ModelParameters } from '../probe/certificates/model-parts.ts';
import { type BlockPreimages, preimagesOfBlock } from '../probe/preimages-of-block.ts';
import { type Goal, type GoalTask, spanText } from './probe-goal.ts';
import type { ProbeLive } from './probe-live.ts';
import { EXIT } from './session.ts';
import { print, printJson } from './terminal.ts';
import { cell, counted, printable, significant } from './text.ts';

const WIDTHS = [4, 6, 9, 8, 12];

/** What to count. */
export interface CountJob {
  readonly model: LoadedModel;
  readonly params: ModelParameters;
  readonly goal: Goal;
  readonly tasks: readonly GoalTask[];
  readonly json?: boolean;
  readonly signal: AbortSignal;
  readonly live: Pick<ProbeLive, 'say' | 'clear'>;
}

/**
 * Lists the preimages of each target under a half block, and prints them.
 * @returns The exit code: 1 where a target has none that was found.
 */
export async function countPreimages({ model, params, goal, tasks, json, signal, live }: CountJob): Promise<number> {
  const targets = tasks.flatMap(({ name, targets }) => targets.map((target) => ({ name, target })));
  const lists = await preimagesOfBlock(
    model,
    params,
    targets.map(({ target }) => target),
    { ...goal, signal, onRound: (rows) => live.say(`listing preimages, ${counted(rows, 'row')}`) },
  );
  live.clear();
  for (const [i, list] of lists.entries()) {
    if (json) printJson(listJson(targets[i].name, goal, list));
    else show(targets[i].name, goal, list);
  }
  return lists.every(({ preimages }) => preimages.length > 0) ? EXIT.done : EXIT.negative;
}

function listJson(name: string, goal: Goal, { preimages, signSum, work, exact }: BlockPreimages) {
  return {
    name,
    block: spanText(goal),
    preimages: preimages.map(({ x, sign, residual, origin }) => ({ sign, residual, origin, input: [...x] })),
    signSum,
    exact: exact && { all: exact.all, found: exact.found },
    ...work,
  };
}

function show(name: string, goal: Goal, { preimages, signSum, work, exact }: BlockPreimages): void {
  print(`${printable(name)}: ${counted(preimages.length, 'preimage')} found under ${spanText(goal)}`);
  const row = (texts: readonly string[]) => print(texts.map((text, i) => cell(text, WIDTHS[i], 'right')).join('  '));
  row(['#', 'det Dg', 'residual', '|x|', 'found by']);
  preimages.forEach(({ x, sign, residual, origin }, i) => {
    const length = significant(Math.hypot(...x));
    row([String(i + 1), sign > 0 ? '> 0' : sign < 0 ? '< 0' : '0', significant(residual), length, origin]);
  });
  const sum = `The signs add up to ${signSum > 0 ? '+' : ''}${signSum}`;
  print(
    signSum === 1
      ? `${sum}, as those of all preimages do: no proof that these are all.`
      : `${sum}; those of all preimages add up to +1: some are missing.`,
  );
  if (exact) print(`Listed exactly by the equation of the first position: ${exact.all}; ${exact.found} of them found.`);
  print(`${work.rows} rows, ${counted(work.jacobians, 'Jacobian')}.\n`);
}
