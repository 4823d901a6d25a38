import type { Command } from 'commander';
import { type Case, kernelCases } from '../selftest/cases.ts';
import { type CaseResult, runCase } from '../selftest/run.ts';
import { adapterOptions, type SharedOptions } from './options.ts';
import { EXIT, interruptible, isChatty, withContext } from './session.ts';
import { columns, paint, print, printJson, statusLine } from './terminal.ts';
import { cell, counted, cut, duration, significant } from './text.ts';

type SelftestOptions = Pick<SharedOptions, 'adapter' | 'json' | 'quiet'>;

/** Adds `preimage selftest`. */
export function addSelftest(program: Command): void {
  adapterOptions(
    program.command('selftest').description('compare every kernel with the float64 reference on this device'),
  )
    .addHelpText('after', EXAMPLES)
    .action(async (options: SelftestOptions) => {
      process.exitCode = await selftest(options);
    });
}

const EXAMPLES = `
Exits with 1 if any kernel disagrees with the reference.

Examples:
  preimage selftest
  preimage selftest --adapter swiftshader --json`;

interface Compared extends CaseResult {
  /** Error of the worst element as a share of what is allowed there; over 1 is a disagreement. */
  readonly share: number;
}

async function selftest(options: SelftestOptions): Promise<number> {
  return withContext(options, async (context) => {
    if (isChatty(options)) print(`Every kernel against the float64 reference on ${context.adapter.name}.`);
    const status = statusLine(isChatty(options));
    const started = performance.now();
    const cases = kernelCases();
    const results: Compared[] = [];
    const stopped = await interruptible(async (signal) => {
      for (const kernelCase of cases) {
        if (signal.aborted) return true;
        const label = `  ${results.length} of ${cases.length}  ${kernelCase.op} ${kernelCase.name}`;
        status.show(cut(label, columns() - 1));
        const result = await runCase(context, kernelCase);
        results.push({ ...result, share: shareOfBound(result, kernelCase) });
      }
      return false;
    });
    status.clear();
    const seconds = (performance.now() - started) / 1000;
    const ok = results.every((result) => result.ok);
    if (options.json) printJson({ ok: ok && !stopped, adapter: context.adapter, seconds, operations: byOperation(results) });
    else show(results, cases.length, seconds, options.quiet ?? false);
    if (stopped) return EXIT.interrupted;
    return ok ? EXIT.done : EXIT.negative;
  });
}

function shareOfBound({ ok, worst }: CaseResult, { bounds }: Case): number {
  if (worst.error === 0) return 0;
  const share = worst.error / Math.max(bounds.abs, bounds.rel * Math.abs(worst.want));
  return Number.isNaN(share) || (!ok && share <= 1) ? Infinity : share;
}

function byOperation(results: readonly Compared[]) {
  return [...Map.groupBy(results, ({ op }) => op)].map(([op, cases]) => {
    const worst = cases.reduce((a, b) => (b.share > a.share ? b : a));
    return {
      op,
      cases: cases.length,
      ok: cases.every((result) => result.ok),
      share: worst.share,
      worst: { case: worst.name, ...worst.worst },
    };
  });
}

function show(results: readonly Compared[], total: number, seconds: number, quiet: boolean): void {
  const operations = byOperation(results);
  if (!quiet) {
    print();
    print(paint('dim', `  ${cell('operation', 18)}${cell('cases', 7, 'right')}  ${cell('error / bound', 14, 'right')}`));
    for (const { op, cases, ok, share } of operations) {
      const verdict = ok ? paint('green', 'ok') : paint('red', 'WRONG');
      print(`  ${cell(op, 18)}${cell(String(cases), 7, 'right')}  ${cell(significant(share), 14, 'right')}  ${verdict}`);
    }
    print();
  }
  for (const { op, ok, worst } of operations) {
    if (ok) continue;
    print(
      paint('red', `${op} disagrees: ${worst.case}, element ${worst.index} is ${worst.got} instead of ${worst.want}.`),
    );
  }
  const wrong = results.filter(({ ok }) => !ok).length;
  const done = results.length < total ? `${results.length} of ${counted(total, 'case')}` : counted(total, 'case');
  print(
    wrong === 0
      ? `${done} agree with the reference (${duration(seconds)}).`
      : `${wrong} of ${counted(results.length, 'case')} disagree: do not trust results of this adapter, and please report it.`,
  );
}
