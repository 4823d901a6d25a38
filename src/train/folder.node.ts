import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { SourceError } from '../errors.ts';
import { errorCode, fileBytes, fileError, writeFileAtomic } from '../io/folder.node.ts';
import { openSafetensors } from '../io/safetensors.ts';
import type { ModelConfig } from '../model/config.ts';
import { readTraining, type SavedTraining, type TrainingState, trainingFile, weightsFile } from './checkpoint.ts';
import { lossCurve } from './loss-curve.ts';

const STATE = 'training.safetensors';
const TOKENIZER_CONFIG = 'tokenizer_config.json';

/** What a folder of training holds besides weights. */
export interface FolderContent {
  readonly config: ModelConfig;
  /** `tokenizer.json` and its like, by name. */
  readonly tokenizerFiles: ReadonlyMap<string, Uint8Array>;
  /** Kept in the state, for going on. */
  readonly about: Readonly<Record<string, unknown>>;
}

/**
 * Writes the state of training into a folder that every command takes as a model. Each file is replaced in one step:
 * first config and tokenizer, which stay the same throughout a run, then `training.safetensors`, which needs them to go
 * on. Whatever fails, and whenever, the run can go on from the state before or from this one.
 *
 * @throws SourceError when a file cannot be written, as on a full disk.
 */
export async function writeTrainingFolder(folder: string, state: TrainingState, content: FolderContent): Promise<void> {
  const { config, tokenizerFiles, about } = content;
  const { plan, losses, evaluations, unigramLoss, seconds } = state;
  await mkdir(folder, { recursive: true }).catch((cause) => {
    throw fileError(folder, 'made', cause);
  });
  const write = (file: string, bytes: Parameters<typeof writeFileAtomic>[1] | string) =>
    writeFileAtomic(join(folder, file), typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes);
  const json = (value: unknown) => `${JSON.stringify(value, undefined, 1)}\n`;

  for (const [file, bytes] of tokenizerFiles) await write(file, bytes);
  // One that another run left behind would change how this tokenizer is read.
  if (!tokenizerFiles.has(TOKENIZER_CONFIG)) await remove(join(folder, TOKENIZER_CONFIG));
  await write('config.json', json(config.raw));
  await write(STATE, trainingFile(state, { ...about, config: config.raw }));
  await write('model.safetensors', weightsFile(state));
  await write(
    'training.json',
    json({ ...about, plan, step: losses.length, seconds, unigramLoss, evaluations, losses: [...losses] }),
  );
  await write('loss.svg', lossCurve({ losses, evaluations, unigramLoss }));
}

async function remove(path: string): Promise<void> {
  await rm(path, { force: true }).catch((cause) => {
    throw fileError(path, 'removed', cause);
  });
}

/**
 * Opens the state in a folder; its checkpoint is the caller's to close.
 * @throws SourceError when there is none; FormatError when it is none.
 */
export async function openTraining(folder: string): Promise<SavedTraining> {
  const path = join(folder, STATE);
  const file = await fileBytes(path).catch((error) => {
    if (!(error instanceof SourceError) || errorCode(error.cause) !== 'ENOENT') throw error;
    throw new SourceError(
      `${folder} holds no ${STATE}, so there is nothing to go on from.`,
      'Name the --out folder of a run that has written a checkpoint, or train without --resume.',
    );
  });
  try {
    return await readTraining(await openSafetensors(file));
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** Whether there is anything in a folder. @throws SourceError when it is a file, or cannot be read. */
export async function isEmptyFolder(folder: string): Promise<boolean> {
  try {
    return (await readdir(folder)).length === 0;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return true;
    throw fileError(folder, 'opened', error);
  }
}
