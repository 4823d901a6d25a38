import { Tokenizer as Library } from '@huggingface/tokenizers';
import { FormatError, InputError } from '../errors.ts';
import { isObject, quote, readJson } from './json.ts';
import type { Source } from './source.ts';

/** Text to token ids and back. */
export interface Tokenizer {
  /** One more than the largest id. */
  readonly vocabularySize: number;
  /**
   * The ids of a text. No token is added; special tokens written out, such as `<|endoftext|>`, become their own id.
   * What a BPE vocabulary without all bytes and without an unknown token cannot spell is left out, as in the library.
   * @throws InputError for a piece of text that has neither a token nor an unknown token.
   */
  encode(text: string): Uint32Array<ArrayBuffer>;
  /**
   * The text of ids, special tokens written out; bytes that are not UTF-8 become U+FFFD.
   * @throws InputError for an id outside the vocabulary.
   */
  decode(ids: Iterable<number>): string;
  /** One token as text, with U+FFFD where its bytes are not whole characters. Throws as `decode`. */
  token(id: number): string;
  /** Decodes ids as they come. */
  streamDecoder(): StreamDecoder;
}

/** Decodes ids one by one: the texts joined are those of `decode` on all ids. */
export interface StreamDecoder {
  /** Takes an id and returns the text newly complete: '' while a character lacks bytes. Throws as `Tokenizer.decode`. */
  push(id: number): string;
  /** The rest, U+FFFD for what stayed incomplete; the decoder is ready for another text. */
  end(): string;
}

/**
 * Loads `tokenizer.json` and, where present, `tokenizer_config.json`; undefined when the source lacks the first.
 *
 * @throws FormatError for a malformed file; SourceError when one cannot be read.
 */
export async function loadTokenizer(source: Source): Promise<Tokenizer | undefined> {
  const json = await readJson(source, 'tokenizer.json');
  if (json === undefined) return undefined;
  const config = (await readJson(source, 'tokenizer_config.json')) ?? {};
  const fail = (what: string, cause?: unknown) =>
    new FormatError(
      `${source.name}: tokenizer.json ${what}.`,
      'Save it again with save_pretrained of a fast tokenizer of Hugging Face transformers.',
      { cause },
    );
  if (!isObject(json) || !isObject(json.model) || !isObject(config)) throw fail('or its config is not a tokenizer');
  try {
    const library = new Library({ added_tokens: [], ...json }, config);
    const size = [...library.get_vocab().values()].reduce((largest, id) => Math.max(largest, id), -1) + 1;
    if (size === 0) throw new Error('the vocabulary is empty');
    return adapt(source.name, library, size);
  } catch (cause) {
    throw fail(`is not a tokenizer that can be run (${cause instanceof Error ? cause.message : cause})`, cause);
  }
}

function adapt(name: string, library: Library, vocabularySize: number): Tokenizer {
  function decode(ids: Iterable<number>): string {
    const checked = Array.from(ids, (id) => {
      if (library.id_to_token(id) !== undefined) return id;
      throw new InputError(
        `Token id ${id} is not in the vocabulary of ${name}.`,
        `Use whole numbers from 0 to ${vocabularySize - 1}.`,
      );
    });
    // The library's clean-up moves spaces before punctuation, and it refuses an empty list.
    return checked.length === 0 ? '' : library.decode(checked, { clean_up_tokenization_spaces: false });
  }
  return {
    vocabularySize,
    encode(text) {
      const { ids, tokens } = library.encode(text, { add_special_tokens: false });
      const unknown = ids.findIndex((id) => id === undefined || id === null);
      if (unknown === -1) return Uint32Array.from(ids);
      throw new InputError(
        `The vocabulary of ${name} cannot spell ${quote(tokens[unknown])}.`,
        'Leave that piece of text out, or choose a model with a byte-level vocabulary.',
      );
    },
    decode,
    token: (id) => decode([id]),
    streamDecoder: () => streamDecoder(decode),
  };
}

function streamDecoder(decode: (ids: Iterable<number>) => string): StreamDecoder {
  // The ids of the last whole text stay in front, for decoders that treat the first token in another way.
  let context: number[] = [];
  let pending: number[] = [];
  let emitted = 0;
  return {
    push(id) {
      const text = decode([...context, ...pending, id]);
      pending.push(id);
      // U+FFFD at the end may become a character once further bytes come.
      const whole = text.replace(/\uFFFD+$/, '');
      const fresh = whole.slice(emitted);
      if (whole.length === text.length) {
        context = pending;
        pending = [];
        emitted = decode(context).length;
      } else {
        emitted = Math.max(emitted, whole.length);
      }
      return fresh;
    },
    end() {
      const rest = decode([...context, ...pending]).slice(emitted);
      context = [];
      pending = [];
      emitted = 0;
      return rest;
    },
  };
}
