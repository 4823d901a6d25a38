import { createNodeContext } from '../src/gpu/context.node.ts';
import type { Context } from '../src/gpu/context.ts';
import { difference, norm } from '../src/linalg/vector.ts';
import type { Block } from '../src/probe/blocks/block.ts';
import {
  absoluteValueMlp,
  type LeakyMlp,
  leakyMlp,
  leakyMlpStep,
  randomLeakyMlp,
} from '../src/probe/blocks/leaky-mlp.ts';
import { leakyMlpInverse } from '../src/probe/blocks/leaky-mlp-inverse.ts';
import { followLine } from '../src/probe/blocks/line.ts';
import { linearAttention, randomLinearAttention } from '../src/probe/blocks/linear-attention.ts';
import { linearAttentionInverse } from '../src/probe/blocks/linear-attention-inverse.ts';
import { checkCertificate } from '../src/probe/certificates/check.ts';
import { cone } from '../src/probe/certificates/cone.ts';
import { certify } from '../src/probe/certificates/separation.ts';
import type { MlpBlock } from '../src/probe/certificates/types.ts';
import { newton } from '../src/probe/newton.ts';
import { followPath } from '../src/probe/path.ts';
import { inspected } from '../src/probe/preimages.ts';
import type { Search, Vector } from '../src/probe/requests.ts';
import { runRounds, type Work } from '../src/probe/rounds.ts';
import { solveStep } from '../src/probe/solve.ts';
import { solveChain } from '../src/probe/solve-chain.ts';
import { seededRandom } from '../src/reference/random.ts';
import { describeRun, table } from './adapter.ts';

/**
 * Blocks that GPT-2 does not have: each solved in closed form where there is one and by homotopy; and one that is not
 * onto, with certificates.
 *
 *   node bench/run.mjs bench/blocks.ts [targets of each block]    default 12
 */
export async function main([count = '12']: readonly string[]): Promise<void> {
  const context = await createNodeContext();
  const started = performance.now();
  const number = Number(count);
  const rows = [
    ...(await leakyAlone(context, number)),
    ...(await leakySteps(context, number)),
    ...(await linear(context, number)),
  ];
  const header = ['block', 'd', 'method', 'homotopy', 'solved (<= 1e-5, float64)', 'worst of the solved'];
  console.log(`${describeRun(context)}; ${((performance.now() - started) / 1000).toFixed(0)} s\n`);
  console.log(table([...header, 'rows mean / most', 'Jacobians mean', 'preimages a target'], rows));
  console.log(`\n${await notOnto(context, number)}`);
  context.destroy();
}

type Cells = (string | number)[];

/** A way to a preimage, or several. */
interface Way {
  readonly method: string;
  readonly homotopy: string;
}

const CLOSED: Way = { method: 'closed form', homotopy: 'none needed' };
const GENERIC: Way = { method: 'Broyden, paths', homotopy: '(1 - s) x + s g(x) = y' };
const STARTS: Way = { method: 'Newton from random starts', homotopy: 'none' };
const LINE: Way = { method: 'line of targets', homotopy: 'g(x) = (1 - s) g(y) + s y' };

/** Half of them any vectors, half outputs of any inputs. */
function targetsOf(block: Block, seed: number, count: number, size: number): Vector[] {
  const { normal } = seededRandom(seed);
  return Array.from({ length: count }, (_, i) => {
    const any = Float64Array.from(normal(block.width, size));
    return i % 2 === 0 ? any : block.twin(any);
  });
}

const MOST_STARTS = 30;
/** Of one path. */
const MOST_JACOBIANS = 30;

const residualOf = (block: Block, x: Vector, y: Vector): number => norm(difference(block.twin(x), y)) / norm(y);

/** What one way came to, for targets of several blocks. */
interface Outcome {
  readonly residuals: readonly number[];
  readonly work: readonly Work[];
}

async function searched(
  context: Context,
  block: Block,
  targets: readonly Vector[],
  search: (y: Vector) => Search<{ readonly x: Vector }>,
): Promise<Outcome> {
  const runs = targets.map((y) => ({ slot: 0, search: search(y) }));
  const { results, work } = await runRounds(runs, { context, chain: { steps: [block], twin: (x) => block.twin(x) } });
  return { work, residuals: results.map((found, i) => residualOf(block, found!.x, targets[i])) };
}

/** Newton's method from y and then from random starts of ever other sizes, until one converges. */
function* byNewton(y: Vector): Search<{ readonly x: Vector }> {
  const { normal } = seededRandom(1);
  for (let i = 0; i < MOST_STARTS; i++) {
    const start = i === 0 ? y : Float64Array.from(normal(y.length, [1, 0.3, 3][i % 3]));
    const point = yield* newton({ step: 0, y, start, tolerance: 1e-6, floor: 1e-5 }, 40);
    if (point && point.residual <= 1e-5) return point;
  }
  return { x: y };
}

const byLine = (y: Vector) => followLine({ step: 0, y, tolerance: 4e-7, floor: 3e-6 });
const byChain = (block: Block) => (y: Vector) => solveChain({ steps: [block], twin: (x) => block.twin(x) }, y);

/** As `byChain` where nothing says that there is a solution at the end of the path: one try with Jacobians, polished. */
function* byIdentity(y: Vector): Search<{ readonly x: Vector }> {
  const problem = { step: 0, y, tolerance: 1e-6, floor: 1e-5 };
  const cheap = yield* solveStep(problem, 'step', ['broyden', 'gmres']);
  if (cheap.report.stage) return yield* inspected(problem, cheap.x);
  const budget = MOST_JACOBIANS * (y.length + 1);
  const { crossings } = yield* followPath(problem, { corrector: 'lu', longestStep: 0.5, budget });
  return crossings.length > 0 ? yield* inspected(problem, crossings[0].x) : cheap;
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

function line(
  block: string,
  d: number,
  { method, homotopy }: Way,
  outcomes: readonly Outcome[],
  preimages = '',
): Cells {
  const residuals = outcomes.flatMap(({ residuals }) => residuals);
  const work = outcomes.flatMap(({ work }) => work);
  const solved = residuals.filter((residual) => residual <= 1e-5);
  const rows = work.map(({ rows }) => rows);
  return [
    block,
    d,
    method,
    homotopy,
    `${solved.length} of ${residuals.length}`,
    solved.length > 0 ? Math.max(...solved).toExponential(1) : '',
    rows.length > 0 ? `${mean(rows).toFixed(0)} / ${Math.max(...rows)}` : '0',
    work.length > 0 ? mean(work.map(({ jacobians }) => jacobians)).toFixed(1) : '0',
    preimages,
  ];
}

/** LeakyReLU MLPs of d_ff = d without a residual, of six draws: det Dg has one sign everywhere, + or -. */
async function leakyAlone(context: Context, count: number): Promise<Cells[]> {
  const cells: Cells[] = [];
  for (const d of [24, 64]) {
    const [closed, lines, generic]: Outcome[][] = [[], [], []];
    const signs: number[] = [];
    for (let seed = 1; seed <= 6; seed++) {
      const mlp = randomLeakyMlp(seed, d);
      const block = leakyMlp(context, mlp);
      const { preimages, sign } = leakyMlpInverse(mlp);
      const targets = targetsOf(block, 100 + seed, Math.ceil(count / 6), 2);
      signs.push(...targets.map(() => sign));
      closed.push({ work: [], residuals: targets.map((y) => residualOf(block, preimages(y), y)) });
      lines.push(await searched(context, block, targets, byLine));
      generic.push(await searched(context, block, targets, byIdentity));
      block.dispose();
    }
    const positive = signs.filter((sign) => sign > 0).length;
    const name = `LeakyReLU MLP alone, d_ff = d (det > 0: ${positive} of ${signs.length})`;
    cells.push(line(name, d, CLOSED, closed, '1'), line(name, d, LINE, lines), line(name, d, GENERIC, generic));
  }
  return cells;
}

/** x + MLP(LN x): onto, as what is added is bounded. */
async function leakySteps(context: Context, count: number): Promise<Cells[]> {
  const cells: Cells[] = [];
  for (const d of [24, 64]) {
    const mlp = randomLeakyMlp(1, d, 4 * d);
    const block = leakyMlpStep(context, mlp, { gain: ones(d), bias: new Float32Array(d), epsilon: 1e-5 });
    for (const [name, size] of [
      ['far', 3],
      ['near', 0.5],
    ] as const) {
      const targets = targetsOf(block, 7, count, size).map((y, i) => (i % 2 === 0 ? y : y.map((v) => (size * v) / 3)));
      const outcome = await searched(context, block, targets, byChain(block));
      cells.push(line(`LeakyReLU, pre-LN and residual, d_ff = 4 d, ${name}`, d, GENERIC, [outcome]));
    }
  }
  return cells;
}

const ones = (d: number) => new Float32Array(d).fill(1);

/** Linear attention behind five rows; what it adds to x is a cubic, and not bounded. */
async function linear(context: Context, count: number): Promise<Cells[]> {
  const cells: Cells[] = [];
  for (const { width, heads, residual } of [
    { width: 24, heads: 1, residual: true },
    { width: 24, heads: 1, residual: false },
    { width: 24, heads: 4, residual: true },
    { width: 48, heads: 1, residual: true },
  ]) {
    const attention = randomLinearAttention(width, { width, heads, residual });
    const prefix = seededRandom(5).normal(5 * width);
    const block = linearAttention(context, attention, prefix);
    const targets = targetsOf(block, 3, count, 1);
    const name = `linear attention, ${heads} head${heads > 1 ? 's' : ''}, ${residual ? 'residual' : 'no residual'}`;
    if (heads === 1) {
      const inverse = linearAttentionInverse(attention, prefix);
      const lists = targets.map((y) => inverse(y));
      const best = lists.map((list) => Math.min(...list.map(({ residual }) => residual)));
      cells.push(
        line(name, width, CLOSED, [{ work: [], residuals: best }], histogram(lists.map(({ length }) => length))),
      );
    }
    cells.push(line(name, width, GENERIC, [await searched(context, block, targets, byIdentity)]));
    cells.push(line(name, width, LINE, [await searched(context, block, targets, byLine)]));
    cells.push(line(name, width, STARTS, [await searched(context, block, targets, byNewton)]));
  }
  return cells;
}

function histogram(values: readonly number[]): string {
  const counts = [...new Set(values)].sort((a, b) => a - b);
  return counts.map((value) => `${value}: ${values.filter((one) => one === value).length}`).join(', ');
}

/** The MLP whose outputs are 0.99 |x|: targets with a negative coordinate are certified, the others are solved. */
async function notOnto(context: Context, count: number): Promise<string> {
  const d = 24;
  const mlp = absoluteValueMlp(d);
  const region = cone(coneBlock(mlp));
  const block = leakyMlp(context, mlp);
  const { normal } = seededRandom(9);
  const unreachable = Array.from({ length: count }, () => Float64Array.from(normal(d)));
  const reachable = unreachable.map((y) => block.twin(y));
  const certificates = unreachable.flatMap((y) => certify(region, y) ?? []);
  const verdicts = await Promise.all(certificates.map((one) => checkCertificate(JSON.parse(JSON.stringify(one)))));
  const wrong = reachable.filter((y) => certify(region, y.map(Math.fround)));
  const { residuals } = await searched(context, block, reachable, byLine);
  return table(
    ['LeakyReLU MLP, d_ff = 2 d, LReLU(x) + LReLU(-x) = 0.99 |x|', 'number', 'result'],
    [
      ['any targets: certified as unreachable', count, `${certificates.length} of ${count}`],
      ['certificates checked again', certificates.length, `${verdicts.filter(({ holds }) => holds).length} hold`],
      ['outputs: certified, wrongly', count, wrong.length],
      ['outputs: solved by the line of targets', count, `${residuals.filter((r) => r <= 1e-5).length} of ${count}`],
    ],
  );
}

const coneBlock = ({ inWeight, inBias, outWeight, outBias }: LeakyMlp): MlpBlock => ({
  activation: 'leaky_relu',
  inWeight: Array.from(inWeight),
  inBias: Array.from(inBias),
  outWeight: Array.from(outWeight),
  outBias: Array.from(outBias),
});
