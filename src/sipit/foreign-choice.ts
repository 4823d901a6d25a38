import { InputError } from '../errors.ts';
import { quote } from '../io/json.ts';
import type { ToldLayer } from './foreign-names.ts';
import { AFTER_NORM, BEFORE_NORM } from './foreign-norm.ts';
import type { Slab } from './foreign-tensors.ts';

/** A slab whose name tells a layer. */
export type ToldSlab = Slab & { readonly told: ToldLayer };

/** What is inverted of a file that holds several layers. */
export interface Choice {
  readonly slabs: readonly ToldSlab[];
  /** Absent where only a search can tell. */
  readonly layer?: number;
  /** Why this one, in sentences. */
  readonly notes: readonly string[];
}

/** What decides. */
export interface ChoiceOptions {
  /** The caller's choice. */
  readonly layer?: number | 'auto';
  /** The file's metadata `layer`. */
  readonly saved?: number;
  /** L of the model, if known. */
  readonly layers?: number;
  readonly isAfterNorm: (slab: Slab) => Promise<boolean>;
}

/**
 * Picks the layer to invert among those that names tell: the caller's, the metadata's, or the only one that can be
 * inverted. With `auto`, the middle one.
 *
 * @param file Its name, for messages.
 * @throws InputError when the choice is open, when what is asked for is not there, and for layers beyond the model's.
 */
export async function chooseLayer(
  file: string,
  slabs: readonly ToldSlab[],
  { layer: asked, saved, layers, isAfterNorm }: ChoiceOptions,
): Promise<Choice> {
  const held = [...new Set(slabs.map(({ told }) => told.layer))].sort((a, b) => a - b);
  const isMereNumber = held.length === 1 && slabs.every(({ told }) => told.convention === 'number');
  const [first] = slabs;
  if (isMereNumber && (asked === 'auto' || (asked ?? saved ?? held[0]) !== held[0])) {
    const layer = asked === 'auto' ? undefined : (asked ?? saved);
    const chosen = layer === undefined ? 'which layer that is will be tried' : `it is taken as layer ${layer}`;
    return { slabs, layer, notes: [`The name ${quote(first.name)} does not say who counts: ${chosen}.`] };
  }
  const deepest = slabs.find(({ told }) => layers !== undefined && told.layer > layers);
  if (deepest) {
    throw new InputError(
      `${quote(deepest.name)} in ${file} is the state of layer ${deepest.told.layer}; the model has ${layers}.`,
      'Pass the model that made the states (--model); if names count in another way, pass --layer auto with one tensor.',
    );
  }

  const last = held.at(-1)!;
  const ofLast = slabs.filter(({ told }) => told.layer === last);
  const normed = (await Promise.all(ofLast.map(isAfterNorm))).some(Boolean);
  const open = normed ? held.slice(0, -1) : held;
  const wanted = typeof asked === 'number' ? asked : saved;
  const notes = [describe(slabs, { last, normed })];
  const take = (layer: number): Choice => ({
    slabs: slabs.filter(({ told }) => told.layer === layer),
    layer: asked === 'auto' && slabs.every(({ told }) => told.convention === 'number') ? undefined : layer,
    notes,
  });
  if (normed && (wanted === last || open.length === 0)) {
    throw new InputError(`${quote(ofLast[0].name)} in ${file}: ${AFTER_NORM}.`, BEFORE_NORM);
  }
  if (wanted !== undefined) {
    if (held.includes(wanted)) return take(wanted);
    const holds = `${file} holds ${listed(open, last, normed)}`;
    throw new InputError(
      asked === wanted ? `${holds}, not ${wanted}.` : `${holds}, but its metadata says layer ${wanted}.`,
      asked === wanted
        ? 'Pick one of them (--layer).'
        : 'Pick one of them (--layer), or save the file without the other.',
    );
  }
  if (open.length === 1) return take(open[0]);
  const middle = open[open.length >> 1];
  if (asked === 'auto') {
    notes.push(`Of ${listed(open, last, normed)}, ${middle} is taken; --layer picks another.`);
    return take(middle);
  }
  throw new InputError(
    `${file} holds ${listed(open, last, normed)}.`,
    `Pick one with --layer; a middle one is a good choice: --layer ${middle}.`,
  );
}

/** Who counts, in a sentence. */
function describe(slabs: readonly ToldSlab[], { last, normed }: { last: number; normed: boolean }): string {
  const [{ name, told }] = slabs;
  const conventions = {
    hidden_states: 'as transformers counts them in output_hidden_states: entry k is layer k, the input of block k',
    hooks: 'as hooks name blocks: what comes out of block N is layer N + 1, what goes into it layer N',
    number: 'taken as layers: 0 is the embedding, N what comes out of the first N blocks; --layer auto tries them all',
  } as const;
  const what = slabs.length === 1 ? `${quote(name)} is` : `${quote(name)} and ${slabs.length - 1} more are`;
  const after = normed ? `; ${last} is after the final LayerNorm, and is not inverted` : '';
  return `${what} named ${conventions[told.convention]}${after}.`;
}

/** "layers 0 to 5, and 6 after the final LayerNorm" */
function listed(open: readonly number[], last: number, normed: boolean): string {
  const isRun = open.length > 2 && open.every((layer, i) => layer === open[0] + i);
  const all = isRun ? `${open[0]} to ${open.at(-1)}` : open.join(', ').replace(/, (\d+)$/, ' and $1');
  return `${open.length === 1 ? 'layer' : 'layers'} ${all}${normed ? ` (and ${last}, after the final LayerNorm)` : ''}`;
}
