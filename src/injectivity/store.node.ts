import { type FileHandle, mkdir, open, readdir, readFile, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { InputError, SourceError } from '../errors.ts';
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
  /** Closes it and removes its files, and the folder where nothing else is in it. */
  remove(): Promise<void>;
}

/** Which word of an error each part of a job is called by. */
const NAMES: Readonly<Record<keyof StoredJob, string>> = {
  model: 'the model with digest',
  config: 'a config with digest',
  prompts: 'prompts with digest',
  layers: '--layers',
  precisions: '--precision',
  closest: '--closest',
  shard: '--shard',
  below: '--below',
};

/** How a store is opened: a folder that is new, one that may hold another's, or what an earlier run of the job left. */
export interface StoreOptions {
  readonly force?: boolean;
  readonly resume?: boolean;
}

const PROGRESS = 'progress.json';
const LOCK = 'lock';

/**
 * Opens the store of a job in a folder, or begins it: the states of a layer in `layer-<n>.f32`, a row for each prompt,
 * and `progress.json`, which is replaced whole.
 * @throws InputError when what is there is of another job or in use; SourceError.
 */
export async function folderStore(
  folder: string,
  job: StoredJob,
  width: number,
  { force = false, resume = false }: StoreOptions = {},
): Promise<FolderStore> {
  const before = resume ? await readProgress(join(folder, PROGRESS), job) : undefined;
  if (!force && !resume) await checkNew(folder);
  await mkdir(folder, { recursive: true }).catch((cause) => {
    throw fileError(folder, 'written', cause);
  });
  await lock(folder);
  if (!before) await clear(folder);
  const files = new Map<number, FileHandle>();
  const unsaved = new Set<FileHandle>();

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
      unsaved.add(file);
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
    async save(progress) {
      try {
        for (const file of unsaved) await file.datasync(); // states are on the disk before what speaks of them
      } catch (cause) {
        throw fileError(folder, 'written', cause);
      }
      unsaved.clear();
      await writeFileAtomic(join(folder, PROGRESS), new TextEncoder().encode(JSON.stringify({ job, progress })));
    },
    close,
    async remove() {
      await close();
      await clear(folder);
      await rmdir(folder).catch(() => {}); // it may hold files of others
    },
  };

  async function close(): Promise<void> {
    for (const file of files.values()) await file.close();
    files.clear();
    await rm(join(folder, LOCK), { force: true });
  }
}

/** Whether a folder holds what a job can go on from. */
export const isBegun = (folder: string): Promise<boolean> =>
  stat(join(folder, PROGRESS)).then(
    () => true,
    () => false,
  );

/** @throws SourceError when there is such a folder. */
export async function checkNew(folder: string): Promise<void> {
  if (!(await stat(folder).catch(() => undefined))) return;
  throw new SourceError(
    `${folder} exists: a run that was stopped left it.`,
    'Go on with --resume, or begin anew with --force.',
  );
}

/** Removes what a store keeps. */
async function clear(folder: string): Promise<void> {
  try {
    await rm(join(folder, PROGRESS), { force: true }); // states without it are nothing to go on from
    const layers = (await readdir(folder)).filter((name) => /^layer-\d+\.f32$/.test(name));
    for (const name of layers) await rm(join(folder, name), { force: true });
  } catch (cause) {
    throw fileError(folder, 'written', cause);
  }
}

/** Writes down whose a folder is. @throws InputError when another process of this machine has it. */
async function lock(folder: string): Promise<void> {
  const path = join(folder, LOCK);
  const [host, pid] = (await readFile(path, 'utf8').catch(() => '')).split(' ');
  if (host === hostname() && Number(pid) !== process.pid && isRunning(Number(pid))) {
    throw new InputError(
      `${folder} is in use by process ${pid}.`,
      `Wait for it or stop it; if that is no preimage, remove ${path}.`,
    );
  }
  await writeFile(path, `${hostname()} ${process.pid}`).catch((cause) => {
    throw fileError(path, 'written', cause);
  });
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0); // signal 0 only asks
    return true;
  } catch (error) {
    return errorCode(error) === 'EPERM';
  }
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
