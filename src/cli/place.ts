import { InputError } from '../errors.ts';
import type { LoadedModel } from '../model/load.ts';
import { placeRecords } from '../sipit/find-layer.ts';
import type { StatesFile } from '../sipit/states-file.ts';
import type { Noise, StateRecord } from '../sipit/types.ts';
import type { Entry } from './inputs.ts';
import type { LensProgress } from './lens-progress.ts';
import { warnOfNoise } from './noise.ts';
import { columns, statusLine } from './terminal.ts';
import { cut } from './text.ts';

/** Gives a record of an entry the layer and the first position that its file leaves open. */
export type Place = (entry: Entry) => Promise<StateRecord>;

/** With what records are placed, and who is told. */
export interface PlaceOptions {
  readonly noise: Noise | undefined;
  readonly lens: LensProgress;
  readonly signal: AbortSignal;
  readonly chatty: boolean;
  readonly tell: (notes: readonly string[]) => void;
}

/** Places the records of a file together, when the first of them is asked for; says what it found. */
export function placer(model: LoadedModel, { noise, lens, signal, chatty, tell }: PlaceOptions): Place {
  const files = new WeakMap<StatesFile, Promise<readonly StateRecord[]>>();
  const layers = new Set<number>();
  const status = statusLine(chatty);

  async function place(states: StatesFile): Promise<readonly StateRecord[]> {
    try {
      const { records, notes } = await placeRecords(model, states, {
        noise,
        lens: lens.lens,
        signal,
        onTrial({ layer }, done, total) {
          lens.end();
          status.show(cut(`  layer ${layer} tried, ${done} of ${total}`, columns() - 1));
        },
      });
      status.clear();
      tell(notes);
      return records;
    } finally {
      lens.end();
      status.clear();
    }
  }
  return async ({ states, index, error }) => {
    if (!states) throw error ?? new InputError('There is no record.', 'Name a file of states.');
    const placed = files.get(states) ?? place(states);
    files.set(states, placed);
    const record = (await placed)[index];
    if (!layers.has(record.layer)) await warnOfNoise(model, record.layer, noise, lens.lens);
    layers.add(record.layer);
    return record;
  };
}
