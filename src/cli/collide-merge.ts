import type { Command } from 'commander';
import { InputError } from '../errors.ts';
import { type CollisionResult, mergeResults } from '../injectivity/result.ts';
import { readCollisions, writeCollisions } from './collide-file.ts';
import { exitCodeOf, showCollisions } from './collide-view.ts';
import { addMerge, type MergeOptions } from './merge-command.ts';
import { checkOutputs } from './output.ts';
import { printJson } from './terminal.ts';
import { count } from './text.ts';

/** Adds `preimage collide merge`. */
export function addCollideMerge(collide: Command): void {
  const texts = {
    description: 'put the results of all shards of a test together',
    parts: 'the files that "preimage collide --shard i/n -o" wrote',
    output: 'JSON file for the result, the same as of one run over all pairs',
    examples: EXAMPLES,
  };
  addMerge(collide, texts, mergeCollisions);
}

const EXAMPLES = `
Exits with 0 when no pair is nearer than --below was, 1 when one is, 2 when a shard
is missing, there twice or of another test. To see the whole as a page, or continued,
resume it with the prompts: the last example.

Examples:
  preimage collide merge part0.json part1.json part2.json -o collisions.json
  preimage collide merge part*.json -o collisions.json
  preimage collide prompts.txt -o collisions.json --resume --report collisions.html --exhaustive 10`;

/**
 * Merges result files, writes and shows what they come to.
 * @returns The exit code.
 * @throws InputError when they are not all shards of one job; SourceError.
 */
export async function mergeCollisions(
  paths: readonly string[],
  { output, force, json, quiet }: MergeOptions,
): Promise<number> {
  if (output !== undefined) await checkOutputs([output], paths, force);
  const parts: Part[] = [];
  for (const path of paths) parts.push({ name: path, result: await readCollisions(path) });
  const result = merged(parts);
  if (output !== undefined) await writeCollisions(output, result);
  if (json) printJson(result);
  else showCollisions(result, { quiet: quiet ?? false });
  return exitCodeOf(result);
}

/** A part of a test, and the file it is in. */
interface Part {
  readonly name: string;
  readonly result: CollisionResult;
}

/** @throws InputError when the parts are not those of one test, all of them. */
function merged(parts: readonly Part[]): CollisionResult {
  const [first] = parts;
  // "--shard 0/1" is the whole.
  if (parts.length === 1 && !first.result.shard) return checkedSums(first.result);
  const result = mergeResults(parts);
  for (const part of parts) checkSame(part, first);
  return checkedSums(result);
}

/** Checks what the identity of a test does not hold: the bound, and the lines that are no prompts. */
function checkSame(part: Part, first: Part): void {
  const cure = 'Merge the files of one job: the same model, prompts and options.';
  const bounds = ({ result }: Part) => result.layers.map(({ below }) => Object.keys(below).join()).join();
  if (bounds(part) !== bounds(first)) {
    const [is, was] = [part, first].map(({ result }) => Object.keys(result.layers[0]?.below ?? {}).join());
    throw new InputError(`${part.name} was made with --below ${is}, ${first.name} with ${was}.`, cure);
  }
  const lines = ({ result: { prompts, duplicates, skipped } }: Part) =>
    JSON.stringify({ prompts, duplicates, skipped });
  if (lines(part) !== lines(first)) {
    throw new InputError(`${part.name} has other prompts, duplicates or skipped lines than ${first.name}.`, cure);
  }
}

/** Checks that every pair is counted once: shards of another version of preimage may be cut in other ways. */
function checkedSums(result: CollisionResult): CollisionResult {
  const pairs = (result.prompts * (result.prompts - 1)) / 2;
  for (const { layer, precision, pairs: found, histogram } of result.layers) {
    const binned = histogram.reduce((sum, bin) => sum + bin.count, 0);
    if (found === pairs && binned === pairs) continue;
    throw new InputError(
      `At layer ${layer} in ${precision} there are ${count(found)} pairs, ${count(binned)} of them in the histogram; ${count(result.prompts)} prompts make ${count(pairs)}.`,
      'Were all shards run by the same version of preimage? Run them again.',
    );
  }
  return result;
}
