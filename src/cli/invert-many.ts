import { PreimageError } from '../errors.ts';
import type { LoadedModel } from '../model/load.ts';
import { invertMany } from '../sipit/invert.ts';
import type { Inversion, InvertOptions, StateRecord } from '../sipit/types.ts';
import { showError } from './failure.ts';
import type { Entry } from './inputs.ts';
import type { LensProgress } from './lens-progress.ts';
import { recoveredText } from './live.ts';
import { newTally, progressOf, recordHeader, recordLines, summaryOf } from './many-view.ts';
import type { Place } from './place.ts';
import { errorLine, type RunSettings, resultLine } from './result-line.ts';
import type { ResultsFile } from './results-file.ts';
import { EXIT, isChatty } from './session.ts';
import { note, print, printJson } from './terminal.ts';
import { printable, quoted } from './text.ts';

/** Many records to invert. */
export interface ManyJob {
  /** Those that are not done yet. */
  readonly entries: AsyncGenerator<Entry>;
  /** Share of the input that was done before. */
  readonly skippedShare: number;
  /** How many entries there are, where that is known before they are read. */
  readonly total: number | undefined;
  /** A shard may hold nothing. */
  readonly mayBeEmpty: boolean;
  readonly run: RunSettings;
  readonly invert: Omit<InvertOptions, 'onPosition' | 'onCandidates' | 'lens' | 'signal'>;
  readonly results: ResultsFile;
  readonly output: string | undefined;
  readonly lens: LensProgress;
  readonly place: Place;
  readonly show: { readonly json?: boolean; readonly quiet?: boolean };
  /** Called with each result. */
  readonly onInversion?: (entry: Entry, inversion: Inversion) => void;
}

/**
 * Inverts records side by side; a line for each, in their order. What cannot be inverted is reported, and the others
 * are inverted all the same.
 */
export async function invertEntries(model: LoadedModel, job: ManyJob, signal: AbortSignal): Promise<number> {
  const { entries, run, invert, results, output, lens, place, show } = job;
  const tally = newTally(results, job.total);
  const progress = progressOf(tally, job.skippedShare, isChatty(show));
  const failed: { readonly entry: Entry; readonly error: PreimageError }[] = [];
  const given: Entry[] = []; // to the inverter, with no result yet

  /** Records up to the next that cannot be had: it is reported in its place, behind those before it. */
  async function* records(): AsyncGenerator<StateRecord> {
    for (let step = await entries.next(); !step.done; step = await entries.next()) {
      const entry = step.value;
      progress.show();
      let record: StateRecord;
      try {
        record = await place(entry);
      } catch (error) {
        if (!(error instanceof PreimageError)) throw error;
        failed.push({ entry, error });
        return;
      }
      tally.layers.add(record.layer);
      given.push(entry);
      yield record;
    }
  }
  const errors = new WeakSet<PreimageError>(); // one may stand for all records of a file
  async function tell(entry: Entry, { inversion, error }: { inversion?: Inversion; error?: PreimageError }) {
    lens.end();
    progress.clear();
    tally.add(inversion);
    const line = inversion ? resultLine(entry, run, inversion, signal.aborted) : errorLine(entry, run, error!);
    // First to the user: what cannot be saved is not lost.
    if (show.json) printJson(line);
    else if (error) {
      if (!errors.has(error)) showError(new Error(named(entry, error.message)));
      errors.add(error);
    } else if (show.quiet) print(quoted(recoveredText(inversion!)));
    else {
      if (tally.inverted === 1) print(recordHeader());
      print(recordLines(entry, inversion!, signal.aborted));
    }
    if (inversion) job.onInversion?.(entry, inversion);
    await results.append(line);
    progress.did(entry);
  }

  try {
    for (let isMore = true; isMore && !signal.aborted; ) {
      for await (const { inversion, error } of invertMany(model, records(), { ...invert, lens: lens.lens, signal })) {
        await tell(given.shift()!, { inversion, error });
      }
      const bad = failed.pop();
      if (bad && !signal.aborted) await tell(bad.entry, bad);
      isMore = bad !== undefined;
    }
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
  } finally {
    lens.end();
    progress.clear();
  }
  if (isChatty(show)) print(summaryOf(tally, model, progress.seconds(), signal.aborted));
  if (signal.aborted && output !== undefined) {
    note(`What is done is in ${printable(output)}; the same command with --resume goes on from there.`);
  }
  if (tally.bad > 0 || (tally.done === 0 && !job.mayBeEmpty && !signal.aborted)) return EXIT.badInput;
  return tally.exact === tally.done ? EXIT.done : EXIT.negative;
}

const named = ({ label }: Entry, message: string): string =>
  message.startsWith(label) ? message : `${label}: ${message}`;
