import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createNodeContext } from '../src/gpu/context.node.ts';
import { folderSource } from '../src/io/folder.node.ts';
import { forward } from '../src/model/forward.ts';
import { type LoadedModel, loadModel, openModel } from '../src/model/load.ts';
import { countFrom } from '../src/model/model.ts';
import { positionMap } from '../src/model/position-map.ts';
import { createPrefixCache } from '../src/model/prefix-cache.ts';
import { loadTwin, type ReferenceModel } from '../src/model/reference.ts';
import { firstAttention } from '../src/probe/blocks/first-attention.ts';
import { firstAttentionInverse } from '../src/probe/blocks/first-attention-inverse.ts';
import type { Preimage } from '../src/probe/blocks/preimages.ts';
import { modelParameters } from '../src/probe/certificates/model-parts.ts';
import { type Coverage, coverage } from '../src/probe/preimages-exact.ts';
import { type CountedPreimages, type PreimageTask, preimagesSideBySide } from '../src/probe/preimages-side-by-side.ts';
import type { Vector } from '../src/probe/requests.ts';
import { subBlocks } from '../src/probe/row-map.ts';
import { randomState, stateStatistics } from '../src/probe/targets.ts';
import { seededRandom } from '../src/reference/random.ts';
import { take } from '../src/tensor/tensor.ts';
import { describeRun, table } from './adapter.ts';

/**
 * How many preimages sub-blocks have: the first block and the last one, at positions 0, 5 and 20, under outputs of text,
 * random ones, and outputs of text shrunk to 0.3.
 *
 *   node bench/run.mjs bench/preimages.ts [share] [model folder ...]    share 0.5: the first block only; 2: two texts
 */
export async function main([share = '1', ...folders]: readonly string[]): Promise<void> {
  for (const folder of folders.length > 0 ? folders : MODELS) await report(folder, Number(share));
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const MODELS = [
  ...['llm-viz-sort', 'tinygpt-slm-9', 'gpt2-basic-258'].map((name) => here(`../../shared/data/models/${name}`)),
  here('../weights'),
];
const KINDS = ['of text', 'random', '0.3 of text'] as const;
const SEARCH = { paths: 2, newtons: 14 };

interface Target extends PreimageTask {
  readonly kind: (typeof KINDS)[number];
  readonly position: number;
}

/** A target and its preimages. */
interface Listed extends Target {
  readonly name: string;
  readonly list: CountedPreimages;
  /** Beside all there are, where they can be listed. */
  readonly exact?: Coverage;
}

async function report(folder: string, share: number): Promise<void> {
  const started = performance.now();
  const files = await openModel(folderSource(folder));
  const context = await createNodeContext();
  const model = await loadModel(context, files);
  const twin = await loadTwin(files);
  const { layers } = model.config;
  const listed: Listed[] = [];
  for (const place of [0, 0.5, layers - 1, layers - 0.5].slice(0, share < 1 ? 2 : 4)) {
    const ofFirst = Number.isInteger(place)
      ? firstAttentionInverse(await firstAttention(model.config, place, modelParameters(files).parameter))
      : undefined;
    listed.push(...(await listAll(model, twin, place, Math.max(1, Math.round(share)), ofFirst)));
  }
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  console.log(`${files.name}, d = ${model.config.width}; ${describeRun(context)}; ${seconds} s\n`);
  console.log(`${countTable(listed)}\n\n${originTable(listed)}\n\n${exactTable(listed)}\n`);
  await files.checkpoint.close();
  context.destroy();
}

/** Preimages of all targets of one sub-block, side by side. */
async function listAll(
  model: LoadedModel,
  twin: ReferenceModel,
  place: number,
  texts: number,
  ofFirst: ((y: Vector) => Preimage[]) | undefined,
): Promise<Listed[]> {
  const { context, config, tokenizer } = model;
  const { width, contextLength, vocabularySize } = config;
  const random = seededRandom(7);
  const corpus = tokenizer?.encode(readFileSync(here('../../shared/data/text/books_valid.txt'), 'utf8'));
  const below = (n: number) => Math.floor(random.next() * n);
  const prompt = (length: number) => {
    const first = corpus ? below(corpus.length - length) : 0;
    return corpus?.slice(first, first + length) ?? Uint32Array.from({ length }, () => below(vocabularySize));
  };
  const sample = await take(forward(model, prompt(Math.min(128, contextLength)), { layer: Math.ceil(place + 0.5) }));
  const natural = stateStatistics(sample.subarray(width), width);

  const positions = [...new Set([0, 5, Math.min(20, contextLength - 1)])];
  const slots = positions.flatMap((position) => Array.from({ length: texts }, () => position));
  const depth = Math.ceil(place + 0.5);
  const cache = createPrefixCache(model, { slots: slots.length, capacity: Math.max(1, ...positions), depth });
  const whole = positionMap(model, depth, cache);
  const twins = slots.map(() => twin.prefix(depth));
  try {
    const targets = slots.flatMap((position, slot): Target[] => {
      const ids = prompt(position + 1);
      const before = ids.slice(0, position);
      if (position > 0) {
        context.scope(
          () => void whole.extend(model.embed(before, countFrom(0, position)), [{ slot, count: position }]),
        );
        twin.extend(twin.embed(before), twins[slot]);
      }
      const known = twin.states(twin.embed(ids.slice(position), position), twins[slot], place);
      const y = twin.states(known, twins[slot], place + 0.5, place);
      return [
        { kind: 'of text', slot, position, y, known },
        { kind: 'random', slot, position, y: randomState(natural, random) },
        { kind: '0.3 of text', slot, position, y: y.map((value) => 0.3 * value) },
      ];
    });
    const steps = subBlocks(model, place + 0.5, cache, place);
    const chain = { steps, twin: (x: Vector, slot: number) => twin.states(x, twins[slot], place + 0.5, place) };
    const lists = await preimagesSideBySide(targets, { context, chain, ...SEARCH });
    return lists.map((list, i) => ({
      ...targets[i],
      name: steps[0].name,
      list,
      exact: targets[i].position === 0 && ofFirst ? coverage(list, ofFirst(targets[i].y)) : undefined,
    }));
  } finally {
    cache.dispose();
  }
}

/** `1: 5, 3 (sum +1): 2` */
function histogram(lists: readonly CountedPreimages[]): string {
  const counts = new Map<string, number>();
  for (const { preimages, signSum } of lists) {
    const key = `${preimages.length} (sum ${signSum > 0 ? '+' : ''}${signSum})`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts]
    .sort()
    .map(([key, n]) => `${n} x ${key}`)
    .join(', ');
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function countTable(all: readonly Listed[]): string {
  const rows = [...new Set(all.map(({ name }) => name))].flatMap((name) =>
    KINDS.map((kind) => {
      const some = all.filter((one) => one.name === name && one.kind === kind);
      const lists = some.map(({ list }) => list);
      const known = lists.flatMap(({ known }) => known ?? []);
      const signed = (sign: number) => known.filter((one) => one.sign === sign);
      const found = (of: typeof known) =>
        of.length > 0 ? `${of.filter(({ index }) => index >= 0).length} of ${of.length}` : '';
      return [
        name,
        kind,
        some.length,
        histogram(lists),
        found(signed(1)),
        found(signed(-1)),
        Math.max(...lists.flatMap(({ preimages }) => preimages.map(({ residual }) => residual))).toExponential(0),
        mean(lists.map(({ work }) => work.rows)).toFixed(0),
        mean(lists.map(({ work }) => work.jacobians)).toFixed(0),
      ];
    }),
  );
  const header = ['sub-block', 'outputs', 'number', 'preimages found (sum of signs)', 'the real input, det > 0: found'];
  return table([...header, 'det < 0: found', 'worst residual (float64)', 'rows a list', 'Jacobians a list'], rows);
}

function originTable(all: readonly Listed[]): string {
  const found = all.flatMap(({ list }) => list.preimages);
  const origins = [...new Set(found.map(({ origin }) => origin))];
  const count = (origin: string, sign: number) =>
    found.filter((one) => one.origin === origin && one.sign === sign).length;
  return table(
    ['first found by', 'det > 0', 'det < 0'],
    origins.map((origin) => [origin, count(origin, 1), count(origin, -1)]),
  );
}

function exactTable(all: readonly Listed[]): string {
  const rows = KINDS.map((kind) => {
    const some = all.flatMap((one) => (one.kind === kind && one.exact ? [one.exact] : []));
    const total = (of: (one: Coverage) => number) => some.reduce((sum, one) => sum + of(one), 0);
    return [
      kind,
      some.map((one) => one.all).join(', '),
      `${total(({ found }) => found)} of ${total((one) => one.all)}`,
      total(({ strange }) => strange),
      kind === 'of text' ? `${total(({ hasKnown }) => Number(hasKnown))} of ${some.length}` : '',
    ];
  });
  const header = ['attention at position 0', 'preimages by the scalar equation', 'found by the search'];
  return table([...header, 'found, not among them', 'real input among them'], rows);
}
