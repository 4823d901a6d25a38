import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createNodeContext } from '../src/gpu/context.node.ts';
import { collide } from '../src/injectivity/collide.ts';
import { lastStates } from '../src/injectivity/last-states.ts';
import { promptSet } from '../src/injectivity/prompt-set.ts';
import { folderSource } from '../src/io/folder.node.ts';
import { loadModel, openModel } from '../src/model/load.ts';
import { matmul } from '../src/ops/matmul.ts';
import { pairDistances } from '../src/ops/pair-distances.ts';
import { empty } from '../src/tensor/tensor.ts';
import { bestOf, describeRun, table } from './adapter.ts';

/**
 * The injectivity test as a share of the matmul rate, on evenly spaced prompts of a file:
 *
 *   node bench/run.mjs bench/collide.ts [prompts] [file] [model folder]
 */
export async function main([number = '2048', file, folder]: readonly string[]): Promise<void> {
  const shared = (path: string) => fileURLToPath(new URL(path, import.meta.url));
  const files = await openModel(folderSource(folder ?? shared('../weights')));
  const context = await createNodeContext();
  const model = await loadModel(context, files);
  const { width: d, innerWidth, layers: depth } = model.config;
  const lines = readFileSync(file ?? shared('../../shared/data/text/prompts_100k.txt'), 'utf8')
    .trimEnd()
    .split('\n');
  const step = Math.max(1, Math.floor(lines.length / Number(number)));
  const { prompts } = promptSet(
    model.config,
    lines.flatMap((text, i) => (i % step === 0 ? [{ line: i + 1, ids: () => model.tokenizer!.encode(text) }] : [])),
  );
  const ids = prompts.map((prompt) => prompt.ids);
  const layers = Array.from({ length: depth }, (_, i) => i + 1);
  console.log(`${files.name}, ${ids.length} prompts; ${describeRun(context)}\n`);

  for await (const _ of lastStates(model, ids.slice(0, 256), layers)) {
    // Kernels are compiled.
  }
  const started = performance.now();
  for await (const _ of lastStates(model, ids, layers)) {
    // Timed.
  }
  const forwardSeconds = (performance.now() - started) / 1000;
  const tokens = ids.reduce((sum, { length }) => sum + length, 0);

  const rows = 2048;
  const [a, b] = [empty(context, [rows, d]), empty(context, [rows, d])];
  const squares = empty(context, [rows]);
  const gramMs = await bestOf(5, async () => {
    matmul(a, b, { transposeB: true }).dispose();
    await context.finish();
  });
  const blockMs = await bestOf(5, async () => {
    for (const [k, n] of [
      [d, 3 * d],
      [d, d],
      [d, innerWidth],
      [innerWidth, d],
    ] as const) {
      const [x, w] = [empty(context, [rows, k]), empty(context, [k, n])];
      matmul(x, w).dispose();
      x.dispose();
      w.dispose();
    }
    await context.finish();
  });
  const blockFlops = 2 * rows * d * (4 * d + 2 * innerWidth);
  const matmulRate = blockFlops / blockMs / 1e6;
  const gramRate = (2 * rows * rows * d) / gramMs / 1e6;
  const pairMs = await bestOf(5, async () => {
    const one = (first: number) => ({ rows: first ? b : a, squares, first });
    const { summary, histogram } = pairDistances(one(0), one(rows), 1e-6);
    summary.dispose();
    histogram.dispose();
    await context.finish();
  });

  const found = await collide(model, ids);
  const { pairsSeconds, pairs } = found.cost;
  // What a forward of all tokens through all blocks would take at the rate of its products.
  const naive = (tokens * depth * blockFlops) / rows / (matmulRate * 1e9);
  const own = (2 * pairs * d) / (gramRate * 1e9);
  console.log(
    table(
      ['part', 'seconds', 'at the matmul rate', 'share of it'],
      [
        ['states of all layers', forwardSeconds.toFixed(1), naive.toFixed(1), (naive / forwardSeconds).toFixed(2)],
        ['pairs of all layers', pairsSeconds.toFixed(1), own.toFixed(1), (own / pairsSeconds).toFixed(2)],
        ['a tile of 2048 x 2048', (pairMs / 1000).toFixed(3), (gramMs / 1000).toFixed(3), (gramMs / pairMs).toFixed(2)],
      ],
    ),
  );
  console.log(
    `\nmatmul rate: ${matmulRate.toFixed(2)} GFLOP/s (blocks), ${gramRate.toFixed(2)} (A B^T); ${tokens} tokens`,
  );
  console.log(`minima: ${found.layers.map(({ closest: [{ distance }] }) => distance.toPrecision(4)).join(', ')}`);
  context.destroy();
}
