import { grad } from '../src/autograd/grad.ts';
import { createNodeContext } from '../src/gpu/context.node.ts';
import type { Context } from '../src/gpu/context.ts';
import { requestNodeAdapter } from '../src/gpu/dawn.node.ts';
import { multiply } from '../src/ops/elementwise.ts';
import { matmul } from '../src/ops/matmul.ts';
import { sum } from '../src/ops/reduce.ts';
import { rmsError } from '../src/reference/agree.ts';
import { seededRandom } from '../src/reference/random.ts';
import { take, upload } from '../src/tensor/tensor.ts';
import { bestOf, describeRun, table } from './adapter.ts';
import { jaxJs } from './peers/jax.mjs';
import { type Gradient, tfjsWebgpu } from './peers/tfjs.mjs';

const [K, N] = [1024, 768];
const BATCHES = [1, 16, 128];
const REPEATS = 5;

/** The gradient in W of sum((x W)^2), W [1024, 768], beside tfjs-webgpu and jax-js on the same adapter in turns. */
export async function main(): Promise<void> {
  const context = await createNodeContext();
  const adapter = async () => (await requestNodeAdapter()).adapter;
  const peers = [await tfjsWebgpu(adapter), await jaxJs(adapter)];
  console.log(`Gradient of sum((x W)^2), W [${K}, ${N}], read back; ms, best of ${REPEATS}; ${describeRun(context)}\n`);
  const rows: (string | number)[][] = [];
  for (const m of BATCHES) {
    const { normal } = seededRandom(1);
    const problem = { x: normal(m * K), w: normal(K * N, 0.03), m, n: N, k: K };
    const ours = ourGradient(context, problem);
    const theirs = peers.map((peer) => peer.gradient(problem));
    const want = await ours();
    const errors: number[] = [];
    for (const gradient of theirs) errors.push(rmsError(await gradient(), want));
    const best = [ours, ...theirs].map(() => Number.POSITIVE_INFINITY);
    for (let i = 0; i < REPEATS; i++) {
      for (const [j, gradient] of [ours, ...theirs].entries()) {
        best[j] = Math.min(best[j], await bestOf(1, async () => void (await gradient())));
      }
    }
    rows.push([
      m,
      best[0].toFixed(1),
      ...theirs.flatMap((_, j) => [
        best[j + 1].toFixed(1),
        (best[j + 1] / best[0]).toFixed(1),
        errors[j].toExponential(1),
      ]),
    ]);
  }
  const headings = peers.flatMap(({ name }) => [name, 'ratio', 'differs by (RMS)']);
  console.log(table(['rows of x', 'preimage', ...headings], rows));
  context.destroy();
  process.exit(0); // peers keep their devices
}

function ourGradient(context: Context, { x, w, m, n, k }: Gradient): () => Promise<Float32Array> {
  const [rows, weights] = [upload(context, x, [m, k]), upload(context, w, [k, n])];
  return () => {
    const [dw] = grad(() => {
      const y = matmul(rows, weights);
      return sum(multiply(y, y));
    }, [weights]);
    return take(dw);
  };
}
