import type { Command } from 'commander';
import { type GenerateOptions, generate } from '../model/generate.ts';
import type { LoadedModel } from '../model/load.ts';
import { decimal, type SharedOptions, sharedOptions, tokenIds, wholeNumber } from './options.ts';
import { promptIds } from './prompt.ts';
import { EXIT, interruptible, isChatty, withModel } from './session.ts';
import { note, paint, print, printJson } from './terminal.ts';
import { counted, duration, printable } from './text.ts';

interface Options extends SharedOptions {
  readonly ids?: number[];
  readonly maxTokens: number;
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed?: number;
}

/** Adds `preimage generate`. */
export function addGenerate(program: Command): void {
  const command = program.command('generate').description('continue a text').argument('[text]', 'the prompt');
  sharedOptions(
    command
      .option('--ids <list>', 'token ids in place of text, such as 5,17,3', tokenIds)
      .option('--max-tokens <n>', 'tokens to add at most', wholeNumber(1), 100)
      .option('--temperature <t>', '0 takes the likeliest token; default 0, or 1 with one of the next three', decimal)
      .option('--top-k <k>', 'sample among the k likeliest tokens', wholeNumber(1))
      .option('--top-p <p>', 'sample among the likeliest that hold this share of the probability', decimal)
      .option('--seed <n>', 'same seed, same text on the same adapter', wholeNumber(0)),
  )
    .addHelpText('after', EXAMPLES)
    .action(async (text: string | undefined, options: Options) => {
      process.exitCode = await continueText(text, options);
    });
}

const EXAMPLES = `
Examples:
  preimage generate "It was a dark and stormy night"
  preimage generate "Call me" --temperature 0.8 --top-k 40 --seed 7`;

async function continueText(text: string | undefined, options: Options): Promise<number> {
  return withModel(options, (model) =>
    interruptible(async (signal) => {
      const prompt = promptIds(model, text, options.ids);
      const continuation = generate(model, prompt, { ...sampling(options), signal });
      const writer = options.json ? undefined : textWriter(model, prompt, isChatty(options));
      const tokens: number[] = [];
      const started = performance.now();
      for await (const token of continuation) {
        tokens.push(token);
        writer?.push(token);
      }
      writer?.end();
      const seconds = (performance.now() - started) / 1000;
      if (options.json) {
        const added = model.tokenizer && continuationOf(model.tokenizer, prompt, tokens);
        printJson({ prompt: text ?? options.ids, text: added, tokens, seconds });
      } else if (isChatty(options)) {
        const full = prompt.length + tokens.length === model.config.contextLength ? ', the context is full' : '';
        const rate = (tokens.length / seconds).toFixed(1);
        note(
          `${counted(tokens.length, 'token')} in ${duration(seconds)}, ${rate} tokens/s on ${model.context.adapter.name}${full}`,
        );
      }
      return EXIT.done;
    }),
  );
}

function sampling({ maxTokens, topK, topP, seed, ...options }: Options): GenerateOptions {
  const samples = [topK, topP, seed].some((value) => value !== undefined);
  return { maxTokens, topK, topP, seed, temperature: options.temperature ?? (samples ? 1 : 0) };
}

/** Text of the new tokens; a character begun in the prompt counts as new. */
function continuationOf(tokenizer: NonNullable<LoadedModel['tokenizer']>, prompt: Uint32Array, tokens: number[]) {
  const decoder = tokenizer.streamDecoder();
  for (const id of prompt) decoder.push(id);
  return tokens.map((id) => decoder.push(id)).join('') + decoder.end();
}

/** Writes tokens to standard output as they come, after the prompt; as numbers where there is no tokenizer. */
function textWriter({ tokenizer }: LoadedModel, prompt: Uint32Array, showPrompt: boolean) {
  const decoder = tokenizer?.streamDecoder();
  const decode = (id: number) => decoder?.push(id) ?? `${id} `;
  const write = (text: string) => void process.stdout.write(printable(text));
  const before = Array.from(prompt, decode).join('');
  if (showPrompt) process.stdout.write(paint('dim', printable(before)));
  return {
    push: (id: number) => write(decode(id)),
    end() {
      write(decoder?.end() ?? '');
      print();
    },
  };
}
