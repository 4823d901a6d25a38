import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createNodeContext } from '../src/gpu/context.node.ts';
import { folderCache } from '../src/io/cache.node.ts';
import { decodeBF16, decodeF16, encodeBF16, encodeF16 } from '../src/io/dtype.ts';
import { fileBytes, folderSource } from '../src/io/folder.node.ts';
import { openSafetensors } from '../src/io/safetensors.ts';
import { lensesOf } from '../src/lens/store.ts';
import { parseConfig } from '../src/model/config.ts';
import { forward } from '../src/model/forward.ts';
import { generate } from '../src/model/generate.ts';
import { type LoadedModel, loadModel, modelFiles, openModel } from '../src/model/load.ts';
import { seededRandom } from '../src/reference/random.ts';
import { invertMany } from '../src/sipit/invert.ts';
import { readStates } from '../src/sipit/states-file.ts';
import type { Inversion, InvertOptions, StateRecord } from '../src/sipit/types.ts';
import { take } from '../src/tensor/tensor.ts';
import { hashedCheckpoint } from '../test/support/hashed.ts';
import { describeRun, table } from './adapter.ts';

const shared = (path: string) => fileURLToPath(new URL(`../../shared/${path}`, import.meta.url));
const random = seededRandom(1);
const below = (limit: number) => Math.floor(random.next() * limit);

/** Prompts of one kind, and the states to recover them from. */
interface Cell {
  readonly name: string;
  readonly prompts: readonly Uint32Array[];
  readonly layer: number;
  readonly options?: InvertOptions;
  /** What becomes of the states before they are inverted. */
  readonly spoil?: (record: StateRecord, index: number) => StateRecord;
}

/**
 * Inverts prompts whose tokens are known and compares every token.
 *
 *   node bench/run.mjs bench/invert.ts exact [share] [layers]    text and random prompts, T 20 and 100 (share of 200 each)
 *   node bench/run.mjs bench/invert.ts noise [share]    half precision, noise, a replaced state
 *   node bench/run.mjs bench/invert.ts growth           length of the prompt, and prompts at once
 *   node bench/run.mjs bench/invert.ts model FOLDER [share]    a model without tokenizer: sampled and random ids
 *   node bench/run.mjs bench/invert.ts hashed [layers]    GPT-2 small's real size, hashed weights, T 20; fits its lens first
 *   node bench/run.mjs bench/invert.ts peer PYTHON [count]    beside the published algorithm in PyTorch, one run after another
 *   node bench/run.mjs bench/invert.ts states FILE PROMPTS.json [bf16|f16]    states made elsewhere
 */
export async function main([group = 'exact', ...args]: readonly string[]): Promise<void> {
  const groups: Record<string, (args: readonly string[]) => Promise<void>> = {
    exact,
    noise,
    growth,
    model,
    hashed,
    peer,
    states,
  };
  await groups[group](args);
}

async function open(folder = fileURLToPath(new URL('../weights', import.meta.url))): Promise<LoadedModel> {
  const context = await createNodeContext();
  const opened = await loadModel(context, await openModel(folderSource(folder)));
  console.log(`${folder}; ${describeRun(context)}\n`);
  return opened;
}

/** Cuts of the held-out text. */
function textPrompts(model: LoadedModel) {
  const ids = model.tokenizer!.encode(readFileSync(shared('data/text/books_valid.txt'), 'utf8'));
  return (count: number, length: number) =>
    Array.from({ length: count }, () => {
      const first = below(ids.length - length);
      return ids.slice(first, first + length);
    });
}

const randomPrompts = (count: number, length: number, ids: Uint32Array) =>
  Array.from({ length: count }, () => Uint32Array.from({ length }, () => ids[below(ids.length)]));

const everyToken = (model: LoadedModel) => Uint32Array.from({ length: model.config.vocabularySize }, (_, i) => i);

/** Tokens that occur in the training text. */
function seenTokens(model: LoadedModel): Uint32Array {
  const seen = new Set<number>();
  const text = readFileSync(shared('data/text/books_train.txt'), 'utf8');
  for (let i = 0; i < text.length; i += 2 ** 20) {
    for (const id of model.tokenizer!.encode(text.slice(i, i + 2 ** 20))) seen.add(id);
  }
  return Uint32Array.from(seen);
}

async function exact([share = '1', layers = '1,3,6']: readonly string[]): Promise<void> {
  const loaded = await open();
  const count = Math.ceil(200 * Number(share));
  const text = textPrompts(loaded);
  const seen = seenTokens(loaded);
  console.log(`${loaded.config.vocabularySize - seen.length} tokens never occur in the training text.\n`);
  const cells: Cell[] = [];
  for (const layer of layers.split(',').map(Number)) {
    for (const length of [20, 100]) {
      cells.push({ name: `text, T ${length}`, layer, prompts: text(count, length) });
      cells.push({ name: `random, T ${length}`, layer, prompts: randomPrompts(count, length, everyToken(loaded)) });
      cells.push({ name: `random, trained, T ${length}`, layer, prompts: randomPrompts(count, length, seen) });
    }
  }
  await report(loaded, cells);
}

async function noise([share = '1', only = '']: readonly string[]): Promise<void> {
  const loaded = await open();
  const count = Math.ceil(20 * Number(share));
  const text = textPrompts(loaded);
  const rounded = (dtype: 'BF16' | 'F16') => (record: StateRecord) => {
    const through =
      dtype === 'BF16' ? (v: number) => decodeBF16(encodeBF16(v)) : (v: number) => decodeF16(encodeF16(v));
    return { ...record, dtype, values: record.values.map(through) };
  };
  const kinds: Omit<Cell, 'layer' | 'prompts'>[] = [
    { name: 'stored bf16', spoil: rounded('BF16') },
    { name: 'stored f16', spoil: rounded('F16') },
    { name: 'noise 0.001', spoil: noisy(0.001), options: { noise: { gaussian: 0.001 } } },
    { name: 'noise 0.001, not told', spoil: noisy(0.001) },
    { name: 'noise 0.01', spoil: noisy(0.01), options: { noise: { gaussian: 0.01 } } },
    { name: 'noise 0.01, not told', spoil: noisy(0.01) },
    { name: 'noise 0.1', spoil: noisy(0.1), options: { noise: { gaussian: 0.1 } } },
    { name: 'noise 0.2', spoil: noisy(0.2), options: { noise: { gaussian: 0.2 } } },
    { name: 'noise 0.5', spoil: noisy(0.5), options: { noise: { gaussian: 0.5 } } },
    { name: 'one state of another prompt', spoil: replaced() },
  ];
  const cells: Cell[] = [];
  for (const kind of kinds.filter(({ name }) => name.includes(only))) {
    for (const layer of [1, 3, 6]) {
      const length = kind.name.startsWith('one state') ? 20 : 100;
      cells.push({ ...kind, name: `text, ${kind.name}`, layer, prompts: text(count, length) });
      const prompts = randomPrompts(count, length, everyToken(loaded));
      cells.push({ ...kind, name: `random, ${kind.name}`, layer, prompts });
    }
  }
  await report(loaded, cells);
}

/** Independent noise of this share of each state's RMS. */
const noisy = (level: number) => (record: StateRecord) => {
  const { values, width } = record;
  const spoiled = values.slice();
  for (let t = 0; t < values.length; t += width) {
    const rms = Math.sqrt(values.subarray(t, t + width).reduce((sum, v) => sum + v * v, 0) / width);
    random.normal(width, level * rms).forEach((error, i) => {
      spoiled[t + i] += error;
    });
  }
  return { ...record, values: spoiled };
};

/** State 7 of each prompt is state 7 of the prompt before. */
function replaced() {
  let before: StateRecord | undefined;
  return (record: StateRecord) => {
    const values = record.values.slice();
    const { width } = record;
    if (before) values.set(before.values.subarray(7 * width, 8 * width), 7 * width);
    before = record;
    return { ...record, values };
  };
}

async function growth(): Promise<void> {
  const loaded = await open();
  const text = textPrompts(loaded);
  const cells: Cell[] = [];
  for (const length of [8, 16, 32, 64, 128, 256]) {
    cells.push({ name: `text, T ${length}`, layer: 3, prompts: text(8, length) });
  }
  await report(loaded, cells);
  const rows: (string | number)[][] = [];
  const prompts = text(64, 20);
  for (const together of [1, 8, 64]) {
    const records = await recordsOf(loaded, { name: '', layer: 3, prompts });
    const started = performance.now();
    for (let i = 0; i < records.length; i += together) {
      await collect(loaded, records.slice(i, i + together), {});
    }
    const seconds = (performance.now() - started) / 1000;
    rows.push([together, (records.length / seconds).toFixed(1), ((1000 * seconds) / records.length).toFixed(1)]);
  }
  console.log(`\n${table(['prompts at once (text, T 20, layer 3)', 'prompts/s', 'ms a prompt'], rows)}`);
  loaded.context.destroy();
}

async function model([folder, share = '1']: readonly string[]): Promise<void> {
  const loaded = await open(folder);
  const { contextLength, vocabularySize, layers } = loaded.config;
  const count = Math.ceil(20 * Number(share));
  const cells: Cell[] = [];
  for (const layer of [...new Set([1, Math.ceil(layers / 2), layers])]) {
    for (const length of [...new Set([Math.min(20, contextLength), Math.min(100, contextLength)])]) {
      const sampled: Uint32Array[] = [];
      for (let i = 0; i < count; i++) {
        const first = Uint32Array.of(below(vocabularySize));
        const rest: number[] = [];
        for await (const id of generate(loaded, first, { maxTokens: length - 1, temperature: 1, seed: i }))
          rest.push(id);
        sampled.push(Uint32Array.from([...first, ...rest]));
      }
      cells.push({ name: `sampled, T ${length}`, layer, prompts: sampled });
      cells.push({ name: `random, T ${length}`, layer, prompts: randomPrompts(count, length, everyToken(loaded)) });
    }
  }
  await report(loaded, cells);
}

async function hashed([layers = '1,6,12', count = '2']: readonly string[]): Promise<void> {
  const context = await createNodeContext();
  const json = JSON.parse(readFileSync(shared('fixtures/hashed-gpt2-small/config.json'), 'utf8'));
  const config = parseConfig(json, 'hashed-gpt2-small/config.json');
  const loaded = await loadModel(context, modelFiles('hashed-gpt2-small', config, hashedCheckpoint(config)));
  console.log(`hashed-gpt2-small; ${describeRun(context)}\n`);
  const wanted = layers.split(',').map(Number);
  const started = performance.now();
  let shown = 0;
  const fitted = await lensesOf(loaded, wanted, {
    cache: folderCache(),
    onProgress: (done, total) => {
      if (done - shown < 1) return;
      shown = done;
      console.error(`lens: ${done.toFixed(0)} of ${total.toFixed(0)} forward passes`);
    },
  });
  console.log(`lenses of layers ${wanted} at hand after ${((performance.now() - started) / 1000).toFixed(0)} s`);
  console.log(
    `kappa: ${fitted.map(({ first, rest }) => `${first.kappa.toFixed(2)} and ${rest.kappa.toFixed(2)}`).join(', ')}\n`,
  );
  const cells = wanted.map((layer) => ({
    name: 'random, T 20',
    layer,
    prompts: randomPrompts(Number(count), 20, everyToken(loaded)),
  }));
  await report(loaded, cells);
}

/** One prompt at a time, as the peer does it; and all together. */
async function peer([python, count = '10']: readonly string[]): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'preimage-peer-'));
  const loaded = await open();
  const prompts = textPrompts(loaded)(Number(count), 20);
  writeFileSync(join(folder, 'prompts.json'), JSON.stringify(prompts.map((prompt) => [...prompt])));
  const rows: (string | number)[][] = [];
  for (const layer of [1, 3, 6]) {
    const output = join(folder, 'peer.json');
    const script = fileURLToPath(new URL('peers/published_sipit.py', import.meta.url));
    const weights = fileURLToPath(new URL('../weights', import.meta.url));
    const options = [
      '--layer',
      String(layer),
      '--policy',
      'gradient',
      '--threads',
      String(cpus().length),
      '-o',
      output,
    ];
    execFileSync(python, [script, weights, join(folder, 'prompts.json'), ...options], { stdio: 'ignore' });
    const theirs: { exact: boolean; forwardEquivalents: number; seconds: number }[] = JSON.parse(
      readFileSync(output, 'utf8'),
    ).prompts;
    const records = await recordsOf(loaded, { name: '', layer, prompts });
    await collect(loaded, records.slice(0, 1), {});
    const started = performance.now();
    const ours: Inversion[] = [];
    for (const record of records) ours.push(...(await collect(loaded, [record], {})));
    const alone = (performance.now() - started) / 1000 / records.length;
    const again = performance.now();
    await collect(loaded, records, {});
    const together = (performance.now() - again) / 1000 / records.length;
    const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
    const [work, seconds] = [mean(theirs.map((one) => one.forwardEquivalents)), mean(theirs.map((one) => one.seconds))];
    const own = mean(ours.map(({ cost }) => cost.forwardEquivalents));
    const right = ours.filter(({ exact, tokens }, i) => exact && tokens.join() === prompts[i].join()).length;
    rows.push([
      layer,
      `${theirs.filter(({ exact }) => exact).length} / ${right} of ${prompts.length}`,
      `${work.toFixed(0)} / ${own.toFixed(2)}`,
      (work / own).toFixed(0),
      `${(1000 * seconds).toFixed(0)} / ${(1000 * alone).toFixed(0)} / ${(1000 * together).toFixed(0)}`,
      `${(seconds / alone).toFixed(1)} / ${(seconds / together).toFixed(1)}`,
    ]);
    console.error(rows.at(-1)?.join('  '));
  }
  const header = ['layer', 'exact: peer / ours', 'forward equivalents: peer / ours', 'ratio'];
  console.log(table([...header, 'ms a prompt: peer / ours alone / together', 'times as fast'], rows));
  rmSync(folder, { recursive: true });
  loaded.context.destroy();
}

async function states([file, prompts, run]: readonly string[]): Promise<void> {
  const loaded = await open();
  const source = await fileBytes(file);
  const { records } = await readStates(await openSafetensors(source));
  await source.close();
  const truth: number[][] = JSON.parse(readFileSync(prompts, 'utf8'));
  const noise = run ? { run: run.toUpperCase() as 'BF16' | 'F16' } : undefined;
  await report(loaded, [
    {
      name: `${file.split('/').at(-1)}${run ? `, --dtype-noise ${run}` : ''}`,
      layer: records[0].layer!,
      prompts: truth.map((ids) => Uint32Array.from(ids)),
      options: { noise },
      spoil: (_, i) => records[i] as StateRecord,
    },
  ]);
}

async function recordsOf(model: LoadedModel, { layer, prompts, spoil }: Cell): Promise<StateRecord[]> {
  const records: StateRecord[] = [];
  for (const [i, prompt] of prompts.entries()) {
    const values = await take(forward(model, prompt, { layer }));
    const record: StateRecord = { values, width: model.config.width, layer, dtype: 'F32' };
    records.push(spoil ? spoil(record, i) : record);
  }
  return records;
}

async function collect(
  model: LoadedModel,
  records: readonly StateRecord[],
  options: InvertOptions,
): Promise<Inversion[]> {
  const inversions: Inversion[] = [];
  for await (const { inversion, error } of invertMany(model, records, options)) {
    if (error) throw error;
    inversions.push(inversion);
  }
  return inversions;
}

/** Inverts the prompts of each cell, side by side, and prints a row. */
async function report(model: LoadedModel, cells: readonly Cell[]): Promise<void> {
  const lens = {
    cache: folderCache(),
    onFit: (layers: readonly number[]) => console.error(`fitting layers ${layers}`),
  };
  await lensesOf(model, [...new Set(cells.map(({ layer }) => layer))], lens);
  const rows: (string | number)[][] = [];
  for (const cell of cells) {
    const { name, layer, prompts, options = {} } = cell;
    const records = await recordsOf(model, cell);
    await collect(model, records.slice(0, 1), options); // what is prepared once is not timed
    const started = performance.now();
    const inversions = await collect(model, records, options);
    const seconds = (performance.now() - started) / 1000;
    let [exactPrompts, silent, flagged, right, worst] = [0, 0, 0, 0, 0];
    let narrowest = Number.POSITIVE_INFINITY;
    inversions.forEach((inversion, i) => {
      const truth = prompts[i];
      if (inversion.exact && inversion.tokens.join() === truth.join()) exactPrompts++;
      inversion.positions.forEach(({ token, verdict, distance, margin = Number.POSITIVE_INFINITY }, t) => {
        if (token === truth[t]) right++;
        if (verdict !== 'accepted') flagged++;
        else if (token !== truth[t]) silent++;
        else {
          worst = Math.max(worst, distance);
          narrowest = Math.min(narrowest, margin);
        }
      });
    });
    const costs = inversions.map(({ cost }) => cost.forwardEquivalents).sort((a, b) => a - b);
    const scoring = inversions.reduce((sum, { cost }) => sum + cost.scoring, 0) / inversions.length;
    const mean = costs.reduce((sum, cost) => sum + cost, 0) / costs.length;
    const tokens = prompts.reduce((sum, prompt) => sum + prompt.length, 0);
    rows.push([
      layer,
      name,
      `${exactPrompts} of ${prompts.length}`,
      `${right} of ${tokens}`,
      silent,
      flagged,
      `${mean.toFixed(2)} / ${costs[Math.floor(0.95 * (costs.length - 1))].toFixed(2)} / ${costs.at(-1)!.toFixed(2)}`,
      scoring.toFixed(2),
      worst.toExponential(1),
      narrowest.toPrecision(3),
      ((1000 * seconds) / prompts.length).toFixed(0),
    ]);
    console.error(rows.at(-1)?.join('  '));
  }
  const header = ['layer', 'prompts', 'exact', 'tokens right', 'silently wrong', 'flagged'];
  const figures = [
    'forward equivalents, mean / 95 % / most',
    'of it scoring',
    'worst distance',
    'narrowest margin',
    'ms a prompt',
  ];
  console.log(table([...header, ...figures], rows));
}
