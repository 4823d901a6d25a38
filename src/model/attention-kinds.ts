import { ConfigError } from '../errors.ts';
import { describeValue } from './config-reader.ts';

/** Kinds of attention in successive blocks, and how many times they repeat. */
type Run = readonly [kinds: readonly string[], repeats: number];

const KINDS: readonly string[] = ['global', 'local'];
/** Of `transformers.GPTNeoConfig`. */
const DEFAULT_TYPES: readonly Run[] = [[KINDS, 12]];

/**
 * The kind of attention of each block of a GPT-Neo, by the `attention_types` of its config, runs that repeat, or its
 * `attention_layers`, one after another. Runs stay as they are: a config may claim any number of repeats.
 * @throws ConfigError for kinds other than global and local, or not one for each block.
 */
export function attentionKinds(
  { attention_types, attention_layers }: Readonly<Record<string, unknown>>,
  name: string,
  layers: number,
): (layer: number) => 'global' | 'local' {
  const listed = attention_layers ?? undefined;
  if (listed !== undefined && !(Array.isArray(listed) && listed.length === layers))
    throw new ConfigError(
      `${name} has attention_layers = ${describeValue(listed)} and num_layers = ${layers}.`,
      'Make it a list with "global" or "local" for each block.',
    );
  const runs = attention_types ?? (listed ? [[listed, 1]] : DEFAULT_TYPES);
  if (!areRuns(runs))
    throw new ConfigError(
      `${name} has attention_types = ${describeValue(attention_types)}.`,
      'Make it a list of kinds with the number of their repeats, such as [[["global", "local"], 6]].',
    );
  const unknown = [...runs.flatMap(([kinds]) => kinds), ...(listed ?? [])].find((kind) => !KINDS.includes(kind));
  if (unknown !== undefined)
    throw new ConfigError(
      `${name} asks for attention of the kind ${describeValue(unknown)}.`,
      `Supported attention types: ${KINDS.join(', ')}.`,
    );
  const blocks = runs.reduce((sum, [kinds, repeats]) => sum + kinds.length * repeats, 0);
  if (blocks !== layers)
    throw new ConfigError(
      `${name} has attention_types for ${blocks} blocks and num_layers = ${layers}.`,
      'Give each block one: the numbers of kinds times their repeats must add up to num_layers.',
    );

  function kindOf(layer: number): 'global' | 'local' {
    let place = layer;
    for (const [kinds, repeats] of runs as readonly Run[]) {
      if (place < kinds.length * repeats) return kinds[place % kinds.length] === 'local' ? 'local' : 'global';
      place -= kinds.length * repeats;
    }
    return 'global';
  }

  const differs = listed ? listed.findIndex((kind, layer) => kind !== kindOf(layer)) : -1;
  if (differs >= 0)
    throw new ConfigError(
      `${name} makes block ${differs} ${kindOf(differs)} in attention_types, ${listed![differs]} in attention_layers.`,
      'Remove the one that is wrong.',
    );
  return kindOf;
}

function areRuns(value: unknown): value is readonly Run[] {
  const isRun = (run: unknown) =>
    Array.isArray(run) && Array.isArray(run[0]) && Number.isSafeInteger(run[1]) && run[1] >= 0;
  return Array.isArray(value) && value.every(isRun);
}
