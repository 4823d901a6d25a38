import { InputError } from '../errors.ts';
import { type ModelFiles, requireTokenizer } from '../model/load.ts';
import { checkIds } from '../model/model.ts';

/**
 * The token ids of the prompt a command was given, as text or as ids.
 * @throws InputError unless exactly one was given, and the model can run it.
 */
export function promptIds(
  model: Pick<ModelFiles, 'name' | 'config' | 'tokenizer'>,
  text: string | undefined,
  ids: readonly number[] | undefined,
): Uint32Array {
  if ((text === undefined) === (ids === undefined)) {
    const what = text === undefined ? 'There is no prompt.' : 'There are two prompts, a text and --ids.';
    throw new InputError(what, 'Give a text in quotes, or token ids as --ids 5,17,3.');
  }
  const found = ids ?? requireTokenizer(model).encode(text!);
  checkIds(model.config, found);
  return Uint32Array.from(found);
}
