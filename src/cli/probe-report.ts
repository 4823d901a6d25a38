import type { LoadedModel } from '../model/load.ts';
import type { Inspector, Solve } from '../probe/findings.ts';
import { probeReport } from '../probe/report.ts';
import { type Goal, spanText } from './probe-goal.ts';
import { runOf, writePage } from './report.ts';

/** Writes the page of `probe --report`. @throws SourceError */
export async function writeProbeReport(
  path: string,
  solves: readonly Solve[],
  { goal, model, inspect }: { readonly goal: Goal; readonly model: LoadedModel; readonly inspect: Inspector },
): Promise<void> {
  const { tokenizer } = model;
  const vocabulary = goal.from === 0 ? inspect.vocabulary : undefined;
  const run = await runOf(model);
  const decode = tokenizer && ((ids: Uint32Array) => tokenizer.decode(ids));
  await writePage(path, probeReport(solves, { ...run, place: spanText(goal), vocabulary, decode }));
}
