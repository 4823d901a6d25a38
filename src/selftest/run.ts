import type { Context } from '../gpu/context.ts';
import { type Agreement, agree } from '../reference/agree.ts';
import { readBytes } from '../tensor/tensor.ts';
import { type Case, kernelCases } from './cases.ts';

/** How one kernel compared with the reference. */
export interface CaseResult extends Agreement {
  readonly op: string;
  readonly name: string;
}

/** Runs one case on a device. */
export async function runCase(context: Context, kernelCase: Case): Promise<CaseResult> {
  const result = context.scope(() => kernelCase.run(context));
  const bytes = (await readBytes([result]))[0]!;
  const got = result.type === 'u32' ? new Uint32Array(bytes) : new Float32Array(bytes);
  result.dispose();
  return { op: kernelCase.op, name: kernelCase.name, ...agree(got, kernelCase.want(), kernelCase.bounds) };
}

/**
 * Compares every kernel with the float64 reference on this device.
 * @param onResult Called after each case.
 */
export async function selftest(
  context: Context,
  onResult?: (result: CaseResult, done: number, total: number) => void,
): Promise<CaseResult[]> {
  const cases = kernelCases();
  const results: CaseResult[] = [];
  for (const kernelCase of cases) {
    results.push(await runCase(context, kernelCase));
    onResult?.(results.at(-1)!, results.length, cases.length);
  }
  return results;
}
