import { readFile } from 'node:fs/promises';
import { InputError } from '../errors.ts';
import type { CollisionResult } from '../injectivity/result.ts';
import { fileError, writeFileAtomic } from '../io/folder.node.ts';
import { isObject, parseJson } from '../io/json.ts';

/** Writes a result, so that equal results are equal files. @throws SourceError */
export function writeCollisions(path: string, result: CollisionResult): Promise<void> {
  return writeFileAtomic(path, new TextEncoder().encode(`${JSON.stringify(result, undefined, 1)}\n`));
}

/** Reads what `writeCollisions` wrote. @throws InputError when it is anything else; SourceError. */
export async function readCollisions(path: string): Promise<CollisionResult> {
  const bytes = await readFile(path).catch((cause) => {
    throw fileError(path, 'read', cause);
  });
  const fail = (why: string, cause?: unknown) =>
    new InputError(
      `${path} is no result of "preimage collide": ${why}.`,
      'Name files that it wrote with -o; a shard that is not finished goes on with --resume.',
      { cause },
    );
  let value: unknown;
  try {
    value = parseJson(path, bytes);
  } catch (cause) {
    throw fail('it is not JSON', cause);
  }
  const wrong = flawOf(value);
  if (wrong !== undefined) throw fail(`"${wrong}" is missing or of another kind`);
  return value as CollisionResult;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isNumber = (value: unknown): boolean => typeof value === 'number';
const isText = (value: unknown): boolean => typeof value === 'string';
const isArrayOf = (value: unknown, isItem: (item: unknown) => boolean): value is unknown[] =>
  Array.isArray(value) && value.every(isItem);
const isCounts = (value: unknown): boolean => isObject(value) && Object.values(value).every(isCount);

/** The first part of a result that is missing or of another kind. */
function flawOf(value: unknown): string | undefined {
  if (!isObject(value)) return 'prompts';
  const { prompts, duplicates, skipped, test, shard, layers } = value;
  if (!isCount(prompts) || prompts < 2) return 'prompts';
  if (!isArrayOf(duplicates, isObject)) return 'duplicates';
  if (!isArrayOf(skipped, isObject)) return 'skipped';
  const isTest =
    isObject(test) && isText(test.model) && isText(test.config) && isText(test.prompts) && isCount(test.closest);
  if (!isTest || !isArrayOf(test.layers, isCount) || !isArrayOf(test.precisions, isText)) return 'test';
  const isShard = (part: unknown) =>
    isObject(part) && isCount(part.index) && isCount(part.count) && part.index < part.count;
  if (shard !== undefined && !isShard(shard)) return 'shard';
  const expected = test.layers.length * test.precisions.length;
  if (!isArrayOf(layers, isLayer) || layers.length !== expected) return 'layers';
  if (shard !== undefined && !layers.every((layer) => isObject(layer) && isSquares(layer.squares))) return 'squares';
  const { exhaustive, causes } = value;
  if (exhaustive !== undefined && !isArrayOf(exhaustive, isContinuation)) return 'exhaustive';
  if (causes !== undefined && !isArrayOf(causes, (one) => isObject(one) && isText(one.what))) return 'causes';
  return undefined;
}

function isLayer(value: unknown): boolean {
  if (!isObject(value)) return false;
  const { layer, precision, pairs, closest, below, histogram } = value;
  const hasCounts = isCount(layer) && isText(precision) && isCount(pairs) && isCounts(below);
  return hasCounts && isArrayOf(closest, isPair) && isArrayOf(histogram, isBin);
}

const isPair = (value: unknown): boolean =>
  isObject(value) &&
  isCount(value.a) &&
  isCount(value.b) &&
  isNumber(value.distance) &&
  isArrayOf(value.ranks, isCount) &&
  value.ranks.length === 2;

const isBin = (value: unknown): boolean =>
  isObject(value) && isCount(value.bin) && isNumber(value.from) && isCount(value.count);

const isContinuation = (value: unknown): boolean =>
  isObject(value) &&
  [value.layer, value.line, value.continuations].every(isCount) &&
  [value.distance, value.relative].every(isNumber) &&
  isArrayOf(value.tokens, isCount) &&
  value.tokens.length === 2;

const isSquares = (value: unknown): boolean => isObject(value) && Object.values(value).every(isNumber);
