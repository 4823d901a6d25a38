import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createNodeContext } from '../src/gpu/context.node.ts';
import { folderSource } from '../src/io/folder.node.ts';
import { parseConfig } from '../src/model/config.ts';
import { forward } from '../src/model/forward.ts';
import { type LoadedModel, loadModel, type ModelFiles, modelFiles, openModel } from '../src/model/load.ts';
import { countFrom } from '../src/model/model.ts';
import { newPositionMap, type PositionMap } from '../src/model/position-map.ts';
import { loadTwin, type ReferenceModel } from '../src/model/reference.ts';
import { add } from '../src/ops/elementwise.ts';
import { headPart, modelParameters } from '../src/probe/certificates/model-parts.ts';
import { elicit } from '../src/probe/elicit.ts';
import { type ProbeTask, probe } from '../src/probe/probe.ts';
import type { Vector } from '../src/probe/requests.ts';
import { forcedStates, randomState, type StateStatistics, stateStatistics } from '../src/probe/targets.ts';
import { seededRandom } from '../src/reference/random.ts';
import { take, upload } from '../src/tensor/tensor.ts';
import { hashedCheckpoint } from '../test/support/hashed.ts';
import { describeRun, table } from './adapter.ts';

/**
 * The probe on targets of every kind, and beside Adam on the input.
 *
 *   node bench/run.mjs bench/probe.ts targets [share] [model folder]   1000 standard targets, 200 near ones
 *   node bench/run.mjs bench/probe.ts real [share] [model folder]      states that tokens gave: is it their row that is found?
 *   node bench/run.mjs bench/probe.ts elicit [share]                   20 texts of 16 tokens, with and without a prefix
 *   node bench/run.mjs bench/probe.ts scale                            hashed-gpt2-small, one target
 *   node bench/run.mjs bench/probe.ts adam [targets]                   Adam on the input, from the mean embedding and from y
 */
export async function main([group = 'targets', ...args]: readonly string[]): Promise<void> {
  const groups: Record<string, (args: readonly string[]) => Promise<void>> = { targets, real, elicited, scale, adam };
  await groups[group === 'elicit' ? 'elicited' : group](args);
}

const shared = (path: string) => fileURLToPath(new URL(`../../shared/${path}`, import.meta.url));
const random = seededRandom(7);
const below = (n: number) => Math.floor(random.next() * n);

/** A model, its twin, prompts of its kind, and what its states are like. */
interface Subject {
  readonly model: LoadedModel;
  readonly files: ModelFiles;
  readonly twin: ReferenceModel;
  readonly natural: StateStatistics;
  prompt(length: number): Uint32Array;
}

async function open(folder = fileURLToPath(new URL('../weights', import.meta.url))): Promise<Subject> {
  const files = await openModel(folderSource(folder));
  return subject(files);
}

async function subject(files: ModelFiles): Promise<Subject> {
  const context = await createNodeContext();
  const twin = await loadTwin(files);
  const model = await loadModel(context, files);
  const { contextLength, vocabularySize, layers, width } = model.config;
  const text = model.tokenizer?.encode(readFileSync(shared('data/text/books_valid.txt'), 'utf8'));
  const prompt = (length: number) => {
    if (!text) return Uint32Array.from({ length }, () => below(vocabularySize));
    const first = below(text.length - length);
    return text.slice(first, first + length);
  };
  const states = await take(forward(model, prompt(Math.min(128, contextLength)), { layer: layers }));
  console.log(`${files.name}; ${describeRun(context)}\n`);
  return { model, files, twin, natural: stateStatistics(states.subarray(width), width), prompt };
}

/** One target behind a prefix, and what kind it is. */
interface Aimed extends ProbeTask {
  readonly kind: string;
}

const positionsOf = ({ config }: LoadedModel) => [...new Set([0, 5, Math.min(50, config.contextLength - 1)])];

/** The state of another prompt at the same position. */
async function stateAt({ model, prompt }: Subject, position: number): Promise<Vector> {
  const { width } = model.config;
  const states = await take(forward(model, prompt(position + 1)));
  return Float64Array.from(states.subarray(position * width));
}

async function targets([share = '1', folder]: readonly string[]): Promise<void> {
  const from = await open(folder);
  const { model, files, natural } = from;
  const head = await headPart(modelParameters(files));
  const force = forcedStates(head, { centredNorm: natural.centredNorm, margin: 1 });
  const positions = positionsOf(model);
  const each = Math.ceil((250 * Number(share)) / positions.length);
  const standard: Aimed[] = [];
  const near: Aimed[] = [];
  for (const position of positions) {
    const prefix = from.prompt(position);
    for (let i = 0; i < each; i++) {
      const state = await stateAt(from, position);
      const any = randomState(natural, random);
      const far = [state, any][i % 2].map((value) => 3 * value);
      standard.push({ kind: 'another state', prefix, targets: [state] });
      standard.push({ kind: 'random', prefix, targets: [any] });
      standard.push({ kind: 'far (x 3)', prefix, targets: [far] });
      standard.push({ kind: 'forcing a token', prefix, targets: [forced(force, model.config.vocabularySize)] });
      if (5 * near.length >= standard.length) continue;
      const [factor, base] = [[0.5, 0.2][i % 2], [state, any][(i >> 1) % 2]];
      near.push({ kind: `near (x ${factor})`, prefix, targets: [base.map((value) => factor * value)] });
    }
  }
  await report(from, standard);
  await report(from, near);
  model.context.destroy();
}

/** A state that forces a token which some state can force. */
function forced(force: ReturnType<typeof forcedStates>, vocabularySize: number): Vector {
  for (;;) {
    try {
      return force(below(vocabularySize)).state;
    } catch {
      // Some tokens can never win: certificates are bench/controls.ts.
    }
  }
}

const quantile = (values: readonly number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.floor(q * (values.length - 1))];
const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
const share = (values: readonly boolean[]): string =>
  `${((100 * values.filter(Boolean).length) / values.length).toFixed(1)} %`;

async function report({ model, twin }: Subject, tasks: readonly Aimed[]): Promise<void> {
  const started = performance.now();
  const results = await probe(model, tasks, { twin });
  const seconds = (performance.now() - started) / 1000;
  const kinds = [...new Set(tasks.map(({ kind }) => kind))];
  const rows = [...kinds, 'all'].map((kind) => {
    const some = results
      .filter((_, i) => kind === 'all' || tasks[i].kind === kind)
      .flatMap(({ solutions }) => solutions);
    const residuals = some.map(({ solved, exactResidual }) => (solved ? exactResidual! : Number.POSITIVE_INFINITY));
    const steps = some.flatMap(({ steps }) => steps);
    const count = (of: string) => steps.filter(({ stage }) => stage === of).length;
    const work = some.map(({ work }) => work.rows);
    return [
      kind,
      some.length,
      share(residuals.map((value) => value <= 1e-5)),
      share(residuals.map((value) => value <= 1e-6)),
      Math.max(...residuals).toExponential(1),
      Math.max(...some.map(({ residual }) => residual)).toExponential(1),
      `${mean(work).toFixed(0)} / ${quantile(work, 0.95)} / ${Math.max(...work)}`,
      mean(some.map(({ work }) => work.jacobians)).toFixed(2),
      `${count('broyden')} / ${count('gmres')} / ${count('lu')}`,
      steps.filter(({ folds }) => folds > 0).length,
      steps.reduce((sum, { jumps }) => sum + jumps, 0),
    ];
  });
  const header = [
    'targets',
    'number',
    '<= 1e-5',
    '<= 1e-6',
    'worst (float64)',
    'worst (f32)',
    'rows mean / 95 % / most',
  ];
  console.log(
    table([...header, 'Jacobians', 'steps by Broyden / GMRES / LU', 'steps with folds', 'jumps caught'], rows),
  );
  console.log(`${seconds.toFixed(0)} s\n`);
}

async function real([portion = '1', folder]: readonly string[]): Promise<void> {
  const from = await open(folder);
  const { model, twin, prompt } = from;
  const count = Math.ceil(40 * Number(portion));
  const tasks: Aimed[] = [];
  const inputs: Float64Array[] = [];
  for (const position of positionsOf(model)) {
    for (let i = 0; i < count; i++) {
      const ids = prompt(position + 1);
      const states = await take(forward(model, ids));
      const target = Float64Array.from(states.subarray(position * model.config.width));
      tasks.push({ kind: `position ${position}`, prefix: ids.slice(0, position), targets: [target] });
      inputs.push(twin.embed(ids.slice(position), position));
    }
  }
  const results = await probe(model, tasks, { twin });
  const rows = [...new Set(tasks.map(({ kind }) => kind))].map((kind) => {
    const which = tasks.flatMap((task, i) => (task.kind === kind ? [i] : []));
    const solutions = which.map((i) => results[i].solutions[0]);
    const apart = which.map((i, k) => relative(solutions[k].x, inputs[i]));
    const far = apart.filter((value) => value >= 1e-3);
    return [
      kind,
      which.length,
      share(solutions.map(({ exactResidual = 1 }) => exactResidual <= 1e-5)),
      share(apart.map((value) => value < 1e-3)),
      far.length > 0 ? `${quantile(far, 0).toPrecision(2)} to ${quantile(far, 1).toPrecision(2)}` : '',
    ];
  });
  console.log(
    table(
      ['states of text', 'number', 'found (<= 1e-5)', 'the real input itself', '|x - real| / |real| of others'],
      rows,
    ),
  );
  model.context.destroy();
}

const relative = (a: Vector, b: Vector): number => Math.hypot(...a.map((value, i) => value - b[i])) / Math.hypot(...b);

async function elicited([portion = '1']: readonly string[]): Promise<void> {
  const from = await open();
  const { model, files, twin, natural, prompt } = from;
  const head = await headPart(modelParameters(files));
  const count = Math.ceil(20 * Number(portion));
  const rows: (string | number)[][] = [];
  for (const [name, before] of [
    ['none', 0],
    ['16 tokens of text', 16],
  ] as const) {
    const tasks = Array.from({ length: count }, () => ({ text: prompt(16), prefix: prompt(before) }));
    const started = performance.now();
    const results = await elicit(model, twin, tasks, { head, natural });
    const tokens = results.flatMap(({ tokens }) => tokens);
    const work = results.flatMap(({ solutions }) => solutions.map(({ work }) => work.rows));
    rows.push([
      name,
      `${results.filter(({ forced }) => forced).length} of ${count}`,
      `${tokens.filter(({ margin, exactMargin }) => Math.min(margin, exactMargin) >= 2).length} of ${16 * count}`,
      Math.min(...tokens.map(({ margin }) => margin)).toFixed(3),
      Math.min(...tokens.map(({ exactMargin }) => exactMargin)).toFixed(3),
      mean(work).toFixed(0),
      results.flatMap(({ solutions }) => solutions).reduce((sum, { work }) => sum + work.jacobians, 0),
      ((performance.now() - started) / 1000).toFixed(0),
    ]);
    results.slice(0, 3).forEach(({ continuation }, i) => {
      const text = (ids: Uint32Array) => JSON.stringify(model.tokenizer!.decode([...ids]));
      console.log(`forced ${text(tasks[i].text)}; decoded freely after it ${text(continuation)}`);
    });
  }
  const header = [
    'prefix',
    'texts forced',
    'tokens with margin >= 2',
    'least margin f32',
    'float64',
    'rows a position',
  ];
  console.log(table([...header, 'Jacobians', 's'], rows));
  model.context.destroy();
}

async function scale(): Promise<void> {
  const json = JSON.parse(readFileSync(shared('fixtures/hashed-gpt2-small/config.json'), 'utf8'));
  const config = parseConfig(json, 'hashed-gpt2-small/config.json');
  const from = await subject(modelFiles('hashed-gpt2-small', config, hashedCheckpoint(config)));
  const prefix = from.prompt(5);
  await report(from, [{ kind: 'another state', prefix, targets: [await stateAt(from, 5)] }]);
  from.model.context.destroy();
}

const ADAM = { steps: 5000, learningRate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };

/** The usual way: |F(x) - y|^2 minimized by Adam over the input row, every target a row of one batch. */
async function adam([number = '8']: readonly string[]): Promise<void> {
  const from = await open();
  const { model, twin, natural } = from;
  const { width: d, layers, vocabularySize } = model.config;
  const prefix = from.prompt(5);
  const tasks: Aimed[] = [];
  for (let i = 0; i < Number(number); i++) {
    const isState = i % 2 === 0;
    const target = isState ? await stateAt(from, prefix.length) : randomState(natural, random);
    tasks.push({ kind: isState ? 'another state' : 'random', prefix, targets: [target] });
  }
  const { parameter } = modelParameters(from.files);
  const wpe = await parameter('wpe.weight');
  const meanRow = Float64Array.from(wpe.subarray(prefix.length * d, (prefix.length + 1) * d)); // at its position
  (await parameter('wte.weight')).forEach((value, i) => {
    meanRow[i % d] += value / vocabularySize;
  });
  const starts: Record<string, (y: Vector) => Vector> = {
    'the mean embedding': () => meanRow,
    y: (y) => y,
  };
  const map = newPositionMap(model, layers, { capacity: prefix.length });
  map.extend(model.embed(prefix, countFrom(0, prefix.length)), [{ slot: 0, count: prefix.length }]).dispose();
  const held = twin.prefix();
  twin.extend(twin.embed(prefix), held);
  const lines: (string | number)[][] = [];
  for (const [name, start] of Object.entries(starts)) {
    const started = performance.now();
    const found = await descend(model, map, tasks, start);
    const residuals = found.map((x, i) => relative(twin.states(x, held), tasks[i].targets[0]));
    lines.push([`Adam from ${name}`, 4 * layers * ADAM.steps, ...summary(residuals), seconds(started)]);
  }
  const started = performance.now();
  const results = await probe(model, tasks, { twin });
  const solutions = results.map(({ solutions }) => solutions[0]);
  lines.push([
    'probe',
    mean(solutions.map(({ work }) => work.rows)).toFixed(0),
    ...summary(solutions.map(({ exactResidual = 1 }) => exactResidual)),
    seconds(started),
  ]);
  console.log(`${number} targets behind ${prefix.length} tokens, all ${layers} blocks, |F(x) - y| / |y| in float64\n`);
  console.log(table(['', 'rows a target', 'least', 'median', 'most', 's, all targets'], lines));
  model.context.destroy();
}

const seconds = (since: number): string => ((performance.now() - since) / 1000).toFixed(0);
const summary = (values: readonly number[]) => [0, 0.5, 1].map((q) => quantile(values, q).toExponential(1));

async function descend(
  { context }: LoadedModel,
  map: PositionMap,
  tasks: readonly Aimed[],
  start: (y: Vector) => Vector,
): Promise<Vector[]> {
  const { steps, learningRate, beta1, beta2, epsilon } = ADAM;
  const d = map.width;
  const n = tasks.length;
  const stacked = (rows: readonly Vector[]) => Float64Array.from(rows.flatMap((row) => [...row]));
  const y = stacked(tasks.map(({ targets }) => targets[0]));
  const x = stacked(tasks.map(({ targets }) => start(targets[0])));
  const [first, second] = [new Float64Array(n * d), new Float64Array(n * d)];
  const slots = new Uint32Array(n);
  for (let step = 1; step <= steps; step++) {
    const gradient = await take(
      context.scope(() => {
        const at = map.linearize(upload(context, Float32Array.from(x), [n, d]), slots);
        // Of 1/2 |F(x) - y|^2: the scale of a loss does not matter to Adam.
        return at.vjp(add(at.value, upload(context, Float32Array.from(y), [n, d]), -1));
      }),
    );
    gradient.forEach((g, i) => {
      first[i] = beta1 * first[i] + (1 - beta1) * g;
      second[i] = beta2 * second[i] + (1 - beta2) * g * g;
      const size = Math.sqrt(second[i] / (1 - beta2 ** step)) + epsilon;
      x[i] -= (learningRate * first[i]) / (1 - beta1 ** step) / size;
    });
  }
  return tasks.map((_, i) => x.slice(i * d, (i + 1) * d));
}
