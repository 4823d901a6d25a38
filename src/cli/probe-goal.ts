import { InputError } from '../errors.ts';
import { type ModelFiles, requireTokenizer } from '../model/load.ts';
import { checkTokens } from '../model/model.ts';
import { checkTask } from '../probe/probe.ts';
import type { Vector } from '../probe/requests.ts';
import type { Span } from '../probe/signs.ts';
import { noteTeller } from './file-notes.ts';
import { readingOptions, readStatesFile } from './inputs.ts';
import { counted } from './text.ts';

/** Which part of the model is probed. */
export type BlockName = 'stack' | 'block' | 'attn' | 'mlp';

/** The options that say what to reach, and where. */
export interface GoalOptions {
  readonly target?: string;
  readonly targetIds?: number[];
  readonly targetState?: string;
  readonly at?: number;
  readonly afterNorm?: boolean;
  readonly random?: number;
  readonly prefix?: string;
  readonly prefixIds?: number[];
  readonly layer?: number;
  readonly block: BlockName;
  readonly margin?: number;
  readonly quiet?: boolean;
}

/** Targets that one run of free vectors is to reach. */
export interface GoalTask {
  readonly name: string;
  readonly targets: readonly Vector[];
}

/** What is to be reached, and where. */
export interface Goal extends Span {
  readonly prefix: Uint32Array;
  readonly what:
    | { readonly kind: 'text'; readonly text: Uint32Array }
    | { readonly kind: 'random'; readonly count: number }
    | { readonly kind: 'states'; readonly tasks: readonly GoalTask[]; readonly afterNorm: boolean };
}

/**
 * Reads what is to be reached, before any adapter is asked for.
 * @throws InputError unless it is one thing that the model can take; what `readStates` throws.
 */
export async function goalOf(files: ModelFiles, options: GoalOptions): Promise<Goal> {
  const { target, targetIds, targetState, random, block } = options;
  const given = [target, targetIds, targetState, random].filter((one) => one !== undefined).length;
  if (given !== 1) {
    throw new InputError(
      given === 0 ? 'There is no target.' : `There are ${given} targets.`,
      'Give one of --target "text", --target-ids, --target-state file.safetensors and --random N.',
    );
  }
  for (const [name, value] of Object.entries({ '--at': options.at, '--after-norm': options.afterNorm })) {
    if (value !== undefined && targetState === undefined)
      throw new InputError(`${name} is of no use here.`, 'It goes with --target-state.');
  }
  const prefix = prefixOf(files, options);
  if (targetState !== undefined) return stateGoal(files, targetState, prefix, options);
  const { layers, contextLength } = files.config;
  const span = spanOf(block, options.layer ?? layers, layers);
  const isText = random === undefined;
  if (options.margin !== undefined && !isText)
    throw new InputError('--margin is of no use here.', 'It goes with --target.');
  if (options.margin !== undefined && !(options.margin > 0))
    throw new InputError(`A margin of ${options.margin} forces nothing.`, 'Give one above 0, in logits.');
  if (!isText) {
    checkRoom(prefix.length, 1, contextLength);
    return { ...span, prefix, what: { kind: 'random', count: random } };
  }
  if (span.from > 0 || span.layer < layers) {
    throw new InputError(
      'A text is forced at the input of the whole model, for what its last layer says.',
      'Leave out --layer and --block, or give a state or --random as the target.',
    );
  }
  const text = Uint32Array.from(targetIds ?? requireTokenizer(files).encode(target!));
  if (text.length === 0) throw new InputError('The text to force is empty.', 'Give at least one token.');
  checkTokens(files.config, text);
  checkRoom(prefix.length, text.length, contextLength);
  return { ...span, prefix, what: { kind: 'text', text } };
}

async function stateGoal(files: ModelFiles, path: string, prefix: Uint32Array, options: GoalOptions): Promise<Goal> {
  const { at, afterNorm = false, block, quiet } = options;
  const { layers } = files.config;
  if (afterNorm && ((options.layer ?? layers) !== layers || block !== 'stack')) {
    throw new InputError('The state after ln_f comes after the whole model.', 'Leave out --layer and --block.');
  }
  const reading = await readingOptions(files, options.layer ?? (afterNorm ? layers : undefined));
  const { records, notes } = await readStatesFile(path, afterNorm ? { ...reading, lnF: undefined } : reading);
  // Notes on layers would be of those before the norm.
  if (!afterNorm) noteTeller(quiet)(notes);
  const layer = records[0].layer ?? layers;
  const span = spanOf(block, layer, layers);
  const tasks = records.flatMap(({ name = 'states', values, width }): GoalTask[] => {
    const states = Array.from({ length: values.length / width }, (_, t) =>
      Float64Array.from(values.subarray(t * width, (t + 1) * width)),
    );
    if (at !== undefined) {
      if (at >= states.length)
        throw new InputError(
          `There is no state ${at} in ${name}, which holds ${states.length}.`,
          `Use --at 0 to ${states.length - 1}.`,
        );
      return [{ name: `${name}[${at}]`, targets: [states[at]] }];
    }
    // Only at the input can one free vector follow another.
    if (span.from > 0) return states.map((state, t) => ({ name: `${name}[${t}]`, targets: [state] }));
    return [{ name, targets: states }];
  });
  for (const { targets } of tasks) checkTask(files, { prefix, targets }, span.from);
  return { ...span, prefix, what: { kind: 'states', tasks, afterNorm } };
}

/** Where the vectors and the targets stand: `layer` is where the last block that counts ends. */
function spanOf(block: BlockName, layer: number, layers: number): Span {
  if (layer < 1 || layer > layers) {
    throw new InputError(
      `There is no block that ends at layer ${layer}.`,
      `Use --layer 1 to ${layers} (after the last block).`,
    );
  }
  if (block === 'stack') return { from: 0, layer };
  if (block === 'block') return { from: layer - 1, layer };
  return block === 'attn' ? { from: layer - 1, layer: layer - 0.5 } : { from: layer - 0.5, layer };
}

function prefixOf(files: ModelFiles, { prefix, prefixIds }: GoalOptions): Uint32Array {
  if (prefix !== undefined && prefixIds !== undefined)
    throw new InputError('There are two prefixes, a text and --prefix-ids.', 'Give only one of them.');
  const ids = prefixIds ?? (prefix ? requireTokenizer(files).encode(prefix) : []);
  checkTokens(files.config, ids);
  return Uint32Array.from(ids);
}

function checkRoom(prefix: number, free: number, contextLength: number): void {
  const over = prefix + free - contextLength;
  if (over <= 0) return;
  const before = prefix > 0 ? ` behind ${counted(prefix, 'token')}` : '';
  throw new InputError(
    `${counted(free, 'free vector')}${before} do not fit the ${contextLength} positions of the model.`,
    `Leave out ${over}.`,
  );
}

/** What is probed, in words: `layers 0 to 6`, `h.3.mlp`. */
export function spanText({ from, layer }: Span): string {
  const block = Math.floor(from);
  if (layer - from === 0.5) return `h.${block}.${from === block ? 'attn' : 'mlp'}`;
  if (from === 0) return `the stack up to layer ${layer}`;
  return `h.${block}, the block that ends at layer ${layer}`;
}
