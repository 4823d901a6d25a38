import type { Command } from 'commander';
import type { Context } from '../gpu/context.ts';
import { type CaseResult, selftest } from '../selftest/run.ts';
import { type SharedOptions, sharedOptions } from './options.ts';
import { EXIT, interruptible, isChatty, withContext } from './session.ts';
import { columns, paint, print, printJson, statusLine } from './terminal.ts';
import { cell, counted, cut, duration, significant } from './text.ts';

/** Adds `preimage selftest`. */
export function addSelftest(program: Command): void {
  sharedOptions(
    program.command('selftest').description('compare every kernel with the float64 reference on this device'),
  )
    .addHelpText('after', EXAMPLES)
    .action(async (options: SharedOptions) => {
      process.exitCode = await run(options);
    });
}

const EXAMPLES = `
Exits with 1 if any kernel disagrees with the reference.
Needs no model: --model and --revision change nothing.

Examples:
  preimage selftest
  preimage selftest --adapter swiftshader --json`;

async function run(options: SharedOptions): Promise<number> {
  return withContext(options, (context) => interruptible((signal) => compare(context, options, signal)));
}

async function compare(context: Context, options: SharedOptions, signal: AbortSignal): Promise<number> {
  if (isChatty(options)) print(`Every kernel against the float64 reference on ${context.adapter.name}.`);
  const status = statusLine(isChatty(options));
  const started = performance.now();
  let total = 0;
  const results = await selftest(context, {
    signal,
    onCase({ op, name }, index, count) {
      total = count;
      status.show(cut(`  ${index} of ${count}  ${op} ${name}`, columns() - 1));
    },
  });
  status.clear();
  const seconds = (performance.now() - started) / 1000;
  const ok = results.every((result) => result.ok) && results.length === total;
  if (options.json) printJson({ ok, adapter: context.adapter, seconds, operations: byOperation(results) });
  else show(results, total, seconds, options.quiet ?? false);
  return ok ? EXIT.done : EXIT.negative;
}

function byOperation(results: readonly CaseResult[]) {
  return [...new Set(results.map(({ op }) => op))].map((op) => {
    const cases = results.filter((result) => result.op === op);
    const worst = cases.reduce((a, b) => (b.worst.share > a.worst.share ? b : a));
    return {
      op,
      cases: cases.length,
      ok: cases.every((result) => result.ok),
      worst: { case: worst.name, ...worst.worst },
    };
  });
}

function show(results: readonly CaseResult[], total: number, seconds: number, quiet: boolean): void {
  const operations = byOperation(results);
  if (!quiet) {
    print();
    print(
      paint('dim', `  ${cell('operation', 18)}${cell('cases', 7, 'right')}  ${cell('error / bound', 14, 'right')}`),
    );
    for (const { op, cases, ok, worst } of operations) {
      const verdict = ok ? paint('green', 'ok') : paint('red', 'WRONG');
      print(
        `  ${cell(op, 18)}${cell(String(cases), 7, 'right')}  ${cell(significant(worst.share), 14, 'right')}  ${verdict}`,
      );
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
