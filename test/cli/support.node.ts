import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';
import { expect } from 'vitest';

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
  /** Starts `preimage`; the result comes when it ends. `stdout` may be an open file, and is not in the result then. */
  start(
    args: readonly string[],
    env?: Record<string, string>,
    stdout?: 'pipe' | number,
  ): { child: ChildProcess; result: Promise<Result> };
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

  function start(args: readonly string[], env: Record<string, string> = {}, out: 'pipe' | number = 'pipe') {
    const child = spawn(process.execPath, [program, ...args], {
      cwd: folder,
      // A cache of its own: what is kept there is what the tests have kept.
      env: { ...process.env, XDG_CACHE_HOME: join(folder, 'cache'), ...env },
      stdio: ['pipe', out, 'pipe'],
    });
    const result = new Promise<Result>((resolve, reject) => {
      let stdout = '';
      let stderr = '';
      child.stdout?.on('data', (chunk) => {
        stdout += chunk;
      });
      child.stderr?.on('data', (chunk) => {
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

/** Runs of a command line, once it is built, that must end as their names say. */
export function expectationsOf(cli: () => CommandLine) {
  return {
    /** Runs a command that must succeed and returns its standard output. */
    async ok(...args: string[]): Promise<string> {
      const { code, stdout, stderr } = await cli().run(args);
      expect(stderr).toBe('');
      expect(code).toBe(0);
      return stdout;
    },
    /** Runs a command that must refuse its input; returns the message, which must come without a stack. */
    async refused(...args: string[]): Promise<string> {
      const { code, stdout, stderr } = await cli().run(args);
      expect(stderr).not.toMatch(/\n\s+at /);
      expect(stdout).toBe('');
      expect(code).toBe(2);
      return stderr;
    },
  };
}

/** The lines of standard output, each as JSON. */
export const jsonLines = (stdout: string) =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

/** Waits until a process catches SIGHUP, which it does while it can be interrupted (Linux only). */
export async function untilInterruptible({ pid }: ChildProcess): Promise<void> {
  for (let caught = 0n; (caught & 1n) === 0n; ) {
    await new Promise((resolve) => setTimeout(resolve, 20));
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    caught = BigInt(`0x${/^SigCgt:\s*(\w+)/m.exec(status)![1]}`);
  }
}
