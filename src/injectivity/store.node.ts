import { type FileHandle, mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from '../errors.ts';
import { errorCode, fileError, writeFileAtomic } from '../io/folder.node.ts';
import type { TestIdentity } from './result.ts';
import type { CollisionStore, SavedProgress } from './store.ts';
import type { Shard } from './tiles.ts';

/** The job a store belongs to. */
export interface StoredJob extends TestIdentity {
  readonly shard: Shard;
  readonly below: number;
}

/** A store in a folder: it outlives the process. */
export interface FolderStore extends CollisionStore {
  close(): Promise<void>;
  /** Removes the folder. */
  remove(): Promise<void>;
}

/** Which word of an error each part of a job is called by. */
const NAMES: Readonly<Record<keyof StoredJob, string>> = {
  model: 'the model with digest',
  prompts: 'prompts with digest',
  layers: '--layers',
  precisions: '--precision',
  closest: '--closest',
  shard: '--shard',
  below: '--below',
};

/**
 * Opens the store of a job in a folder, or begins it: the states of a layer in `layer-<n>.f32`, a row for each prompt,
 * and `progress.json`, which is replaced whole.
 * @param resume Whether to go on with what is there; else the folder must be new.
 * @throws InputError when what is there is of another job; SourceError.
 */
export async function folderStore(
  folder: string,
  job: StoredJob,
  width: number,
  resume: boolean,
): Promise<FolderStore> {
  const progressFile = join(folder, 'progress.json');
  const before = resume ? await readProgress(progressFile, job) : undefined;
  const files = new Map<number, FileHandle>();
  try {
    if (!before) await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
  } catch (cause) {
    throw fileError(folder, 'written', cause);
  }

  const pathOf = (layer: number) => join(folder, `layer-${layer}.f32`);
  async function fileOf(layer: number): Promise<FileHandle> {
    const known = files.get(layer);
    if (known) return known;
    const file = await open(pathOf(layer), before ? 'r+' : 'w+').catch((cause) => {
      throw fileError(pathOf(layer), 'opened', cause);
    });
    files.set(layer, file);
    return file;
  }
  const rowBytes = 4 * width;

  return {
    progress: before,
    async write(layer, first, states) {
      const file = await fileOf(layer);
      const bytes = new Uint8Array(states.buffer, states.byteOffset, states.byteLength);
      try {
        for (let done = 0; done < bytes.length; ) {
          const { bytesWritten } = await file.write(bytes, done, bytes.length - done, first * rowBytes + done);
          done += bytesWritten;
        }
      } catch (cause) {
        throw fileError(pathOf(layer), 'written', cause);
      }
    },
    async read(layer, first, count) {
      const states = new Float32Array(count * width);
      const file = await fileOf(layer);
      const { bytesRead } = await file
        .read(new Uint8Array(states.buffer), 0, states.byteLength, first * rowBytes)
        .catch((cause) => {
          throw fileError(pathOf(layer), 'read', cause);
        });
      if (bytesRead === states.byteLength) return states;
      throw new InputError(`${pathOf(layer)} is too short.`, 'Begin anew with --force.');
    },
    save: (progress) => writeFileAtomic(progressFile, new TextEncoder().encode(JSON.stringify({ job, progress }))),
    async close() {
      for (const file of files.values()) await file.close();
      files.clear();
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}

async function readProgress(path: string, job: StoredJob): Promise<SavedProgress | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if (errorCode(cause) === 'ENOENT') return undefined;
    throw fileError(path, 'read', cause);
  }
  let saved: { job: StoredJob; progress: SavedProgress };
  try {
    saved = JSON.parse(text);
    if (!saved.job || !saved.progress) throw new Error('it holds no job');
  } catch (cause) {
    throw new InputError(`${path} is no progress of "preimage collide".`, 'Begin anew with --force.', { cause });
  }
  for (const key of Object.keys(NAMES) as (keyof StoredJob)[]) {
    const [was, is] = [saved.job[key], job[key]].map((value) => JSON.stringify(value));
    if (was === is) continue;
    throw new InputError(
      `${path} was begun with ${NAMES[key]} ${was}; this run has ${is}.`,
      'Resume with the same model, prompts and options, or begin anew with another name or --force.',
    );
  }
  return saved.progress;
}
