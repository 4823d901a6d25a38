import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createNodeContext } from '../src/gpu/context.node.ts';
import { comparePairs, type Pair } from '../src/injectivity/closest.ts';
import { collide } from '../src/injectivity/collide.ts';
import { exactDistance } from '../src/injectivity/compare.ts';
import { forestOf } from '../src/injectivity/forest.ts';
import { lastStates } from '../src/injectivity/last-states.ts';
import { promptSet } from '../src/injectivity/prompt-set.ts';
import { folderSource } from '../src/io/folder.node.ts';
import { type LoadedModel, loadModel, openModel } from '../src/model/load.ts';
import { matmul } from '../src/ops/matmul.ts';
import { pairDistances } from '../src/ops/pair-distances.ts';
import { seededRandom } from '../src/reference/random.ts';
import { significant } from '../src/report/text.ts';
import { empty, upload } from '../src/tensor/tensor.ts';
import { PLANTED_SIZES, plantedStore } from '../test/support/planted.ts';
import { bestOf, describeRun, table } from './adapter.ts';

/**
 * The injectivity test on evenly spaced prompts of a file: as a share of the matmul rate, and on near-duplicates planted
 * in its states.
 *
 *   node bench/run.mjs bench/collide.ts rate [prompts] [file] [model folder]
 *   node bench/run.mjs bench/collide.ts planted [prompts] [file] [model folder]
 */
export async function main([group = 'rate', number, file, folder]: readonly string[]): Promise<void> {
  const groups: Record<string, (subject: Subject) => Promise<void>> = { rate, planted };
  const subject = await open(Number(number ?? (group === 'planted' ? 2000 : 2048)), file, folder);
  await groups[group](subject);
  subject.model.context.destroy();
}

/** A model and prompts. */
interface Subject {
  readonly model: LoadedModel;
  readonly ids: readonly Uint32Array[];
}

async function open(number: number, file?: string, folder?: string): Promise<Subject> {
  const shared = (path: string) => fileURLToPath(new URL(path, import.meta.url));
  const files = await openModel(folderSource(folder ?? shared('../weights')));
  const context = await createNodeContext();
  const model = await loadModel(context, files);
  const lines = readFileSync(file ?? shared('../../shared/data/text/prompts_100k.txt'), 'utf8')
    .trimEnd()
    .split('\n');
  const step = Math.max(1, Math.floor(lines.length / number));
  const { prompts } = promptSet(
    model.config,
    lines.flatMap((text, i) => (i % step === 0 ? [{ line: i + 1, ids: () => model.tokenizer!.encode(text) }] : [])),
  );
  const ids = prompts.map((prompt) => prompt.ids);
  console.log(`${files.name}, ${ids.length} prompts; ${describeRun(context)}\n`);
  return { model, ids };
}

/** States and pairs beside the matrix products alone. */
async function rate({ model, ids }: Subject): Promise<void> {
  const { context } = model;
  const { width: d, innerWidth, layers: depth } = model.config;
  const layers = Array.from({ length: depth }, (_, i) => i + 1);

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
  // Far apart, as states are: pairs near each other are computed again.
  const { normal } = seededRandom(1);
  const [a, b] = [upload(context, normal(rows * d), [rows, d]), upload(context, normal(rows * d), [rows, d])];
  const squares = upload(context, new Float32Array(rows).fill(d));
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
  // At the rate of a block's products: all tokens through all blocks; and what is done, where beginnings in common are
  // one row, and of the last block only the keys and values of all rows (with their queries) and the last tokens' rest.
  const seconds = (flops: number) => flops / (matmulRate * 1e9);
  const perRow = blockFlops / rows;
  const distinct = forestOf(ids).ids.length;
  const naive = seconds(tokens * depth * perRow);
  const done = seconds(distinct * ((depth - 1) * perRow + 6 * d * d) + ids.length * perRow);
  const own = (2 * pairs * d) / (gramRate * 1e9);
  console.log(
    table(
      ['part', 'seconds', 'at the matmul rate', 'share of it'],
      [
        ['states, as all tokens', forwardSeconds.toFixed(1), naive.toFixed(1), (naive / forwardSeconds).toFixed(2)],
        ['states, as work done', forwardSeconds.toFixed(1), done.toFixed(1), (done / forwardSeconds).toFixed(2)],
        ['pairs of all layers', pairsSeconds.toFixed(1), own.toFixed(1), (own / pairsSeconds).toFixed(2)],
        ['a tile of 2048 x 2048', (pairMs / 1000).toFixed(3), (gramMs / 1000).toFixed(3), (gramMs / pairMs).toFixed(2)],
      ],
    ),
  );
  console.log(
    `\nmatmul rate: ${matmulRate.toFixed(2)} GFLOP/s (blocks), ${gramRate.toFixed(2)} (A B^T); ${tokens} tokens`,
  );
  console.log(`minima: ${found.layers.map(({ closest: [{ distance }] }) => distance.toPrecision(4)).join(', ')}`);
}

/**
 * Near-duplicates: the state of every fifth prompt becomes that of another, moved by 0 to 1e-3 of its length. All that the
 * test says is held against all pairs in float64.
 */
async function planted({ model, ids }: Subject): Promise<void> {
  const { width, layers: depth } = model.config;
  const store = plantedStore(ids.length, width);
  const kept = 500;
  const below = 1e-3;
  const found = await collide(model, ids, { store, closest: kept, below });
  const rows: (string | number)[][] = [];
  for (const { layer, closest, below: near } of found.layers) {
    const states = await store.read(layer, 0, ids.length);
    const all: Pair[] = [];
    for (let a = 0; a < ids.length; a++) {
      for (let b = a + 1; b < ids.length; b++) all.push({ a, b, distance: exactDistance(states, a, states, b, width) });
    }
    const want = all.sort(comparePairs).slice(0, kept);
    const wantNear = all.findIndex(({ distance }) => distance >= below);
    const isEqual = JSON.stringify(want) === JSON.stringify(closest);
    rows.push([
      layer,
      all.length,
      near,
      wantNear,
      isEqual ? `all ${kept}` : 'NOT EQUAL',
      closest[0].distance,
      significant(closest[kept - 1].distance),
    ]);
  }
  const heads = [
    'layer',
    'pairs',
    `nearer than ${below}`,
    'by float64',
    'closest pairs equal',
    'nearest',
    `${kept}th nearest`,
  ];
  console.log(table(heads, rows));
  console.log(
    `\nplanted: every fifth state a copy of another, moved by ${PLANTED_SIZES.join(', ')} of its size; ${depth} layers`,
  );
}
