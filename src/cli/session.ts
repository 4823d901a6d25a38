import { createNodeContext } from '../gpu/context.node.ts';
import type { Context } from '../gpu/context.ts';
import { openSource } from '../io/open.node.ts';
import { type LoadedModel, largestBinding, loadModel, type ModelFiles, openModel } from '../model/load.ts';
import { warmUp } from '../model/warm-up.ts';
import type { SharedOptions } from './options.ts';
import { note, progressBar, warn } from './terminal.ts';
import { byteSize } from './text.ts';

/** Progress is for people: not for machines, and not for those who asked for quiet. */
export const isChatty = ({ json, quiet }: Pick<SharedOptions, 'json' | 'quiet'>): boolean => !json && !quiet;

/** Runs `work` with the files of the model that the options name, and closes them. */
export async function withFiles<T>(options: SharedOptions, work: (files: ModelFiles) => Promise<T>): Promise<T> {
  const { revision } = options;
  const downloads = new Map<string, ReturnType<typeof progressBar>>();
  const onProgress = (file: string, loadedBytes: number, totalBytes: number | undefined) => {
    const bar = downloads.get(file) ?? progressBar(`fetching ${file}`, isChatty(options), byteSize);
    downloads.set(file, bar);
    bar.update(loadedBytes, totalBytes);
    if (loadedBytes === totalBytes) bar.stop();
  };
  let files: ModelFiles;
  try {
    files = await openModel(await openSource(options.model, { revision, onProgress }));
  } finally {
    for (const bar of downloads.values()) bar.stop();
  }
  try {
    return await work(files);
  } finally {
    await files.checkpoint.close();
  }
}

/** Runs `work` on the adapter that the options name, and destroys the context. */
export async function withContext<T>(
  { adapter }: Pick<SharedOptions, 'adapter'>,
  work: (context: Context) => Promise<T>,
  bindingBytes?: number,
): Promise<T> {
  const context = await createNodeContext({ adapter, bindingBytes });
  try {
    return await work(context);
  } finally {
    context.destroy();
  }
}

/** Runs `work` with the model that the options name, ready on their adapter, and frees both. */
export async function withModel<T>(
  options: SharedOptions,
  work: (model: LoadedModel) => Promise<T>,
  warm?: typeof warmUp,
): Promise<T> {
  return withFiles(options, (files) => withLoaded(options, files, work, warm));
}

/**
 * As `withModel`, with files that are open already.
 * @param warm Compiles what `work` will run.
 */
export async function withLoaded<T>(
  options: SharedOptions,
  files: ModelFiles,
  work: (model: LoadedModel) => Promise<T>,
  warm: typeof warmUp = warmUp,
): Promise<T> {
  return withContext(
    options,
    async (context) => {
      for (const warning of files.config.warnings) warn(warning);
      const bar = progressBar('loading weights', isChatty(options), byteSize);
      const model = await loadModel(context, files, bar.update).finally(bar.stop);
      const kernels = progressBar('compiling kernels', isChatty(options), String);
      await warm(model, kernels.update).finally(kernels.stop);
      return work(model);
    },
    largestBinding(files.config),
  );
}

/** What an exit code says: all is well, a negative result, bad input, a bug. Signals have theirs: see `interruptible`. */
export const EXIT = { done: 0, negative: 1, badInput: 2, bug: 70 } as const;

const STOPS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
const SIGPIPE = 13;

/**
 * Runs `work` with a signal that fires when the user (Ctrl-C), the system or a closed terminal asks for an end; the
 * second time the process ends at once.
 * @param unread What to do when the reader of standard output has gone: go on where results go elsewhere, too.
 * @returns The exit code: that of `work`, or 128 and the number of what stopped it, as shells have it.
 */
export async function interruptible(
  work: (signal: AbortSignal) => Promise<number>,
  unread: 'stop' | 'go on' = 'stop',
): Promise<number> {
  const controller = new AbortController();
  let stopped: number | undefined;
  const stop = (_name: string, number: number) => {
    if (stopped !== undefined) process.exit(128 + number);
    stopped = 128 + number;
    controller.abort();
  };
  const onOutputError = ({ code }: NodeJS.ErrnoException) => {
    if (code === 'EPIPE' && unread === 'stop' && stopped === undefined) stop('SIGPIPE', SIGPIPE);
  };
  for (const name of STOPS) process.on(name, stop);
  process.stdout.on('error', onOutputError);
  try {
    const code = await work(controller.signal);
    return stopped ?? code;
  } catch (error) {
    // Work with nothing to show for it ends by throwing the signal's reason.
    if (stopped === undefined || error !== controller.signal.reason) throw error;
    note('Stopped before there was anything to show.');
    return stopped;
  } finally {
    for (const name of STOPS) process.off(name, stop);
    process.stdout.off('error', onOutputError);
  }
}
