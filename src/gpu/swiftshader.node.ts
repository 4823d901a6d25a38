import { randomUUID } from 'node:crypto';
import { accessSync, chmodSync, constants, existsSync, lstatSync, mkdirSync, readFileSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { constants as osConstants, tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { brotliDecompress } from 'node:zlib';
import { cacheFolder } from '../cache-folder.node.ts';

/** glibc's RTLD_NODELETE, which Node does not name: the library stays mapped after Node's own dlclose. */
const RTLD_NODELETE = 0x1000;
const LOADER = 'libvulkan.so.1';
const DRIVER = 'vk_swiftshader_icd.json';
const NEEDED = [LOADER, 'libvk_swiftshader.so', DRIVER];

let mapped: string | undefined;
/** Asked only before the packaged loader is mapped: after that its name is always found. */
let systemLoader: boolean | undefined;

/** Whether a packaged file set was found: its folder, or one clause that says why not. */
export type Found = { folder: string; missing?: undefined } | { folder?: undefined; missing: string };

/**
 * Makes SwiftShader, Google's Vulkan driver that runs on the CPU, available to Dawn from the optional package
 * `@sparticuz/chromium` (x64 Linux): unpacks it once and maps its Vulkan loader into this process when the system
 * has none. Call it on the main thread: a worker's `process.env` is a copy that native code does not see.
 *
 * @returns The folder that holds the driver, for `withSwiftShader`, or why it cannot be had.
 */
export async function prepareSwiftShader(): Promise<Found> {
  const chromium = findChromiumPackage();
  if (chromium.folder === undefined) return chromium;
  try {
    const archive = join(chromium.folder, 'bin', 'swiftshader.tar.br');
    const folder = await unpackOnce(`swiftshader-${packageVersion(chromium.folder)}`, NEEDED, async (into) => {
      await unpackTar(await brotli(archive), into);
    });
    // A system loader reads the same variables, and two loaders in one process are one too many.
    if (!hasVulkanLoader() && mapped === undefined) mapped = mapLibrary(join(folder, LOADER));
    return { folder };
  } catch (cause) {
    return { missing: `@sparticuz/chromium could not be unpacked or mapped (${(cause as Error).message})` };
  }
}

/**
 * Runs `request` while the Vulkan loader sees SwiftShader and no other driver. Dawn looks for drivers inside its first
 * `requestAdapter` call (not in `create`, and before the promise settles), so the variables are put back at once.
 */
export function withSwiftShader<T>(folder: string, request: () => T): T {
  const driver = join(folder, DRIVER);
  return withVariables({ VK_DRIVER_FILES: driver, VK_ICD_FILENAMES: driver }, request);
}

/** Runs `run` with environment variables set that native code reads, and puts them back. */
export function withVariables<T>(variables: Record<string, string>, run: () => T): T {
  const before = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    return run();
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

/** Whether the dynamic linker finds a Vulkan loader; Dawn prints a warning when asked to look for one in vain. */
export function hasVulkanLoader(): boolean {
  if (systemLoader !== undefined) return systemLoader;
  try {
    process.dlopen({ exports: {} }, LOADER, osConstants.dlopen.RTLD_LAZY);
    systemLoader = true;
  } catch (error) {
    systemLoader = isNotAnAddon(error);
  }
  return systemLoader;
}

/** The root folder of the optional package `@sparticuz/chromium`, or why it is of no use here. */
export function findChromiumPackage(): Found {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return { missing: `@sparticuz/chromium is for x64 Linux, this is ${process.arch} ${process.platform}` };
  }
  try {
    const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium');
    return { folder: dirname(dirname(entry)) };
  } catch {
    return { missing: '@sparticuz/chromium is not installed' };
  }
}

/** The `version` of the package whose root is `folder`. */
export function packageVersion(folder: string): string {
  return (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }).version;
}

/** Reads a brotli-compressed file. */
export async function brotli(path: string): Promise<Buffer> {
  return promisify(brotliDecompress)(await readFile(path));
}

/**
 * Fills a folder of the cache at most once per machine and name, safely against other processes that do the same.
 *
 * @param name Name inside the cache; contains the version of what is unpacked.
 * @param needed Files that must be there: a cleaner of `/tmp` may have taken some.
 * @param fill Writes the files into the empty folder it is given.
 * @returns The filled folder.
 */
export async function unpackOnce(
  name: string,
  needed: readonly string[],
  fill: (folder: string) => Promise<void>,
): Promise<string> {
  const folder = join(writableCacheFolder(), name);
  const complete = () => needed.every((file) => existsSync(join(folder, file)));
  if (complete()) return folder;
  const temporary = `${folder}.${process.pid}.${randomUUID()}`;
  await mkdir(temporary);
  try {
    await fill(temporary);
    if (existsSync(folder) && !complete()) await rm(folder, { recursive: true, force: true });
    await rename(temporary, folder).catch((error: unknown) => {
      if (!complete()) throw error; // else another process was faster
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
  return folder;
}

/** Writes the plain files of a tar archive (ustar, short names) into `folder`, flat or in their subfolders. */
export async function unpackTar(archive: Buffer, folder: string): Promise<void> {
  for (let at = 0; at + 512 <= archive.length && archive[at] !== 0; ) {
    const field = (begin: number, end: number) =>
      archive.toString('latin1', at + begin, at + end).replace(/\0.*$/s, '');
    const name = field(0, 100);
    const size = Number.parseInt(field(124, 136), 8);
    const isFile = field(156, 157) === '0' || field(156, 157) === '';
    if (isFile && !name.split('/').includes('..') && !name.startsWith('/')) {
      const path = join(folder, name);
      await mkdir(dirname(path), { recursive: true });
      await writeFile(path, archive.subarray(at + 512, at + 512 + size), {
        mode: Number.parseInt(field(100, 108), 8) & 0o755,
      });
    }
    at += 512 + Math.ceil(size / 512) * 512;
  }
}

/** The cache folder, or where that cannot be written a private folder of this user in the temporary folder. */
function writableCacheFolder(): string {
  try {
    const folder = cacheFolder();
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK | constants.X_OK);
    return folder;
  } catch {
    return privateTemporaryFolder();
  }
}

function privateTemporaryFolder(): string {
  const uid = process.getuid?.();
  const folder = join(tmpdir(), `preimage-${uid}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  // Libraries are loaded from here, so a folder that another user has planted is refused.
  const stat = lstatSync(folder);
  if (!stat.isDirectory() || stat.uid !== uid) throw new Error(`${folder} belongs to someone else`);
  chmodSync(folder, 0o700);
  return folder;
}

function mapLibrary(path: string): string {
  const { RTLD_NOW, RTLD_GLOBAL } = osConstants.dlopen;
  try {
    process.dlopen({ exports: {} }, path, RTLD_NOW | RTLD_GLOBAL | RTLD_NODELETE);
  } catch (error) {
    // It is no Node addon, so Node must refuse it; by then it is mapped, and Dawn finds it by its soname.
    if (!isNotAnAddon(error)) throw new Error(`${basename(path)}: ${(error as Error).message}`);
  }
  return path;
}

function isNotAnAddon(error: unknown): boolean {
  return error instanceof Error && error.message.includes('did not self-register');
}
