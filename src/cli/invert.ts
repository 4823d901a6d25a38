import { type Command, Option } from 'commander';
import type { Shard } from '../injectivity/tiles.ts';
import type { LoadedModel } from '../model/load.ts';
import { warmUp } from '../model/warm-up.ts';
import { centred } from '../sipit/foreign-centred.ts';
import { invert } from '../sipit/invert.ts';
import type { NamedInversion } from '../sipit/report.ts';
import type { StatesFile } from '../sipit/states-file.ts';
import type { Inversion, InvertOptions, PolicyName, StateRecord } from '../sipit/types.ts';
import { warmUpInverter } from '../sipit/warm-up.ts';
import { fileWarnings, noteTeller } from './file-notes.ts';
import {
  type Entry,
  entriesOf,
  inputFiles,
  inputsDigest,
  readingOptions,
  readStatesFile,
  shardOption,
  shardText,
} from './inputs.ts';
import { invertEntries, type ManyJob } from './invert-many.ts';
import { addInvertMerge } from './invert-merge.ts';
import { type LensProgress, lensProgress } from './lens-progress.ts';
import { liveView, recoveredText, summary } from './live.ts';
import { type NoiseOptions, noiseOf, noiseOptions } from './noise.ts';
import { type SharedOptions, sharedOptions, wholeNumber } from './options.ts';
import { checkOutputs } from './output.ts';
import { placer } from './place.ts';
import { writeReport } from './report.ts';
import { type RunSettings, resultLine } from './result-line.ts';
import { newResults, resumedResults } from './results-file.ts';
import { checkResume, skipDone } from './resume.ts';
import { EXIT, interruptible, isChatty, withFiles, withLoaded } from './session.ts';
import { print, printJson } from './terminal.ts';

interface Options extends SharedOptions, NoiseOptions {
  readonly layer?: number | 'auto';
  readonly policy: PolicyName;
  readonly prove?: boolean;
  readonly batch?: number;
  readonly output?: string;
  readonly resume?: boolean;
  readonly shard?: Shard;
  readonly report?: string;
  readonly force?: boolean;
}

/** Adds `preimage invert`. */
export function addInvert(program: Command): void {
  const command = program
    .command('invert')
    .description('recover the text, token by token, from hidden states')
    .argument('<states...>', 'safetensors files of tensors [T, d] of one layer, or folders of them')
    .option('--layer <n>', 'layer of the states, where the file does not say; auto finds it', layerOrAuto)
    .addOption(
      new Option('--policy <name>', 'how tokens are proposed: all but the first go position by position')
        .choices(['speculative', 'likely-first', 'random', 'gradient', 'exhaustive'])
        .default('speculative'),
    )
    .option('--prove', 'try the whole vocabulary at every position: margins are then true minima')
    .option('--batch <n>', 'most candidates at once', wholeNumber(1));
  noiseOptions(command)
    .option('-o, --output <file>', 'also write the results as JSON, a line for each record')
    .option('--resume', 'go on with the file of results that a run left')
    .option('--report <file>', 'also write a page of HTML with the results')
    .option('--force', 'overwrite files that exist');
  sharedOptions(shardOption(command, 'only the records whose number leaves rest i when divided by n, for "merge"'))
    .addHelpText('after', EXAMPLES)
    .action(async (paths: string[], options: Options) => {
      process.exitCode = await invertPaths(paths, options);
    });
  addInvertMerge(command);
}

const EXAMPLES = `
Exits with 0 if every text was recovered exactly, 1 if not, 2 for bad input.
The first inversion of a layer fits a lens to the model, and keeps it.

Examples:
  preimage states "Nobody knows this sentence." --layer 4 -o s.safetensors
  preimage invert s.safetensors
  preimage invert from-python.safetensors --layer 6 --dtype-noise bf16 --prove
  preimage invert states/ -o texts.jsonl --resume
  preimage invert states/ -o texts.0.jsonl --shard 0/8
  preimage invert merge texts.*.jsonl -o texts.jsonl`;

const layerOrAuto = (text: string): number | 'auto' => (text === 'auto' ? text : wholeNumber(0)(text));

async function invertPaths(paths: readonly string[], options: Options): Promise<number> {
  const { policy, batch, prove, layer, shard, output, report, resume, force } = options;
  checkResume(options);
  const noise = noiseOf(options);
  const files = await inputFiles(paths);
  const inputs = files.map(({ path }) => path);
  if (output !== undefined) await checkOutputs([output], inputs, force || resume);
  if (report !== undefined) {
    await checkOutputs([report], output === undefined ? inputs : [...inputs, output], force || resume);
  }
  return withFiles(options, async (modelOnDisk) => {
    const reading = await readingOptions(modelOnDisk, layer);
    // One file is read now: if it is bad, no time is lost on the adapter.
    const only = files.length === 1 ? await readStatesFile(inputs[0], reading) : undefined;
    // Exports of one kind lie together: the first file tells whether the model that made them was centred.
    const { isCentred } = only ?? (await readStatesFile(inputs[0], reading));
    const part = shard && { shard: shardText(shard), inputs: inputsDigest(files) };
    const run: RunSettings = { model: await modelOnDisk.digest(), policy, noise, prove, layer, ...part };
    const results = resume ? await resumedResults(output!, run, report !== undefined) : newResults(output);
    const tell = noteTeller(options.quiet);
    const warnOf = fileWarnings(modelOnDisk.name, run.model);
    const entries = entriesOf(files, {
      shard,
      read: async (path) => only ?? readStatesFile(path, reading),
      onFile(states) {
        warnOf(states);
        tell(states.notes);
      },
    });
    const found: NamedInversion[] = [];
    const onInversion = (entry: Entry, inversion: Inversion) => {
      if (report !== undefined) found.push({ name: entry.label, inversion });
    };
    const skippedShare = await skipDone(entries, results, output, (entry, { inversion }) => {
      if (inversion) onInversion(entry, inversion);
    });
    const work = async (model: LoadedModel, signal: AbortSignal): Promise<number> => {
      const lens = lensProgress(options, signal);
      const job: Job = {
        run,
        results,
        lens,
        place: placer(model, { noise, lens, signal, chatty: isChatty(options), tell }),
        show: options,
        invert: { policy, batch, prove, noise },
        onInversion,
      };
      const isSingle = only?.records.length === 1 && !shard && !resume;
      const code = isSingle
        ? await invertOne(model, (await entries.next()).value as Entry, job, signal)
        : await invertEntries(
            model,
            { ...job, entries, skippedShare, total: countOf(only, shard), mayBeEmpty: shard !== undefined, output },
            signal,
          );
      if (report !== undefined) await writeReport(report, found, model);
      return code;
    };
    const watched = (model: LoadedModel) =>
      interruptible((signal) => work(model, signal), output === undefined ? 'stop' : 'go on');
    const warm = policy === 'speculative' ? warmUpInverter : warmUp;
    return withLoaded(options, isCentred ? centred(modelOnDisk) : modelOnDisk, watched, warm).finally(results.close);
  });
}

/** Records of the only file that are in the shard. */
const countOf = (only: StatesFile | undefined, { index, count }: Shard = { index: 0, count: 1 }) =>
  only && Math.ceil((only.records.length - index) / count);

/** What every record is inverted with, and where the results go. */
type Job = Omit<ManyJob, 'entries' | 'skippedShare' | 'total' | 'mayBeEmpty' | 'output'>;

async function invertOne(
  model: LoadedModel,
  entry: Entry,
  { run, results, lens, place, show, invert, onInversion }: Job,
  signal: AbortSignal,
): Promise<number> {
  const options = { ...invert, signal };
  const record = await place(entry);
  const result = await watchInversion(model, record, options, lens, isChatty(show));
  const line = resultLine(entry, run, result, signal.aborted);
  // First to the user: what cannot be saved is not lost.
  if (show.json) printJson(line);
  else if (show.quiet) print(recoveredText(result));
  await results.append(line);
  onInversion?.(entry, result);
  return result.exact ? EXIT.done : EXIT.negative;
}

/** Inverts one record, position by position before the user's eyes if `live`. */
export async function watchInversion(
  model: LoadedModel,
  record: StateRecord,
  options: InvertOptions & { readonly signal: AbortSignal },
  lens: LensProgress,
  live: boolean,
): Promise<Inversion> {
  const all = { ...options, lens: lens.lens };
  if (!live) return invert(model, record, all).finally(lens.end);
  const view = liveView(model, record.values.length / record.width, options.prove ?? false);
  try {
    const result = await invert(model, record, {
      ...all,
      onPosition(position) {
        lens.end();
        view.onPosition(position);
      },
      onCandidates(...news) {
        lens.end();
        view.onCandidates(...news);
      },
    });
    view.end(result);
    print(summary(result, model, options.signal.aborted));
    return result;
  } finally {
    lens.end();
    view.clear();
  }
}
