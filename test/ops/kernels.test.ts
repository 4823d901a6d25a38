import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { testContext } from '#context';
import { type Context, createContext } from '../../src/gpu/context.ts';
import { kernelCases } from '../../src/selftest/cases.ts';
import { runCase } from '../../src/selftest/run.ts';

let own: Context;
beforeAll(async () => {
  own = await testContext();
});
afterAll(() => own.destroy());

// The kernels for GPUs run on CPU adapters too, only slowly: both sets are compared wherever the tests run.
describe.each(['cpu', 'hardware'] as const)('kernels for %s adapters agree with the float64 reference', (kind) => {
  let context: Context;
  beforeAll(async () => {
    context = await createContext({ device: own.device, kind });
  });
  test.each(kernelCases().map((kernelCase) => [`${kernelCase.op} ${kernelCase.name}`, kernelCase] as const))(
    '%s',
    async (_, kernelCase) => {
      const { ok, worst } = await runCase(context, kernelCase);
      expect(ok, JSON.stringify(worst)).toBe(true);
    },
  );
});
