import type { Checkpoint, TensorInfo } from '../io/checkpoint.ts';
import { readName, type Told, type ToldLayer } from './foreign-names.ts';
import { type FinalNorm, isAfterNorm } from './foreign-norm.ts';
import { type RowTable, type RowTables, rowTable } from './foreign-padding.ts';
import type { StateRecord } from './types.ts';

/** States of one layer at every position of one or more prompts, [B, T, d]: a tensor or a part of one. */
export interface Slab {
  /** As messages call it: `hidden_states.3`, or `hidden_states[3]` of a stack of layers. */
  readonly name: string;
  readonly tensor: string;
  readonly dtype: StateRecord['dtype'];
  /** Its first element in the tensor. */
  readonly begin: number;
  readonly batch: number;
  readonly rows: number;
  readonly width: number;
  /** What its name or its place tells; absent where that is nothing. */
  readonly told?: ToldLayer;
}

/** A tensor that is left aside. */
export interface Skipped {
  readonly name: string;
  readonly reason: string;
}

/** What the tensors of a file are. */
export interface Survey {
  /** In the order of the numbers in their names. */
  readonly slabs: readonly Slab[];
  readonly tables: RowTables;
  readonly skipped: readonly Skipped[];
}

/** What a model knows that tells a stack of layers from a batch of prompts. */
export interface ModelFacts {
  /** L */
  readonly layers?: number;
  readonly lnF?: FinalNorm;
}

const byNumber = new Intl.Collator('en', { numeric: true });
const FLOATS: readonly string[] = ['F64', 'F32', 'F16', 'BF16'] satisfies StateRecord['dtype'][];
const IDS = /(^|[._/])(input|token|output)_?ids$/i;

/** Sees what each tensor of a file is, by its name and shape; of [n, T, d], by its numbers. */
export async function survey(file: Checkpoint, facts: ModelFacts): Promise<Survey> {
  const slabs: Slab[] = [];
  const skipped: Skipped[] = [];
  const masks: RowTable[] = [];
  const positions: RowTable[] = [];
  const others: string[] = [];
  for (const [name, info] of [...file.tensors].sort(([a], [b]) => byNumber.compare(a, b))) {
    const table = rowTable(name, info);
    if (table) (table.kind === 'mask' ? masks : positions).push(table);
    else others.push(name);
  }
  for (const name of others) {
    const told = readName(name);
    const reason = reasonAgainst(name, file.tensors.get(name)!, told);
    if (reason !== undefined) skipped.push({ name, reason });
    else slabs.push(...(await slabsOf(file, name, told as ToldLayer | undefined, { masks, facts })));
  }
  return { slabs, tables: { masks, positions }, skipped };
}

function reasonAgainst(name: string, { dtype, shape }: TensorInfo, told: Told): string | undefined {
  if (IDS.test(name)) return 'it holds token ids, which an inversion does not look at';
  if (!FLOATS.includes(dtype)) return `it holds ${dtype}, not floats`;
  if (told && 'refused' in told) return told.refused;
  const most = told ? 3 : 4;
  if (shape.length < 2 || shape.length > most) {
    return `its shape is [${shape}], not [T, d], [B, T, d]${told ? '' : ' or [layers, B, T, d]'}`;
  }
  return shape.includes(0) ? `its shape is [${shape}]: it is empty` : undefined;
}

async function slabsOf(
  file: Checkpoint,
  name: string,
  told: ToldLayer | undefined,
  { masks, facts }: { masks: readonly RowTable[]; facts: ModelFacts },
): Promise<Slab[]> {
  const { dtype, shape } = file.tensors.get(name)!;
  const [width, rows, batch = 1, stack] = shape.toReversed();
  const whole: Slab = { name, tensor: name, dtype: dtype as Slab['dtype'], begin: 0, batch, rows, width, told };
  const layersOf = (count: number, prompts: number): Slab[] =>
    Array.from({ length: count }, (_, layer) => ({
      ...whole,
      name: `${name}[${layer}]`,
      begin: layer * prompts * rows * width,
      batch: prompts,
      told: { layer, convention: 'hidden_states' as const, group: name },
    }));
  if (stack === undefined) {
    const mayBeStack = !told && batch > 1 && !masks.some((mask) => mask.batch === batch);
    if (!mayBeStack) return [whole];
    const layers = layersOf(batch, 1);
    return (await endsAfterNorm(file, layers, facts)) ? layers : [whole];
  }
  const layers = layersOf(stack, batch);
  const isKnown = stack - 1 === facts.layers || (await endsAfterNorm(file, layers, facts));
  if (isKnown || (facts.layers === undefined && facts.lnF === undefined)) return layers;
  // Perhaps some of the layers, perhaps the outputs of all blocks: a number is all that is known.
  return layers.map((slab) => ({ ...slab, told: { ...slab.told!, convention: 'number' as const } }));
}

/** Whether the last of these layers, and not the first, is after the final norm. */
async function endsAfterNorm(file: Checkpoint, layers: readonly Slab[], { lnF }: ModelFacts): Promise<boolean> {
  if (!lnF || layers[0].width !== lnF.weight.length) return false;
  const isAfter = async (slab: Slab) => isAfterNorm(finiteRows(await valuesOf(file, slab), slab.width), lnF);
  return (await isAfter(layers.at(-1)!)) && !(await isAfter(layers[0]));
}

/** Without the rows that padding has made NaN. */
function finiteRows(values: Float32Array, width: number): Float32Array {
  const finite = Array.from({ length: values.length / width }, (_, r) => values.subarray(r * width, (r + 1) * width));
  const kept = finite.filter((row) => row.every(Number.isFinite));
  const rows = new Float32Array(kept.length * width);
  kept.forEach((row, r) => {
    rows.set(row, r * width);
  });
  return rows;
}

/** [B, T, d] of a slab. */
export function valuesOf(file: Checkpoint, { tensor, begin, batch, rows, width }: Slab): Promise<Float32Array> {
  return file.float32(tensor, begin, begin + batch * rows * width);
}
