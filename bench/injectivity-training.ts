import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createNodeContext } from '../src/gpu/context.node.ts';
import type { Context } from '../src/gpu/context.ts';
import { findCauses } from '../src/injectivity/causes.ts';
import { collide } from '../src/injectivity/collide.ts';
import { explainCollision } from '../src/injectivity/explain.ts';
import { margins } from '../src/injectivity/margins.ts';
import { type NumberedPrompt, promptSet } from '../src/injectivity/prompt-set.ts';
import { parseConfig } from '../src/model/config.ts';
import { initialCheckpoint } from '../src/model/initial.ts';
import { loadModel, modelFiles } from '../src/model/load.ts';
import type { LanguageModel } from '../src/model/model.ts';
import { batchOf, evenWindows } from '../src/train/data.ts';
import type { OptimizerOptions } from '../src/train/optimizer.ts';
import { completePlan } from '../src/train/plan.ts';
import { createTrainer } from '../src/train/trainer.ts';
import { brokenModels } from '../test/support/broken-models.ts';
import { describeRun, table } from './adapter.ts';

/** A GPT-2 that reads bytes. */
const config = parseConfig(
  { model_type: 'gpt2', vocab_size: 256, n_positions: 64, n_embd: 64, n_layer: 2, n_head: 4 },
  'a small GPT-2',
);
const WINDOW = config.contextLength;
/** Windows of the text that is trained on: gradient descent takes all of them in each step. */
const WINDOWS = 8;
const CHECKPOINTS = [0, 1, 10, 100, 400];
const PROMPTS = 1000;
/** Bytes before the token whose margin is measured. */
const DEPTHS = [0, 1, 8, 32];

interface Run {
  readonly name: string;
  readonly optimizer: OptimizerOptions;
  readonly batch: number;
  readonly learningRate: number;
}

const RUNS: readonly Run[] = [
  { name: 'GD', optimizer: { name: 'sgd' }, batch: WINDOWS, learningRate: 0.3 },
  { name: 'SGD', optimizer: { name: 'sgd' }, batch: 2, learningRate: 0.1 },
  {
    name: 'AdamW',
    optimizer: { name: 'adamw', betas: [0.9, 0.95], epsilon: 1e-8, weightDecay: 0.1 },
    batch: 2,
    learningRate: 2e-3,
  },
];

const textOf = (name: string): Buffer =>
  readFileSync(fileURLToPath(new URL(`../../shared/data/text/${name}`, import.meta.url)));

/**
 * Injectivity while a model is trained (arXiv 2510.15511, section 3): by gradient descent and by SGD, of which the
 * theorem speaks, and by AdamW, of which it does not; from the same fresh weights. Then models broken on purpose.
 *
 *   node bench/run.mjs bench/injectivity-training.ts [steps at most]
 */
export async function main([most = '400']: readonly string[]): Promise<void> {
  const context = await createNodeContext();
  const { prompts } = promptSet(config, naturalPrompts());
  console.log(
    `${config.layers} blocks of width ${config.width}, bytes; ${prompts.length} prompts; ${describeRun(context)}\n`,
  );
  const started = performance.now();
  await trainings(context, prompts, Number(most));
  console.log(`\n${((performance.now() - started) / 1000).toFixed(0)} s\n`);
  await broken(context, prompts);
  console.log(`\n${((performance.now() - started) / 1000).toFixed(0)} s in all`);
  context.destroy();
}

/** The first lines of `prompts_100k.txt` that fit. */
function naturalPrompts() {
  const lines = textOf('prompts_100k.txt').toString().trimEnd().split('\n');
  return lines
    .map((text, i) => ({ line: i + 1, ids: Uint32Array.from(Buffer.from(text)) }))
    .filter(({ ids }) => ids.length <= config.contextLength)
    .slice(0, PROMPTS);
}

async function trainings(context: Context, prompts: readonly NumberedPrompt[], most: number): Promise<void> {
  const train = textOf('books_train.txt').subarray(0, WINDOWS * WINDOW + 1);
  const heldOut = evenWindows(textOf('books_valid.txt'), WINDOW, 32);
  const all = evenWindows(train, WINDOW, WINDOWS);
  const rows: string[][] = [];
  for (const { name, optimizer, batch, learningRate } of RUNS) {
    const model = await loadModel(context, modelFiles(name, config, initialCheckpoint(config, 1)));
    const plan = completePlan({ optimizer, batch, window: WINDOW, learningRate }, config);
    const trainer = createTrainer(model, plan);
    for (let step = 0; ; step++) {
      if (CHECKPOINTS.includes(step) && (step > 0 || rows.length === 0)) {
        const losses = [await trainer.evaluate(all), await trainer.evaluate(heldOut)];
        const [trained, unseen] = losses.map((loss) => loss!.toFixed(3));
        rows.push([step > 0 ? name : 'none', `${step}`, trained, unseen, ...(await measured(model, prompts))]);
        console.error(rows.at(-1)!.join(' | ')); // the table comes when all is done
      }
      if (step >= Math.min(most, Math.max(...CHECKPOINTS))) break;
      const windows = batch === WINDOWS ? all : batchOf(train, plan, step);
      const { culprit } = await trainer.step(windows, learningRate, step + 1);
      if (culprit) throw new Error(`${name}, step ${step + 1}: ${culprit}`);
    }
    trainer.dispose();
    model.dispose();
  }
  const plans = RUNS.map(({ name, batch, learningRate }) => `${name} ${batch} a step at rate ${learningRate}`);
  console.log(`Trained on ${WINDOWS} windows of ${WINDOW} bytes: ${plans.join(', ')}.\n`);
  console.log(
    table(
      [
        'optimiser',
        'steps',
        'loss on its text',
        'held-out loss',
        'pairs below 1e-6, by layer',
        'least distance, by layer',
        'over RMS of states',
        `least margin behind ${DEPTHS.join(', ')} bytes, by layer`,
        'over RMS of candidates',
      ],
      rows,
    ),
  );
}

/** Collisions and margins of a model, in cells. */
async function measured(model: LanguageModel, prompts: readonly NumberedPrompt[]): Promise<string[]> {
  const { layers } = await collide(
    model,
    prompts.map(({ ids }) => ids),
  );
  const rms = layers.map(({ squares }) => {
    const sum = Object.values(squares).reduce((total, value) => total + value, 0);
    return Math.sqrt(sum / prompts.length);
  });
  const text = Uint32Array.from(textOf('books_valid.txt').subarray(0, Math.max(...DEPTHS)));
  const narrowest: { distance: number; relative: number }[] = [];
  const prefixes = DEPTHS.map((depth) => text.subarray(0, depth));
  for await (const behind of margins(model, prefixes)) {
    for (const [i, { distance, relative }] of behind.layers.entries()) {
      if (!(narrowest[i]?.distance <= distance)) narrowest[i] = { distance, relative };
    }
  }
  const least = layers.map(({ closest: [{ distance }] }) => distance);
  return [
    layers.map(({ below }) => below).join(', '),
    inCell(least),
    inCell(least.map((distance, i) => distance / rms[i])),
    inCell(narrowest.map(({ distance }) => distance)),
    inCell(narrowest.map(({ relative }) => relative)),
  ];
}

const inCell = (values: readonly number[]) => values.map((value) => value.toPrecision(3)).join(', ');

/** Letters of which all texts of up to three are prompts, too. */
const LETTERS = 'aeinst';

async function broken(context: Context, natural: readonly NumberedPrompt[]): Promise<void> {
  const letters = [...LETTERS];
  const pairs = letters.flatMap((x) => letters.map((y) => x + y));
  const texts = [...letters, ...pairs, ...pairs.flatMap((pair) => letters.map((x) => pair + x))];
  const made = texts.map((text, i) => ({ line: natural.length + i + 1, ids: Uint32Array.from(Buffer.from(text)) }));
  const { prompts } = promptSet(config, [...natural.slice(0, 250), ...made]);
  const ids = prompts.map((prompt) => prompt.ids);
  const rows: string[][] = [];
  for (const { what, files } of brokenModels(config, [...Buffer.from('aei')])) {
    const causes = await findCauses(files);
    const model = await loadModel(context, files);
    const { layers } = await collide(model, ids, { closest: 10_000 });
    model.dispose();
    const named = layers.map(({ layer, below, closest }) => {
      const collisions = closest.slice(0, below);
      const explained = collisions.map(({ a, b }) => explainCollision(causes, ids[a], ids[b], layer));
      const kinds = new Set(explained.map((some) => some.map(({ kind }) => kind).join(' with ') || 'none'));
      return below > 0 ? [...kinds].join('; ') : '-';
    });
    rows.push([
      what,
      layers.map(({ below }) => below).join(', '),
      inCell(layers.map(({ closest: [{ distance }] }) => distance)),
      [...new Set(named)].length === 1 ? named[0] : named.join(' / '),
      causes.map((cause) => cause.what).join(' ') || '-',
    ]);
  }
  console.log(`Broken models, ${ids.length} prompts: some of these, and all texts of up to three of "${LETTERS}".\n`);
  console.log(
    table(
      [
        'broken',
        'pairs below 1e-6, by layer',
        'least distance',
        'cause named for each of them',
        'found in the weights',
      ],
      rows,
    ),
  );
}
