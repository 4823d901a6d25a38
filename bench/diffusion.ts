import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { createNodeContext } from '../src/gpu/context.node.ts';
import { type Diffusion, deterministicDiffusion, trajectories } from '../src/probe/diffusion/ddim.ts';
import { type Denoiser, newDenoiser } from '../src/probe/diffusion/denoiser.ts';
import { noiseFigure } from '../src/probe/diffusion/figure.ts';
import { type FoundNoise, findNoise } from '../src/probe/diffusion/find-noise.ts';
import { ringOfGaussians, ringTargets, type TargetSet } from '../src/probe/diffusion/points.ts';
import { trainDenoiser } from '../src/probe/diffusion/train.ts';
import { seededRandom } from '../src/reference/random.ts';
import { markup } from '../src/report/markup.ts';
import { page } from '../src/report/page.ts';
import { figure, table as htmlTable } from '../src/report/table.ts';
import { readAll } from '../src/tensor/tensor.ts';
import { describeRun, table } from './adapter.ts';

const SEED = 1;
const STEPS = 20;
const [TARGETS, SAMPLES, DRAWN] = [40, 400, 8]; // targets of each kind, of which some are drawn
const TOLERANCE = 1e-5;

const COLUMNS = [
  'targets',
  'how many',
  'solved',
  'f32: within 1e-5',
  'worst',
  'float64: within 1e-5',
  'worst',
  'sensitivity, most',
  'rows a target',
];

const SENSITIVITY =
  'Sensitivity: how many times farther the output moves than the noise. It multiplies the rounding of f32 on the ' +
  'way: noise for outputs that the model drives points away from is known, but may miss 1e-5 when it runs in f32.';

/** What was asked for and what was found. */
interface Result extends TargetSet {
  readonly found: readonly FoundNoise[];
}

/**
 * A diffusion of the plane, trained here, and the noise that the probe finds for outputs of every kind: a table, and
 * the figure as a page of its own.
 * @param file Where the page goes; default `diffusion.html`.
 */
export async function main([file = 'diffusion.html']: string[]): Promise<void> {
  const context = await createNodeContext();
  console.log(`Deterministic diffusion, DDIM in ${STEPS} steps; ${describeRun(context)}\n`);
  const start = performance.now();
  const denoiser = await newDenoiser(context, SEED);
  const loss = await trainDenoiser(denoiser, ringOfGaussians, { seed: SEED });
  console.log(`Trained in ${secondsSince(start)}: loss ${loss.toFixed(3)} (1 is that of predicting nothing).`);

  const random = seededRandom(SEED + 1);
  const diffusion = await deterministicDiffusion(denoiser, STEPS);
  const noise = random.normal(2 * SAMPLES);
  const samples = (await trajectories(denoiser, diffusion, noise)).at(-1)!;
  const own: TargetSet = { kind: 'outputs of the model', points: samples.slice(0, 2 * TARGETS) };

  const solving = performance.now();
  const results: Result[] = [];
  for (const set of [own, ...ringTargets(random, TARGETS)]) {
    results.push({ ...set, found: await findNoise(context, diffusion, set.points) });
  }
  console.log(`Solved ${results.flatMap(({ found }) => found).length} targets in ${secondsSince(solving)}.\n`);
  const rows = results.map((result) => rowOf(result, diffusion));
  const isOwn = ({ solution: { x } }: FoundNoise, i: number) =>
    Math.hypot(x[0] - noise[2 * i], x[1] - noise[2 * i + 1]) < 1e-3;
  const again = results[0].found.filter(isOwn).length;
  const repeated = `For ${again} of ${TARGETS} outputs of the model the noise found is the one they were made from.`;
  console.log(`${table(COLUMNS, rows)}\n\n${SENSITIVITY}\n\n${repeated}`);

  const html = page({
    title: 'The noise behind any output of a diffusion',
    summary: markup`<p>A deterministic diffusion whose denoiser is a pre-LN transformer can give every point of the
plane: for each target the probe finds the initial noise, step by step backwards. ${repeated}</p>\n`,
    sections: [
      { title: 'From noise to target', body: await figures(denoiser, diffusion, samples, results) },
      {
        title: 'Residuals and cost',
        body: [
          htmlTable(
            'Residuals |F(x) - y| / |y| of the noise found, run forward through all steps',
            COLUMNS.map((title, i) => ({ title, isNumber: i > 0 })),
            rows.map((cells) => ({ cells })),
          ),
          markup`<p>${SENSITIVITY}</p>\n`,
        ],
      },
    ],
    provenance: {
      command: `node bench/run.mjs bench/diffusion.ts ${file}`,
      model: `a denoiser of the plane, trained by this command from seed ${SEED}`,
      digest: await digestOf(denoiser),
      adapter: context.adapter.name,
      date: new Date(),
    },
  });
  await writeFile(file, html);
  console.log(`\nWrote ${file}.`);
  context.destroy();
}

const secondsSince = (start: number): string => `${((performance.now() - start) / 1000).toFixed(0)} s`;

async function digestOf({ parameters }: Denoiser): Promise<string> {
  const hash = createHash('sha256');
  for (const values of await readAll(parameters.map(({ tensor }) => tensor))) hash.update(values);
  return hash.digest('hex').slice(0, 16);
}

/** Some targets of each kind: those near the data, and those far from it. */
async function figures(denoiser: Denoiser, diffusion: Diffusion, samples: Float32Array, results: readonly Result[]) {
  const picture = async (title: string, sets: readonly Result[], radius: number) => {
    const drawn = sets.flatMap(({ found }) => found.slice(0, DRAWN));
    const targets = drawn.flatMap(({ target }) => [...target]);
    const noise = Float32Array.from(drawn.flatMap(({ solution }) => [...solution.x]));
    const shown = samples.filter((_, j) => Math.hypot(samples[j - (j % 2)], samples[j - (j % 2) + 1]) <= radius);
    const left = (samples.length - shown.length) / 2;
    const states = await trajectories(denoiser, diffusion, noise);
    const note = left > 0 ? ` Of ${SAMPLES} samples of the model ${left} lie outside the picture.` : '';
    return figure(noiseFigure({ title, samples: shown, targets, states }), `${title}.${note}`);
  };
  const [, data, between, centre, far] = results;
  return markup`<div class="pair">
${await picture('Targets on the modes, between them and around the empty centre', [data, between, centre], 2.5)}
${await picture('Targets 5 to 10 from the centre, where no data ever was', [far], 10)}</div>\n`;
}

function rowOf({ kind, found }: Result, diffusion: Diffusion): (string | number)[] {
  const solutions = found.map(({ solution }) => solution);
  const ofF32 = solutions.map(({ residual }) => residual);
  const ofF64 = solutions.map(({ exactResidual = Number.POSITIVE_INFINITY }) => exactResidual);
  const within = (residuals: readonly number[]) => residuals.filter((residual) => residual <= TOLERANCE).length;
  const worst = (residuals: readonly number[]) => Math.max(...residuals).toExponential(1);
  return [
    kind,
    found.length,
    solutions.filter(({ solved }) => solved).length,
    within(ofF32),
    worst(ofF32),
    within(ofF64),
    worst(ofF64),
    Math.max(...solutions.map(({ x }) => sensitivity(diffusion, x))).toFixed(0),
    (found.reduce((sum, { rows }) => sum + rows, 0) / found.length).toFixed(0),
  ];
}

/** The norm of the Jacobian (all four numbers) of the whole map at a noise, by central differences in float64. */
function sensitivity({ twin }: Diffusion, x: Float64Array): number {
  const h = 1e-6;
  const slopes = [Float64Array.of(h, 0), Float64Array.of(0, h)].flatMap((step) => {
    const [more, less] = [1, -1].map((sign) => x.map((value, i) => value + sign * step[i])).map((at) => twin(at, 0));
    return [0, 1].map((j) => (more[j] - less[j]) / (2 * h));
  });
  return Math.hypot(...slopes);
}
