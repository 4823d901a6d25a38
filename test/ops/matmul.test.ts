import { afterAll, beforeAll, expect, test } from 'vitest';
import { testContext } from '#context';
import { type Context, createContext } from '../../src/gpu/context.ts';
import { matmul } from '../../src/ops/matmul.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { read, upload } from '../../src/tensor/tensor.ts';

let own: Context;
let context: Context;
beforeAll(async () => {
  own = await testContext();
  context = await createContext({ device: own.device, kind: 'cpu' });
});
afterAll(() => own.destroy());

// A state recomputed among other candidates is then equal to the recorded one, not only close.
test.each([
  ['NN', 36, 44],
  ['NT', 36, 44],
  ['NN', 20, 30],
  ['NT', 21, 32],
] as const)(
  'on CPU adapters a row of a product (%s, n %d, k %d) is the same, bit for bit, among any number of rows',
  async (transposes, n, k) => {
    const transposeB = transposes === 'NT';
    const { normal } = seededRandom(1);
    const most = 37;
    const rows = normal(most * k);
    const b = upload(context, normal(k * n), transposeB ? [n, k] : [k, n]);
    const all = await read(matmul(upload(context, rows, [most, k]), b, { transposeB }));
    for (const m of [1, 2, 3, 4, 5, 8, 9, 12, 16, 17, 20, 24]) {
      const some = await read(matmul(upload(context, rows.slice(0, m * k), [m, k]), b, { transposeB }));
      expect([...some], `${m} rows`).toEqual([...all.slice(0, m * n)]);
    }
  },
);
