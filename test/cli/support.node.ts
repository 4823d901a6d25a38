import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What a run of the command line gave. */
export interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line, built from the sources as they are, and a folder for its files. */
export interface CommandLine {
  readonly folder: string;
  /** Runs `preimage` to its end. */
  run(args: readonly string[], env?: Record<string, string>): Promise<Result>;
  /** Starts `preimage`; the result comes when it ends. */
  start(args: readonly string[], env?: Record<string, string>): { child: ChildProcess; result: Promise<Result> };
  remove(): Promise<void>;
}

/** Builds the command line as `npm run build` does, into a folder inside the checkout, where its packages are found. */
export async function buildCommandLine(): Promise<CommandLine> {
  const cache = join(root, 'node_modules', '.cache');
  await mkdir(cache, { recursive: true });
  const [folder, outDir] = await Promise.all([
    mkdtemp(join(tmpdir(), 'preimage-cli-')),
    mkdtemp(join(cache, 'preimage-cli-')),
  ]);
  await build({ root, logLevel: 'error', build: { outDir, emptyOutDir: true, sourcemap: false } });
  const program = join(outDir, 'cli.js');

  function start(args: readonly string[], env: Record<string, string> = {}) {
    const child = spawn(process.execPath, [program, ...args], { cwd: folder, env: { ...process.env, ...env } });
    const result = new Promise<Result>((resolve, reject) => {
      let stdout = '';
      let stderr = '';
      child.stdout.on('data', (chunk) => {
        stdout += chunk;
      });
      child.stderr.on('data', (chunk) => {
        stderr += chunk;
      });
      child.on('error', reject);
      child.on('close', (code) => resolve({ code, stdout, stderr }));
    });
    return { child, result };
  }

  return {
    folder,
    start,
    run: (args, env) => start(args, env).result,
    remove: async () => {
      await Promise.all([folder, outDir].map((path) => rm(path, { recursive: true, force: true })));
    },
  };
}
