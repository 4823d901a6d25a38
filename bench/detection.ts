import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { createNodeContext } from '../src/gpu/context.node.ts';
import { folderSource } from '../src/io/folder.node.ts';
import { lensesOf } from '../src/lens/store.ts';
import { scaled } from '../src/linalg/vector.ts';
import { type LoadedModel, loadModel, openModel, requireTokenizer } from '../src/model/load.ts';
import { loadTwin, type ReferenceModel } from '../src/model/reference.ts';
import { headPart, modelParameters } from '../src/probe/certificates/model-parts.ts';
import type { UnembeddingBlock } from '../src/probe/certificates/types.ts';
import { areaUnder, caughtAt, rocCurve } from '../src/probe/detection.ts';
import { leads } from '../src/probe/detection-lead.ts';
import { type InputTables, type StateLikelihood, stateLikelihood } from '../src/probe/detection-likelihood.ts';
import { nearNatural } from '../src/probe/detection-natural.ts';
import { forceNearby } from '../src/probe/detection-nearby.ts';
import {
  distancesOf,
  type FreeInput,
  freeVectors,
  type InputScores,
  scoresOf,
  statesOf,
} from '../src/probe/detection-scores.ts';
import { nearestRows } from '../src/probe/inspect.ts';
import { naturalStates } from '../src/probe/natural.ts';
import { type ProbeTask, probe } from '../src/probe/probe.ts';
import { forcedStates, stateStatistics } from '../src/probe/targets.ts';
import { seededRandom } from '../src/reference/random.ts';
import { linePlot } from '../src/report/line-plot.ts';
import { type Content, markup } from '../src/report/markup.ts';
import { page } from '../src/report/page.ts';
import { figure, table as htmlTable } from '../src/report/table.ts';
import { take, upload } from '../src/tensor/tensor.ts';
import { describeRun, table } from './adapter.ts';

const SEED = 11;
/** Texts forced in each way behind each prefix, real ones they are held against, and tokens of each. */
const [TEXTS, REAL, LENGTH] = [10, 100, 8];
/** Token rows of which the most promising is moved. */
const STARTS = 8;
const PREFIXES = [0, 16];
/** Logits by which each token is to win. */
const MARGIN = 2;
/** What the vectors are aimed at above that: the way there is computed in f32. */
const AIM = MARGIN + 0.05;
/** The detector may call so many of the real texts suspicious. */
const FALSE_ALARMS = 0.05;
/** Natural states, of which the few that say a token most nearly are tried. */
const FEW = 4;

/**
 * How easily elicited inputs are told from text, and what is left when they are made to look like it.
 *
 *   node bench/run.mjs bench/detection.ts [page] [texts]
 *
 * @param file Where the page goes; default `detection.html`.
 */
export async function main([file = 'detection.html', texts = `${TEXTS}`]: readonly string[]): Promise<void> {
  const started = performance.now();
  const bench = await open();
  const { model } = bench;
  console.log(`Detection of elicited inputs; ${model.name}; ${describeRun(model.context)}\n`);
  const all: Measured[] = [];
  for (const way of await ways(bench, Number(texts))) {
    for (const before of PREFIXES) {
      const inputs = way.inputs.filter(({ prefix }) => prefix.length === before);
      if (inputs.length > 0) all.push({ way, before, ...(await judged(bench, inputs)) });
    }
  }
  const rows = all.map((one) => rowOf(one, all.find(({ way, before }) => way.isReal && before === one.before)!));
  console.log(`\n${table(columns(bench), rows)}\n\n${WORDS}\n\n${((performance.now() - started) / 1000).toFixed(0)} s`);
  await writeFile(file, await pageOf(bench, all, rows, file));
  model.context.destroy();
}

const WORDS =
  'Scores are means over the free positions of a text: distance to the nearest vocabulary row, |log of the norm over the ' +
  'median norm of real rows|, and -log p(h_t | h_(t-1)) under the lens of a layer, marginal over tokens. AUC: 1 tells all ' +
  'apart, 0.5 is guessing; in brackets the share caught at 5 % false alarms.';

interface Bench {
  readonly model: LoadedModel;
  readonly twin: ReferenceModel;
  readonly head: UnembeddingBlock;
  readonly tables: InputTables;
  /** Layers and the likelihood of their states. */
  readonly likelihoods: readonly (readonly [layer: number, likelihood: StateLikelihood])[];
  /** States before `ln_f` of texts that the model makes up, [n, d], and their logits, [n, V]. */
  readonly natural: Float32Array;
  readonly logits: Float32Array;
  /** The held-out text, and consecutive tokens of it. */
  readonly text: Uint32Array;
  prompt(length: number): Uint32Array;
  readonly random: ReturnType<typeof seededRandom>;
}

async function open(): Promise<Bench> {
  const files = await openModel(folderSource(fileURLToPath(new URL('../weights', import.meta.url))));
  const parameters = modelParameters(files);
  const [twin, head] = [await loadTwin(files), await headPart(parameters)];
  const tables = {
    vocabulary: await parameters.parameter('wte.weight'),
    positions: await parameters.parameter('wpe.weight'),
  };
  const model = await loadModel(await createNodeContext(), files);
  const { layers, width } = model.config;
  const chosen = [1, Math.floor(layers / 2), layers];
  const lenses = await lensesOf(model, chosen);
  const natural = await naturalStates(model, layers, { seed: SEED });
  const { context } = model;
  const logits = await take(
    context.scope(() => model.logits(upload(context, natural, [natural.length / width, width]))),
  );
  const ids = requireTokenizer(model).encode(
    readFileSync(fileURLToPath(new URL('../../shared/data/text/books_valid.txt', import.meta.url)), 'utf8'),
  );
  const text = Uint32Array.from(ids);
  const random = seededRandom(SEED);
  return {
    model,
    twin,
    head,
    tables,
    likelihoods: lenses.map((lens) => [lens.layer, stateLikelihood(lens, tables)] as const),
    natural,
    logits,
    text,
    prompt(length) {
      const first = Math.floor(random.next() * (text.length - length));
      return text.slice(first, first + length);
    },
    random,
  };
}

/** Vectors, and the text that they are to force, if any. */
interface Input extends FreeInput {
  readonly text?: Uint32Array;
}

interface Way {
  readonly name: string;
  readonly isReal?: boolean;
  /** Text too, if odd: what a detector of vectors should let pass. */
  readonly isControl?: boolean;
  readonly inputs: readonly Input[];
}

/** A way and the scores of its inputs, by statistic. */
interface Measured {
  readonly way: Way;
  readonly before: number;
  readonly scores: readonly InputScores[];
  /** Of all tokens that were to be forced: those that win by the margin, and those that win when rows are snapped. */
  readonly forced?: readonly [vectors: number, snapped: number, of: number];
}

/** Real text, and inputs that force texts, each found in another way; behind every kind of prefix. */
async function ways(bench: Bench, count: number): Promise<Way[]> {
  const { model, twin, head, prompt, random, tables } = bench;
  const { vocabularySize, width: d, layerNormEpsilon } = model.config;
  const tasks = PREFIXES.flatMap((before) =>
    Array.from({ length: count }, () => ({ text: prompt(LENGTH), prefix: prompt(before) })),
  );
  const leadOf = leads(head, layerNormEpsilon);
  const force = forcedStates(head, { centredNorm: stateStatistics(bench.natural, d).centredNorm, margin: AIM });
  const forcing = new Map<number, Float64Array>();
  for (const token of new Set(tasks.flatMap(({ text }) => [...text]))) forcing.set(token, force(token).state);

  const kinds: readonly (readonly [string, (token: number) => Float64Array])[] = [
    ['elicited', (token) => forcing.get(token)!],
    ['elicited, targets halved', (token) => scaled(forcing.get(token)!, 0.5)],
    [
      'elicited, targets near natural',
      (token) => nearNatural(leadOf, { token, margin: AIM }, forcing.get(token)!, likelyStates(bench, token)),
    ],
  ];
  let started = performance.now();
  const aimed = kinds.flatMap(([, target]) =>
    tasks.map(({ text, prefix }): ProbeTask => ({ prefix, targets: Array.from(text, target) })),
  );
  const results = await probe(model, aimed, { twin });
  const elicited = kinds.map(([name], k) => {
    const own = results.slice(k * tasks.length, (k + 1) * tasks.length);
    const work = own.flatMap(({ solutions }) => solutions.map(({ work }) => work));
    const jacobians = work.reduce((sum, { jacobians }) => sum + jacobians, 0);
    console.log(`${name}: ${meanOf(work.map(({ rows }) => rows)).toFixed(0)} rows a position, ${jacobians} Jacobians`);
    const inputs = own.flatMap(({ solutions, solved }, i): Input[] =>
      solved ? [{ ...tasks[i], rows: Float32Array.from(solutions.flatMap(({ x }) => [...x])) }] : [],
    );
    return { name, inputs };
  });
  console.log(`all of these: ${since(started)}`);
  started = performance.now();
  const nearby = await forceNearby(model, leadOf, tasks, { margin: AIM, random, tokens: bench.text, starts: STARTS });
  console.log(`moved from rows of tokens: ${since(started)}`);

  const distance = (input: Input) => meanOf(distancesOf(freeVectors(input, tables, d), tables));
  const nearest = tasks.flatMap(({ text }) => {
    const own = elicited.flatMap(({ inputs }) => inputs.filter((input) => input.text === text));
    return own.length > 0 ? [own.reduce((best, one) => (distance(one) < distance(best) ? one : best))] : [];
  });
  const real = PREFIXES.flatMap((before) =>
    Array.from({ length: REAL }, () => split(bench, prompt(before + LENGTH), before)),
  );
  const anyTokens = tasks.map(({ prefix }) => {
    const ids = Uint32Array.from({ length: LENGTH }, () => Math.floor(random.next() * vocabularySize));
    return split(bench, Uint32Array.of(...prefix, ...ids), prefix.length);
  });
  return [
    { name: 'real text', isReal: true, inputs: real },
    { name: 'random tokens (control)', isControl: true, inputs: anyTokens },
    ...elicited,
    { name: 'the nearest of these', inputs: nearest },
    { name: 'moved from rows of tokens', inputs: nearby.map((rows, i) => ({ ...tasks[i], rows })) },
  ];
}

const since = (started: number): string => `${((performance.now() - started) / 1000).toFixed(0)} s`;
const meanOf = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const significant = (value: number): string => `${Number(value.toPrecision(3))}`;
const medianOf = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[values.length >> 1];

/** A text as the rows behind its first tokens. */
function split({ tables, model }: Bench, ids: Uint32Array, before: number): Input {
  const { width: d } = model.config;
  const { vocabulary, positions } = tables;
  const rows = Float32Array.from({ length: (ids.length - before) * d }, (_, k) => {
    const [t, i] = [before + Math.floor(k / d), k % d];
    return vocabulary[ids[t] * d + i] + positions[t * d + i];
  });
  return { prefix: ids.slice(0, before), rows };
}

/** The natural states that say a token most nearly. */
function likelyStates({ natural, logits, model }: Bench, token: number): Float64Array[] {
  const { width: d, vocabularySize: V } = model.config;
  const behind = Array.from({ length: natural.length / d }, (_, n) => {
    const row = logits.subarray(n * V, (n + 1) * V);
    return { n, by: row.reduce((a, b) => Math.max(a, b)) - row[token] };
  });
  behind.sort((a, b) => a.by - b.by);
  return behind.slice(0, FEW).map(({ n }) => Float64Array.from(natural.subarray(n * d, (n + 1) * d)));
}

/** Scores of inputs of one length, and how many tokens they force. */
async function judged(bench: Bench, inputs: readonly Input[]): Promise<Pick<Measured, 'scores' | 'forced'>> {
  const { model, tables } = bench;
  const { width } = model.config;
  const likelihoods = bench.likelihoods.map(([, likelihood]) => likelihood);
  const layers = bench.likelihoods.map(([layer]) => layer);
  const states = await statesOf(model, inputs, layers);
  const scores = inputs.map((input, i) => scoresOf(input, states[i], tables, { width, likelihoods }));
  if (inputs.some(({ text }) => !text)) return { scores };
  const snapped = inputs.map((input): Input => {
    const ids = freeVectors(input, tables, width).map((row) => nearestRows(tables.vocabulary, row, 1)[0].token);
    return { ...split(bench, Uint32Array.of(...input.prefix, ...ids), input.prefix.length), text: input.text };
  });
  const last = (of: readonly (readonly Float32Array[])[]) => of.map((own) => own[layers.length - 1]);
  const won = await margins(bench, inputs, last(states));
  const wonSnapped = await margins(bench, snapped, last(await statesOf(model, snapped, layers)));
  return {
    scores,
    forced: [won.filter((m) => m >= MARGIN).length, wonSnapped.filter((m) => m > 0).length, won.length],
  };
}

/** Of every token that is to be forced, its logit above the next. */
async function margins({ model }: Bench, inputs: readonly Input[], states: readonly Float32Array[]): Promise<number[]> {
  const { context, config } = model;
  const { width: d, vocabularySize: V } = config;
  const all: number[] = [];
  for (const [k, { prefix, text }] of inputs.entries()) {
    const free = states[k].subarray(prefix.length * d);
    const values = await take(context.scope(() => model.logits(upload(context, free, [free.length / d, d]))));
    text!.forEach((token, n) => {
      const row = values.slice(n * V, (n + 1) * V);
      const own = row[token];
      row[token] = Number.NEGATIVE_INFINITY;
      all.push(own - row.reduce((a, b) => Math.max(a, b)));
    });
  }
  return all;
}

/** What a detector may look at, as a number for an input. @param real What real text scores, for what is typical. */
function statistics({ scores: real }: Measured, layers: number): ((score: InputScores) => number)[] {
  const typical = medianOf(real.flatMap(({ lengths }) => lengths));
  return [
    ({ distances }) => meanOf(distances),
    ({ lengths }) => meanOf(lengths.map((length) => Math.abs(Math.log(length / typical)))),
    ...Array.from(
      { length: layers },
      (_, k) =>
        ({ surprises }: InputScores) =>
          meanOf(surprises[k]),
    ),
  ];
}

const statisticNames = ({ likelihoods }: Bench): string[] => [
  'distance',
  'norm',
  ...likelihoods.map(([layer]) => `lens, layer ${layer}`),
];

const columns = (bench: Bench): string[] => [
  'inputs',
  'prefix',
  'texts',
  'tokens forced',
  'after snapping',
  'distance (row-RMS)',
  'norm (row-RMS)',
  ...statisticNames(bench).map((name) => `AUC ${name}`),
];

function rowOf({ way, before, scores, forced }: Measured, real: Measured): (string | number)[] {
  const score = statistics(real, real.scores[0].surprises.length);
  const range = (values: readonly number[]) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    return `${significant(medianOf(values))} (${significant(low)} to ${significant(high)})`;
  };
  return [
    way.name,
    before,
    scores.length,
    forced ? `${forced[0]} of ${forced[2]}` : '',
    forced ? `${forced[1]} of ${forced[2]}` : '',
    range(scores.map(({ distances }) => meanOf(distances))),
    range(scores.map(({ lengths }) => meanOf(lengths))),
    ...score.map((of) => {
      if (way.isReal) return `median ${significant(medianOf(scores.map(of)))}`;
      const curve = rocCurve(scores.map(of), real.scores.map(of));
      return `${areaUnder(curve).toFixed(3)} (${caughtAt(curve, FALSE_ALARMS).toFixed(2)})`;
    }),
  ];
}

async function pageOf(
  bench: Bench,
  all: readonly Measured[],
  rows: readonly (readonly (string | number)[])[],
  file: string,
): Promise<string> {
  const { model } = bench;
  const figures = PREFIXES.map((before): Content => {
    const own = all.filter((one) => one.before === before);
    const real = own.find(({ way }) => way.isReal)!;
    return statistics(real, bench.likelihoods.length).map((of, s) =>
      figure(
        linePlot({
          title: `ROC curves of ${statisticNames(bench)[s]}, ${before} tokens of text before`,
          x: { label: 'share of real texts called suspicious' },
          y: { label: 'share of elicited inputs caught' },
          height: 340,
          series: own
            .filter(({ way }) => !way.isReal)
            .map(({ way, scores }) => ({
              name: way.name,
              style: 'line' as const,
              dashed: way.isControl,
              muted: way.isControl,
              points: rocCurve(scores.map(of), real.scores.map(of)).map(({ falsePositives: x, truePositives: y }) => ({
                x,
                y,
              })),
            })),
        }),
        `${statisticNames(bench)[s]}, ${before === 0 ? 'at the start' : `behind ${before} tokens of text`}`,
      ),
    );
  });
  return page({
    title: 'Telling elicited inputs from text',
    summary: markup`<p>Vectors that force a text, teacher-forced, against the rows of real text of the same length: what gives
them away, and what is left when they are made to look like text.</p>\n`,
    sections: [
      {
        title: 'What gives them away',
        body: [
          htmlTable(
            'AUC of each statistic',
            columns(bench).map((title, i) => ({ title, isNumber: i > 0 })),
            rows.map((cells) => ({ cells })),
          ),
          markup`<p>${WORDS}</p>\n`,
        ],
      },
      { title: 'ROC curves', body: figures },
    ],
    provenance: {
      command: `node bench/run.mjs bench/detection.ts ${file}`,
      model: model.name,
      digest: await model.digest(),
      adapter: model.context.adapter.name,
      date: new Date(),
    },
  });
}
