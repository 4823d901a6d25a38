import { FormatError, InputError } from '../errors.ts';
import type { Checkpoint } from '../io/checkpoint.ts';
import { quote } from '../io/json.ts';
import { encodeSafetensors } from '../io/safetensors-writer.ts';
import { isCentred } from './foreign-centred.ts';
import { chooseLayer, type ToldSlab } from './foreign-choice.ts';
import { AFTER_NORM, BEFORE_NORM, isAfterNorm } from './foreign-norm.ts';
import { type RowTables, unpad } from './foreign-padding.ts';
import { type ModelFacts, type Skipped, type Slab, survey, valuesOf } from './foreign-tensors.ts';
import type { StateRecord } from './types.ts';

/**
 * Writes states as safetensors: `states` for one record, `states.0`, `states.1`, ... for more; metadata `layer` and
 * `model` (the digest of the weights). No token ids: the file holds nothing but what an inversion may use.
 *
 * @param records All of one layer; their dtype says how they are stored.
 * @throws InputError when the records are of several layers, or none.
 */
export function encodeStates(records: readonly StateRecord[]): Uint8Array<ArrayBuffer> {
  const [first] = records;
  if (!first || records.some(({ layer, model }) => layer !== first.layer || model !== first.model)) {
    throw new InputError(
      'A states file holds one or more records of one layer of one model.',
      'Write a file for each layer.',
    );
  }
  const tensors = records.map(({ values, width, dtype }, i) => ({
    name: records.length === 1 ? 'states' : `states.${i}`,
    dtype,
    shape: [values.length / width, width],
    data: dtype === 'F64' ? Float64Array.from(values) : values,
  }));
  return encodeSafetensors(tensors, { layer: String(first.layer), ...(first.model && { model: first.model }) });
}

/** Choices where a file leaves them open, and what is known of the model. */
export interface ReadStatesOptions extends ModelFacts {
  /** Which layer; takes the place of the metadata `layer`. `auto`: what the file does not tell is left to a search. */
  readonly layer?: number | 'auto';
}

/** A record as its file tells of it. What the file leaves open, `placeRecords` finds out with the model. */
export interface FileRecord extends Omit<StateRecord, 'layer'> {
  /** Absent only where `layer: 'auto'` was asked for and the file does not tell. */
  readonly layer?: number;
  /** Where the file leaves it open: what `firstPosition` may be. It is the first of them, the likeliest. */
  readonly firstPositions?: readonly number[];
}

/** The records of a states file, and what else it holds. */
export interface StatesFile<R = FileRecord> {
  readonly records: readonly R[];
  /** Tensors and prompts that are no records, and why. */
  readonly skipped: readonly Skipped[];
  /** What was recognised and assumed, in sentences for the user. */
  readonly notes: readonly string[];
  /** The states are of a model without means, as TransformerLens makes it: load `centred` of its files to invert. */
  readonly isCentred: boolean;
}

/**
 * Reads every record of a states file: ours, or one of other software. Records come in the order of the numbers in
 * the tensors' names, then of the batch.
 *
 *   - Float tensors [T, d] or [B, T, d] under any names, of one layer. Where they differ in width, the model's is
 *     taken, else that of the largest.
 *   - Layers by name: transformers' `hidden_states.3`, `layer_3`, one stack [layers, B, T, d]; TransformerLens'
 *     `blocks.2.hook_resid_post`; modules' `transformer.h.2.output`. The states after the final norm that transformers
 *     puts last are told by their numbers, and refused.
 *   - Batches, padded on either side, with `attention_mask` and `position_ids` beside them: a record `name[b]` each.
 *
 * @throws InputError when the layer is neither in the file nor given, or several are; when tensors contradict each
 * other; for states after the final norm. FormatError when there are no states.
 */
export async function readStates(
  file: Checkpoint,
  options?: ReadStatesOptions & { readonly layer?: number },
): Promise<StatesFile<FileRecord & StateRecord>>;
export async function readStates(file: Checkpoint, options: ReadStatesOptions): Promise<StatesFile>;
export async function readStates(file: Checkpoint, options: ReadStatesOptions = {}): Promise<StatesFile> {
  const { lnF, layers } = options;
  const { slabs: all, tables, skipped: others } = await survey(file, options);
  const skipped = [...others];
  const notes: string[] = [];
  const ofWidth = slabsOfOneWidth(all, lnF?.weight.length, skipped);
  if (ofWidth.length === 0) throw noStates(file, skipped);

  const read = (slab: Slab) => recordsOf(file, slab, tables);
  const isNormed = ({ values }: FileRecord) => lnF !== undefined && isAfterNorm(values, lnF);
  const told = ofWidth.filter((slab): slab is ToldSlab => slab.told !== undefined);
  let layer: number | undefined;
  let slabs: readonly Slab[] = ofWidth;
  if (told.length > 0) {
    for (const { name, told } of ofWidth)
      if (!told) skipped.push({ name, reason: "its name tells no layer, others' do" });
    const choice = await chooseLayer(file.name, told, {
      layer: options.layer,
      saved: savedLayer(file),
      layers,
      isAfterNorm: async (slab) => (await read(slab)).records.some(isNormed),
    });
    ({ slabs, layer } = choice);
    notes.push(...choice.notes);
  } else {
    layer = typeof options.layer === 'number' ? options.layer : savedLayer(file);
    if (layer === undefined && options.layer !== 'auto') throw unknownLayer(file);
  }

  const { records, ...found } = await gather(slabs, read);
  skipped.push(...found.skipped);
  notes.push(...found.notes);
  if (records.length === 0) throw noStates(file, skipped);
  const normed = records.filter(isNormed);
  if (normed.length === records.length) {
    throw new InputError(`${quote(records[0].name!)} in ${file.name}: ${AFTER_NORM}.`, BEFORE_NORM);
  }
  for (const { name } of normed) skipped.push({ name: name!, reason: AFTER_NORM });
  const model = file.metadata.get('model');
  // One row may have no mean by chance.
  const isCentredAll =
    records.some(({ values, width }) => values.length > width) &&
    records.every(({ values, width }) => isCentred(values, width));
  if (isCentredAll) notes.push(CENTRED);
  const good = records.filter((record) => !normed.includes(record));
  return {
    records: good.map((record) => ({
      ...record,
      ...(layer !== undefined && { layer }),
      ...(model !== undefined && { model }),
    })),
    skipped,
    notes: [...new Set(notes)],
    isCentred: isCentredAll,
  };
}

const CENTRED =
  'Every row has mean 0, as TransformerLens makes them by default (center_writing_weights): these are states of the ' +
  'model centred in the same way, not of the model as published, which from_pretrained_no_processing loads.';

/** Those of the model's width if there are any, else of the largest's; the others are skipped. */
function slabsOfOneWidth(slabs: readonly Slab[], wanted: number | undefined, skipped: Skipped[]): Slab[] {
  const size = ({ batch, rows, width }: Slab) => batch * rows * width;
  const [largest] = slabs.toSorted((a, b) => size(b) - size(a));
  const model = slabs.find(({ width }) => width === wanted) ?? largest;
  return slabs.filter(({ name, width }) => {
    if (width === model.width) return true;
    skipped.push({ name, reason: `its rows have ${width} values, those of ${model.name} ${model.width}` });
    return false;
  });
}

/** What a slab holds. */
interface SlabRecords {
  readonly records: readonly FileRecord[];
  readonly skipped: readonly Skipped[];
  readonly note?: string;
}

/** The records of all slabs; of those that tell the same states twice, once. @throws InputError when they differ. */
async function gather(
  slabs: readonly Slab[],
  read: (slab: Slab) => Promise<SlabRecords>,
): Promise<{ records: FileRecord[]; skipped: Skipped[]; notes: string[] }> {
  const records: FileRecord[] = [];
  const skipped: Skipped[] = [];
  const notes: string[] = [];
  const first = new Map<string, { readonly name: string; readonly records: readonly FileRecord[] }>(); // by group
  for (const slab of slabs) {
    const { name, told } = slab;
    const found = await read(slab);
    skipped.push(...found.skipped);
    const twin = told && first.get(told.group);
    if (twin) {
      expectSame(name, found.records, twin.name, twin.records);
      skipped.push({ name, reason: `it holds the same states as ${twin.name}` });
      continue;
    }
    if (told) first.set(told.group, { name, records: found.records });
    records.push(...found.records);
    if (found.note) notes.push(found.note);
  }
  return { records, skipped, notes };
}

/** The prompts of a slab: all its rows, or those that its mask shows. */
async function recordsOf(file: Checkpoint, slab: Slab, tables: RowTables): Promise<SlabRecords> {
  const { name, dtype, batch, rows, width } = slab;
  const { prompts, mask } = await unpad(file, slab, tables);
  const values = await valuesOf(file, slab);
  const records: FileRecord[] = [];
  const skipped: Skipped[] = [];
  prompts.forEach((prompt, b) => {
    const record = batch === 1 ? name : `${name}[${b}]`;
    if (!prompt) {
      skipped.push({ name: record, reason: `${mask!.name} hides all of its rows` });
      return;
    }
    const { begin, end, firstPositions } = prompt;
    const [firstPosition] = firstPositions;
    records.push({
      name: record,
      dtype,
      width,
      values: values.slice((b * rows + begin) * width, (b * rows + end) * width),
      ...(firstPosition > 0 && { firstPosition }),
      ...(firstPositions.length > 1 && { firstPositions }),
    });
  });
  return { records, skipped, note: noteOn(slab, prompts, mask?.name, records) };
}

function noteOn(
  { name, batch, rows }: Slab,
  prompts: Awaited<ReturnType<typeof unpad>>['prompts'],
  mask: string | undefined,
  records: readonly FileRecord[],
): string | undefined {
  if (mask === undefined) {
    if (batch === 1) return undefined;
    return `${quote(name)} is taken as ${batch} prompts of ${rows} tokens: no attention_mask beside it tells of padding.`;
  }
  const left = prompts.some((prompt) => prompt && prompt.begin > 0);
  const right = prompts.some((prompt) => prompt && prompt.end < rows);
  if (!left && !right) return undefined;
  const sides = [left && 'left', right && 'right'].filter(Boolean).join(' and the ');
  const isOpen = records.some(({ firstPositions }) => firstPositions);
  const open = isOpen
    ? ' Whether positions count the padding is not told: a plain forward does, generate() does not.'
    : '';
  return `${quote(mask)} shows padding on the ${sides}, which is cut off.${open}`;
}

/** @throws InputError unless two tensors that tell the same layer hold the same states. */
function expectSame(
  name: string,
  records: readonly FileRecord[],
  otherName: string,
  others: readonly FileRecord[],
): void {
  const isSame =
    records.length === others.length &&
    records.every(({ values }, r) => {
      const other = others[r].values;
      // Enough for one of them in bf16.
      const near = (value: number, i: number) =>
        Math.abs(value - other[i]) <= 2 ** -8 * Math.abs(other[i]) || value === other[i];
      return values.length === other.length && values.every(near);
    });
  if (isSame) return;
  throw new InputError(
    `${quote(name)} and ${quote(otherName)} are named as states of one layer, but differ.`,
    'Save only one of them, or name them after what they are.',
  );
}

function savedLayer(file: Checkpoint): number | undefined {
  const text = file.metadata.get('layer');
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

function noStates(file: Checkpoint, skipped: readonly Skipped[]): FormatError {
  const some = skipped.slice(0, 5).map(({ name, reason }) => `; ${quote(name)}: ${reason}`);
  return new FormatError(
    `${file.name} holds no states${some.join('')}.`,
    'Save the residual states of one layer as one float tensor [T, d], one row for each position.',
  );
}

function unknownLayer(file: Checkpoint): InputError {
  const text = file.metadata.get('layer');
  return new InputError(
    `${file.name} does not say which layer its states are of${text === undefined ? '' : ` (${quote(text)})`}.`,
    'Pass --layer N (0 = embedding, L = after the last block, before the final LayerNorm), or --layer auto to try them all.',
  );
}
