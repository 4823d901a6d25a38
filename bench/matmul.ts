import { createNodeContext } from '../src/gpu/context.node.ts';
import type { Context } from '../src/gpu/context.ts';
import { requestNodeAdapter } from '../src/gpu/dawn.node.ts';
import { matmul } from '../src/ops/matmul.ts';
import { seededRandom } from '../src/reference/random.ts';
import { upload } from '../src/tensor/tensor.ts';
import { bestOf, describeRun, table } from './adapter.ts';
import { type Product, tfjsWebgpu } from './peers/tfjs.mjs';

/** M x N x K: a token, a window, a prompt, a batch; and the first matrix of an MLP. */
const SHAPES = [
  [1, 768, 768],
  [20, 768, 768],
  [128, 768, 768],
  [1024, 768, 768],
  [128, 3072, 768],
] as const;

const REPEATS = 7;
/** Enough products in one submit that the round trip does not count. */
const FLOPS_PER_SAMPLE = 6e8;

/** f32 matrix products beside tfjs-webgpu, alternating on the same adapter in the same run. */
export async function main(): Promise<void> {
  const context = await createNodeContext();
  const peer = await tfjsWebgpu(async () => (await requestNodeAdapter()).adapter);
  console.log(`GFLOP/s of C[M,N] = A[M,K] B[K,N], f32, best of ${REPEATS}; ${describeRun(context)}\n`);
  const rows: (string | number)[][] = [];
  for (const [m, n, k] of SHAPES) {
    const { next } = seededRandom(1);
    const a = Float32Array.from({ length: m * k }, () => next() - 0.5);
    const b = Float32Array.from({ length: k * n }, () => next() - 0.5);
    const count = Math.max(1, Math.round(FLOPS_PER_SAMPLE / (2 * m * n * k)));
    const countOfPeer = Math.max(1, Math.round(count / 4)); // peers are slower
    const product = { a, b, m, n, k };
    const ours = ourProducts(context, product, count);
    const theirs = peer.products(product, countOfPeer);
    await ours();
    await theirs();
    let [best, bestOfPeer] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
    for (let i = 0; i < REPEATS; i++) {
      best = Math.min(best, (await bestOf(1, ours)) / count);
      bestOfPeer = Math.min(bestOfPeer, (await bestOf(1, theirs)) / countOfPeer);
    }
    const rate = (ms: number) => (2 * m * n * k) / ms / 1e6;
    rows.push([
      `${m} x ${n} x ${k}`,
      rate(best).toFixed(2),
      rate(bestOfPeer).toFixed(2),
      (bestOfPeer / best).toFixed(1),
    ]);
  }
  console.log(table(['M x N x K', 'preimage', peer.name, 'ratio'], rows));
  context.destroy();
  process.exit(0); // tfjs keeps its device
}

function ourProducts(context: Context, { a, b, m, n, k }: Product, count: number): () => Promise<void> {
  const [left, right] = [upload(context, a, [m, k]), upload(context, b, [k, n])];
  return async () => {
    for (let i = 0; i < count; i++) matmul(left, right).dispose();
    await context.finish();
  };
}
