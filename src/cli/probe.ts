import { type Command, Option } from 'commander';
import { InputError } from '../errors.ts';
import { writeFileAtomic } from '../io/folder.node.ts';
import type { LoadedModel, ModelFiles } from '../model/load.ts';
import { beforeNorm } from '../probe/after-norm.ts';
import { headPart, type ModelParameters, modelParameters } from '../probe/certificates/model-parts.ts';
import { type Elicitation, elicit, MARGIN } from '../probe/elicit.ts';
import { type Inspector, inspector, type Solve } from '../probe/findings.ts';
import { naturalStates } from '../probe/natural.ts';
import { type ProbeResult, probe } from '../probe/probe.ts';
import { signsOf } from '../probe/signs.ts';
import { randomState, type StateStatistics, stateStatistics } from '../probe/targets.ts';
import { encodeVectors } from '../probe/vectors-file.ts';
import { seededRandom } from '../reference/random.ts';
import { decimal, type SharedOptions, sharedOptions, tokenIds, wholeNumber } from './options.ts';
import { checkOutputs } from './output.ts';
import { countPreimages } from './probe-count.ts';
import { type Goal, type GoalOptions, type GoalTask, goalOf, spanText } from './probe-goal.ts';
import { solveJson } from './probe-json.ts';
import { type ProbeLive, probeLive } from './probe-live.ts';
import { writeProbeReport } from './probe-report.ts';
import { tellUnreachable, unreachableStates, unreachableTokens } from './probe-unreachable.ts';
import { type ProbeRun, type Stop, showSolves } from './probe-view.ts';
import { EXIT, interruptible, isChatty, withFiles, withLoaded } from './session.ts';
import { note, print, printJson } from './terminal.ts';
import { printable, significant } from './text.ts';

interface Options extends SharedOptions, GoalOptions {
  readonly quiet?: boolean;
  readonly seed: number;
  readonly budget?: number;
  readonly signs: number;
  readonly count?: boolean;
  readonly output?: string;
  readonly report?: string;
  readonly certificate?: string;
  readonly force?: boolean;
}

/** Adds `preimage probe`. */
export function addProbe(program: Command): void {
  const command = program
    .command('probe')
    .description('find input vectors that give any output: a text, a state, or a random one')
    .option('--target <text>', 'force this text: a vector for each token')
    .option('--target-ids <list>', 'token ids in place of a text, such as 5,17,3', tokenIds)
    .option('--target-state <file>', 'reach the states of a file, as "preimage states" writes them')
    .option('--at <t>', 'of the states, only number t (from 0)', wholeNumber(0))
    .option('--after-norm', 'the states are those after the final LayerNorm')
    .option('--random <n>', 'reach n random states, each like the model’s own', wholeNumber(1))
    .option('--prefix <text>', 'a text before the free vectors')
    .option('--prefix-ids <list>', 'the same as token ids', tokenIds)
    .option('--layer <l>', 'the layer where the targets stand (default: L, the last)', wholeNumber(0))
    .addOption(
      new Option('--block <which>', 'all blocks up to the layer, the last of them, or its attention or MLP alone')
        .choices(['stack', 'block', 'attn', 'mlp'])
        .default('stack'),
    )
    .option('--margin <logits>', `of a text: by how much each token is to win (default: ${MARGIN})`, decimal)
    .option('--seed <n>', 'of random targets, and of the samples that natural states are known by', wholeNumber(0), 0)
    .option('--count', 'list distinct preimages under the one half block (--block attn or mlp) of each target')
    .option('--budget <rows>', 'stop when so many rows are evaluated, with the best so far', wholeNumber(1))
    .option('--signs <n>', 'look at det Dg for the first n vectors: d rows a step', wholeNumber(0), 2)
    .option('-o, --output <file>', 'write the vectors as safetensors, for inputs_embeds')
    .option('--report <file>', 'also write a page of HTML with the results')
    .option('--certificate <file>', 'where a target cannot be reached, write the proof as JSON')
    .option('--force', 'overwrite files that exist');
  sharedOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (options: Options) => {
      process.exitCode = await probeTargets(options);
    });
}

const EXAMPLES = `
Exits with 0 if all targets were reached, 1 if not, 2 for bad input.

Examples:
  preimage probe --target "The door was open." -o vectors.safetensors
  preimage probe --prefix "It was late, and" --target " nobody came."
  preimage probe --random 20 --layer 3 --block mlp --json
  preimage probe --random 2 --layer 1 --block attn --count
  preimage states "Call me" -o s.safetensors && preimage probe --target-state s.safetensors --report out.html`;

async function probeTargets(options: Options): Promise<number> {
  const { output, report, certificate, targetState, force } = options;
  const outputs = [output, report, certificate].filter((path) => path !== undefined);
  await checkOutputs(outputs, targetState === undefined ? [] : [targetState], force);
  return withFiles(options, async (files) => {
    const goal = await goalOf(files, options);
    if (options.count && goal.layer - goal.from !== 0.5) {
      throw new InputError(
        '--count lists the preimages under a single half block.',
        'Add --block mlp or --block attn, with --random N or --target-state.',
      );
    }
    const params = modelParameters(files);
    const { what } = goal;
    if (what.kind === 'states' && what.afterNorm) {
      const outside = await unreachableStates(params, what.tasks);
      if (outside.length > 0) return tellUnreachable(outside, files, params, options);
    }
    const work = (model: LoadedModel) =>
      interruptible(
        (signal) => run({ model, files, params, goal, options, signal }),
        output === undefined ? 'stop' : 'go on',
      );
    return withLoaded(options, files, work);
  });
}

/** All that a run has at hand. */
interface Job {
  readonly model: LoadedModel;
  readonly files: ModelFiles;
  readonly params: ModelParameters;
  readonly goal: Goal;
  readonly options: Options;
  readonly signal: AbortSignal;
}

async function run(job: Job): Promise<number> {
  const { model, files, params, goal, options, signal } = job;
  const { output, report, margin = MARGIN } = options;
  const started = performance.now();
  const budget = new AbortController();
  const live = probeLive(
    isChatty(options),
    wantedOf(goal),
    options.budget === undefined ? undefined : { rows: options.budget, spent: () => budget.abort() },
  );
  try {
    if (options.count) {
      const tasks = await tasksOf(job, live);
      return await countPreimages({ model, params, goal, tasks, json: options.json, signal, live });
    }
    const results = await solve(job, AbortSignal.any([signal, budget.signal]), live).catch(async (error) => {
      // A token that no state forces may be one that provably never wins.
      if (!(error instanceof InputError) || goal.what.kind !== 'text') throw error;
      live.say('looking for a proof');
      const never = await unreachableTokens(params, goal.what.text);
      if (never.length === 0) throw error;
      return never;
    });
    if (isProof(results)) {
      live.clear();
      return await tellUnreachable(results, files, params, options);
    }
    live.say('checking in float64');
    const inspect = await inspector(params, goal);
    const solves = await solvesOf(results, inspect, job, live);
    live.clear();
    const seconds = (performance.now() - started) / 1000;
    const stop: Stop | undefined = signal.aborted ? 'stopped' : budget.signal.aborted ? 'budget' : undefined;
    // First to the user: what cannot be saved is not lost.
    await show(solves, { model, place: spanText(goal), seconds, stop, margin }, goal, options);
    if (output !== undefined) await writeVectors(output, solves, inspect, job);
    if (report !== undefined) await writeProbeReport(report, solves, { goal, model, inspect });
    return solves.every(({ solved }) => solved) ? EXIT.done : EXIT.negative;
  } finally {
    live.clear();
  }
}

type Results = readonly (ProbeResult & {
  readonly name: string;
  readonly wanted: number;
  readonly elicited?: Elicitation;
})[];

const isProof = (
  found: Results | Awaited<ReturnType<typeof unreachableTokens>>,
): found is Awaited<ReturnType<typeof unreachableTokens>> => found.length > 0 && 'certificate' in found[0];

function wantedOf({ what }: Goal): number[] {
  if (what.kind === 'text') return [what.text.length];
  return what.kind === 'random' ? new Array(what.count).fill(1) : what.tasks.map(({ targets }) => targets.length);
}

async function naturalOf({ model, goal, options, signal }: Job, live: ProbeLive): Promise<StateStatistics> {
  live.say('sampling natural states');
  const states = await naturalStates(model, goal.layer, { seed: options.seed, signal });
  return stateStatistics(states, model.config.width);
}

/** The states to reach; of a text they are chosen as it is forced. */
async function tasksOf(job: Job, live: ProbeLive): Promise<readonly GoalTask[]> {
  const { model, params, goal, options } = job;
  const { what } = goal;
  if (what.kind === 'text') return [];
  if (what.kind === 'random') {
    const statistics = await naturalOf(job, live);
    const random = seededRandom(options.seed);
    return Array.from({ length: what.count }, (_, i) => ({
      name: `random ${i}`,
      targets: [randomState(statistics, random)],
    }));
  }
  if (!what.afterNorm) return what.tasks;
  const { norm } = await headPart(params);
  const { centredNorm } = await naturalOf(job, live);
  const { layerNormEpsilon } = model.config;
  return what.tasks.map(({ name, targets }) => ({
    name,
    targets: targets.map((target) => beforeNorm(norm, layerNormEpsilon, target, centredNorm)),
  }));
}

async function solve(job: Job, end: AbortSignal, live: ProbeLive): Promise<Results> {
  const { model, params, goal, options } = job;
  const { prefix, what, layer, from } = goal;
  const twin = await params.reference();
  const watched = { ...live.options, signal: end };
  if (what.kind === 'text') {
    const facts = { head: await headPart(params), natural: await naturalOf(job, live) };
    const { margin } = options;
    const [elicited] = await elicit(model, twin, [{ text: what.text, prefix }], facts, { ...watched, margin });
    return [{ ...elicited, name: 'text', wanted: what.text.length, elicited }];
  }
  const tasks = await tasksOf(job, live);
  const results = await probe(
    model,
    tasks.map(({ targets }) => ({ targets, prefix })),
    { ...watched, layer, from, twin },
  );
  return results.map((result, i) => ({ ...result, name: tasks[i].name, wanted: tasks[i].targets.length }));
}

async function solvesOf(results: Results, inspect: Inspector, job: Job, live: ProbeLive): Promise<Solve[]> {
  const { model, goal, options, signal } = job;
  const solves: Solve[] = [];
  let looks = options.signs;
  for (const { name, wanted, elicited, ...result } of results) {
    const count = result.solved && !signal.aborted ? Math.min(looks, wanted) : 0;
    looks -= count;
    if (count > 0) live.say('looking at det Dg');
    const signs = count > 0 ? await signsOf(model, result, { ...goal, count, signal }) : undefined;
    const findings = await inspect.inspect(result, { signs, forced: elicited?.tokens });
    const reached = findings.length === wanted && findings.every((finding) => finding.reached);
    solves.push({
      name,
      prefix: result.prefix,
      wanted,
      findings,
      solved: reached && (elicited?.forced ?? true),
      ...(goal.what.kind === 'text' && { text: goal.what.text, continuation: elicited?.continuation }),
    });
  }
  return solves;
}

async function show(solves: readonly Solve[], view: ProbeRun, goal: Goal, options: Options): Promise<void> {
  const { model, stop } = view;
  if (options.json) {
    const digest = await model.digest();
    for (const one of solves) printJson(solveJson(one, { ...goal, digest, stop }, model));
  } else if (options.quiet) {
    for (const { name, solved, findings } of solves) {
      const worst = findings.reduce((most, { exactResidual }) => Math.max(most, exactResidual), 0);
      print(`${printable(name)} ${solved ? 'reached' : 'not reached'} ${significant(worst)}`);
    }
  } else showSolves(solves, view);
}

async function writeVectors(path: string, solves: readonly Solve[], inspect: Inspector, job: Job): Promise<void> {
  const { goal, model, options } = job;
  const { width } = model.config;
  const free = goal.from === 0 ? goal.prefix.length : 0;
  const before = inspect.prefixRows(goal.from === 0 ? goal.prefix : new Uint32Array());
  const records = solves.map(({ findings }) => ({
    inputs: joined(
      before.rows,
      findings.map(({ vector }) => vector),
      width,
    ),
    targets: joined(
      before.states,
      findings.map(({ target }) => Float32Array.from(target)),
      width,
    ),
  }));
  await writeFileAtomic(path, encodeVectors(records, { ...goal, width, free, model: await model.digest() }));
  if (isChatty(options)) note(`${printable(path)}: the vectors, and the states they are to give.`);
}

function joined(first: Float32Array, rows: readonly Float32Array[], width: number): Float32Array {
  const all = new Float32Array(first.length + rows.length * width);
  all.set(first);
  rows.forEach((row, i) => {
    all.set(row, first.length + i * width);
  });
  return all;
}
