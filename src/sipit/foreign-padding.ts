import { InputError } from '../errors.ts';
import type { Checkpoint, TensorInfo } from '../io/checkpoint.ts';
import { quote } from '../io/json.ts';

/** A tensor beside the states that says something about each row: attention_mask or position_ids. */
export interface RowTable {
  readonly kind: 'mask' | 'positions';
  readonly name: string;
  /** What stands before it in its name; it is about tensors whose names begin with that. */
  readonly prefix: string;
  readonly batch: number;
  readonly rows: number;
}

/** The tables of a file. */
export interface RowTables {
  readonly masks: readonly RowTable[];
  readonly positions: readonly RowTable[];
}

const MASK = /^(.*?)(?:attention_?)?masks?$/i;
const POSITIONS = /^(.*?)position_?ids?$/i;
const COUNTS: readonly string[] = ['I64', 'I32', 'I16', 'I8', 'U64', 'U32', 'U16', 'U8', 'BOOL'];

/** Sees whether a tensor is a mask or holds position ids: [B, T] or [T], of any type. */
export function rowTable(name: string, { dtype, shape }: TensorInfo): RowTable | undefined {
  if (shape.length === 0 || shape.length > 2) return undefined;
  const [rows, batch = 1] = shape.toReversed();
  const mask = MASK.exec(name);
  // A mask in f32 is one all the same; what it holds is checked.
  if (mask) return { kind: 'mask', name, prefix: mask[1], batch, rows };
  const positions = POSITIONS.exec(name);
  return positions && COUNTS.includes(dtype)
    ? { kind: 'positions', name, prefix: positions[1], batch, rows }
    : undefined;
}

/** The rows [begin, end) of a padded batch that are one prompt. */
export interface Unpadded {
  readonly begin: number;
  readonly end: number;
  /** Position of the first row in the model's position table, where the file tells; else the possible ones. */
  readonly firstPositions: readonly number[];
}

/** A batch of prompts in one tensor, [B, T, d]. */
interface Batch {
  readonly name: string;
  readonly batch: number;
  readonly rows: number;
}

/**
 * Finds the prompts of a padded batch by its attention mask and position ids. Behind left padding and without position
 * ids the first position is open: a plain forward counts the padding, generate() does not.
 *
 * @returns For each prompt its rows, undefined where the mask hides all of them; and the mask, if there is one.
 * @throws InputError for a table of another shape, a mask with holes or with more than 0 and 1, and positions that do
 * not count up.
 */
export async function unpad(
  file: Checkpoint,
  batch: Batch,
  tables: RowTables,
): Promise<{ readonly prompts: readonly (Unpadded | undefined)[]; readonly mask?: RowTable }> {
  const mask = tableFor(batch, tables.masks);
  const positions = tableFor(batch, tables.positions);
  const maskValues = mask && (await file.float64(mask.name));
  const positionValues = positions && (await file.float64(positions.name));
  const prompts = Array.from({ length: batch.batch }, (_, b): Unpadded | undefined => {
    const shown = mask && maskValues!.subarray(b * mask.rows, (b + 1) * mask.rows);
    const span = shown ? spanOf(shown, `${quote(mask.name)}, prompt ${b}`) : { begin: 0, end: batch.rows };
    if (!span) return undefined;
    const { begin, end } = span;
    if (!positions) return { begin, end, firstPositions: begin === 0 ? [0] : [begin, 0] };
    // One row of positions may stand for all prompts.
    const at = positions.batch === 1 ? 0 : b * positions.rows;
    const counted = positionValues!.subarray(at + begin, at + end);
    expectCounting(counted, `${quote(positions.name)}, prompt ${b}`);
    return { begin, end, firstPositions: [counted[0]] };
  });
  return { prompts, mask };
}

/** The table whose prefix fits best. @throws InputError when its shape does not fit. */
function tableFor({ name, batch, rows }: Batch, tables: readonly RowTable[]): RowTable | undefined {
  const [table] = tables
    .filter(({ prefix }) => name.startsWith(prefix))
    .sort((a, b) => b.prefix.length - a.prefix.length);
  if (!table) return undefined;
  const isForAll = table.kind === 'positions' && table.batch === 1;
  if (table.rows === rows && (table.batch === batch || isForAll)) return table;
  throw new InputError(
    `${quote(table.name)} is [${table.batch}, ${table.rows}], but ${quote(name)} holds ${batch} x ${rows} states.`,
    'Save the two of the same batch, or leave the table out of the file.',
  );
}

/** Where a mask's ones begin and end; undefined when there is none. */
function spanOf(mask: Float64Array, what: string): { begin: number; end: number } | undefined {
  const bad = mask.find((value) => value !== 0 && value !== 1);
  if (bad !== undefined) {
    throw new InputError(
      `${what}, holds ${bad}.`,
      'Save the attention mask of the tokenizer: 1 for tokens, 0 for padding.',
    );
  }
  const begin = mask.indexOf(1);
  if (begin < 0) return undefined;
  const end = mask.lastIndexOf(1) + 1;
  const hole = mask.subarray(begin, end).indexOf(0);
  if (hole >= 0) {
    throw new InputError(
      `${what}, hides row ${begin + hole} between rows it shows.`,
      'Only padding before and behind a prompt can be cut off: save the states of prompts without gaps.',
    );
  }
  return { begin, end };
}

function expectCounting(positions: Float64Array, what: string): void {
  const [first] = positions;
  const bad = positions.findIndex((value, i) => value !== first + i || value < 0);
  if (bad < 0) return;
  throw new InputError(
    `${what}, gives row ${bad} of the prompt position ${positions[bad]}${bad > 0 ? ` after ${positions[bad - 1]}` : ''}.`,
    'Save the states of prompts whose positions count up by one, and the mask that shows which rows are theirs.',
  );
}
