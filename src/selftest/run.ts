import type { Context } from '../gpu/context.ts';
import { type Agreement, agree } from '../reference/agree.ts';
import { takeBytes } from '../tensor/tensor.ts';
import type { Case } from './case.ts';
import { kernelCases } from './cases.ts';

/** How one kernel compared with the reference. */
export interface CaseResult extends Agreement {
  readonly op: string;
  readonly name: string;
}

/** Runs one case on a device. */
export async function runCase(context: Context, kernelCase: Case): Promise<CaseResult> {
  const result = context.scope(() => kernelCase.run(context));
  const [bytes] = await takeBytes([result]);
  const got = result.type === 'u32' ? new Uint32Array(bytes) : new Float32Array(bytes);
  return { op: kernelCase.op, name: kernelCase.name, ...agree(got, kernelCase.want(), kernelCase.bounds) };
}

/** How to watch or stop a self-test. */
export interface SelftestOptions {
  /** Called before each case with its place, from 0. */
  readonly onCase?: (kernelCase: Case, index: number, total: number) => void;
  /** Stops between cases; the results so far are returned. */
  readonly signal?: AbortSignal;
}

/** Compares every kernel with the float64 reference on this device. */
export async function selftest(context: Context, { onCase, signal }: SelftestOptions = {}): Promise<CaseResult[]> {
  const cases = kernelCases();
  const results: CaseResult[] = [];
  for (const kernelCase of cases) {
    if (signal?.aborted) break;
    onCase?.(kernelCase, results.length, cases.length);
    results.push(await runCase(context, kernelCase));
  }
  return results;
}
