import { FormatError, MissingTensorError, SourceError } from '../errors.ts';
import type { Checkpoint, TensorInfo } from './checkpoint.ts';
import { isObject, quote, readJson } from './json.ts';
import { isPlainPath } from './paths.ts';
import { openSafetensors } from './safetensors.ts';
import type { Source } from './source.ts';

const SINGLE = 'model.safetensors';
const INDEX = 'model.safetensors.index.json';
const PICKLE = 'pytorch_model.bin';

/**
 * Opens the weights of a model: `model.safetensors`, or the shards that `model.safetensors.index.json` lists. All
 * headers are read and checked; tensors are read when asked for.
 *
 * @throws SourceError when the source holds neither; FormatError for a malformed file, index or shard name, or a tensor
 * that the index promises and its shard lacks.
 */
export async function openCheckpoint(source: Source): Promise<Checkpoint> {
  const single = await openFile(source, SINGLE);
  if (single !== undefined) return single;
  const index = await readJson(source, INDEX);
  if (index !== undefined) return openShards(source, parseIndex(`${source.name}: ${INDEX}`, index));
  if (await has(source, PICKLE)) {
    throw new SourceError(
      `${source.name} holds ${PICKLE}, a Python pickle, but no ${SINGLE} or ${INDEX}.`,
      'Convert it with save_pretrained(folder, safe_serialization=True) of Hugging Face transformers.',
    );
  }
  throw new SourceError(
    `${source.name} holds no ${SINGLE} or ${INDEX}.`,
    'Pass the folder, URL or hub id of a model saved as safetensors.',
  );
}

async function openFile(source: Source, path: string): Promise<Checkpoint | undefined> {
  const file = await source.open(path);
  if (file === undefined) return undefined;
  try {
    return await openSafetensors(file);
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function has(source: Source, path: string): Promise<boolean> {
  if (source.has !== undefined) return source.has(path);
  const file = await source.open(path);
  await file?.close();
  return file !== undefined;
}

/** The shard that holds each tensor. */
function parseIndex(file: string, index: unknown): Map<string, string> {
  const weightMap = isObject(index) ? index.weight_map : undefined;
  if (!isObject(weightMap)) {
    throw new FormatError(`${file} has no object weight_map.`, 'Save the model again with save_pretrained.');
  }
  const shardOf = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(weightMap)) {
    if (typeof shard !== 'string' || !isPlainPath(shard)) {
      throw new FormatError(
        `${file} puts tensor ${quote(tensor)} into the shard ${quote(String(shard))}.`,
        'Shards must be plain names of files beside the index.',
      );
    }
    shardOf.set(tensor, shard);
  }
  return shardOf;
}

async function openShards(source: Source, shardOf: ReadonlyMap<string, string>): Promise<Checkpoint> {
  const shards = new Map<string, Checkpoint>();
  const close = async () => {
    await Promise.all([...shards.values()].map((shard) => shard.close()));
  };
  const tensors = new Map<string, TensorInfo>();
  const metadata = new Map<string, string>();
  try {
    for (const path of new Set(shardOf.values())) {
      const shard = await openFile(source, path);
      if (shard === undefined) {
        throw new SourceError(`${source.name}: the shard ${quote(path)} of ${INDEX} is missing.`, 'Download it too.');
      }
      shards.set(path, shard);
      for (const [key, text] of shard.metadata) metadata.set(key, text);
    }
    for (const [tensor, path] of shardOf) {
      const info = shards.get(path)!.tensors.get(tensor);
      if (info === undefined) {
        throw new FormatError(
          `${source.name}: ${INDEX} puts tensor ${quote(tensor)} into ${quote(path)}, which lacks it.`,
          'Download index and shards again, all from one revision.',
        );
      }
      tensors.set(tensor, info);
    }
  } catch (error) {
    await close();
    throw error;
  }

  async function shardWith(tensor: string): Promise<Checkpoint> {
    const path = shardOf.get(tensor);
    if (path !== undefined) return shards.get(path)!;
    throw new MissingTensorError(
      `${quote(tensor)} is not among the ${tensors.size} tensors of ${INDEX} in ${source.name}.`,
      'Compare the name with the keys of checkpoint.tensors.',
    );
  }

  return {
    name: source.name,
    tensors,
    metadata,
    bytes: async (tensor, begin, end) => (await shardWith(tensor)).bytes(tensor, begin, end),
    float32: async (tensor, begin, end) => (await shardWith(tensor)).float32(tensor, begin, end),
    float64: async (tensor, begin, end) => (await shardWith(tensor)).float64(tensor, begin, end),
    close,
  };
}
