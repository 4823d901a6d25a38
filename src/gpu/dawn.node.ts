import { isMainThread } from 'node:worker_threads';
import { AdapterError } from '../errors.ts';
import { cureBusyPoll } from './busy-poll.node.ts';
import { hasVulkanLoader, prepareSwiftShader, withSwiftShader, withVariables } from './swiftshader.node.ts';

/** Which adapter to take; any other string is looked for in the adapters' names (case does not matter). */
export type NodeAdapterChoice = 'auto' | 'system' | 'swiftshader' | 'opengles' | (string & {});

/** Options of `requestNodeAdapter`. */
export type NodeAdapterOptions = {
  /** Default `PREIMAGE_ADAPTER`, else `auto`: the system's adapter, else packaged SwiftShader. */
  adapter?: NodeAdapterChoice;
  /** Which of several GPUs. */
  powerPreference?: GPUPowerPreference;
  /** Leave Dawn's busy polling as it is (see `cureBusyPoll`); `PREIMAGE_BUSY_POLL=1` does the same. */
  busyPoll?: boolean;
};

/** An adapter, good for one device, and how it was come by. */
export type NodeAdapter = {
  gpu: GPU;
  adapter: GPUAdapter;
  /** One sentence for the user: which adapter, and why this one. */
  reason: string;
};

type Dawn = typeof import('webgpu');
type Attempt = { adapter: NodeAdapter; missing?: undefined } | { adapter?: undefined; missing: string };
type Wanted = { dawn: Dawn; powerPreference?: GPUPowerPreference; name?: string };

/** A `GPU` must outlive the devices that come from it, so they are kept: one for each list of `create` options. */
const instances = new Map<string, GPU>();

const CURE =
  'Install a Vulkan driver (Debian 13 or Ubuntu 24.04: apt install mesa-vulkan-drivers), ' +
  'or, on x64 Linux, a CPU adapter from npm: npm i @sparticuz/chromium';

/**
 * Gets a fresh WebGPU adapter in Node from Dawn (npm `webgpu`): the system's (a GPU, or Mesa >= 25's lavapipe), else
 * SwiftShader out of `@sparticuz/chromium`. `opengles` (Mesa's llvmpipe without Vulkan) is taken only when asked for.
 * Defines WebGPU's globals (`GPUBufferUsage` and the like) where they are missing.
 *
 * @throws AdapterError when no such adapter can be had; the message lists what was tried.
 */
export async function requestNodeAdapter(options: NodeAdapterOptions = {}): Promise<NodeAdapter> {
  const dawn = await loadDawn();
  defineMissing(dawn.globals);
  if (!(options.busyPoll ?? process.env.PREIMAGE_BUSY_POLL === '1')) cureBusyPoll(dawn.globals);

  const choice = options.adapter || process.env.PREIMAGE_ADAPTER || 'auto';
  const tried: string[] = [];
  const { attempts, name } = planFor(choice);
  for (const attempt of attempts) {
    const { adapter, missing } = await attempt({ dawn, powerPreference: options.powerPreference, name });
    if (!adapter) tried.push(missing);
    else if (!tried.length || name) return adapter;
    else return { ...adapter, reason: `${adapter.reason}; ${tried.join('; ')}` };
  }
  const hint = isMainThread ? '' : ' SwiftShader needs the main thread: a worker cannot set the environment it reads.';
  throw new AdapterError(`No WebGPU adapter for '${choice}': ${tried.join('; ')}.${hint}`, cureFor(name));
}

function planFor(choice: string): { attempts: ((wanted: Wanted) => Promise<Attempt>)[]; name?: string } {
  switch (choice) {
    case 'auto':
      return { attempts: [trySystem, trySwiftShader] };
    case 'system':
      return { attempts: [trySystem] };
    case 'swiftshader':
      return { attempts: [trySwiftShader] };
    case 'opengles':
      return { attempts: [tryOpenGles] };
    default:
      return { attempts: [trySystem, trySwiftShader], name: choice };
  }
}

function cureFor(name: string | undefined): string {
  return name ? `Name one of those, or use 'auto', 'system', 'swiftshader' or 'opengles'. ${CURE}.` : `${CURE}.`;
}

async function trySystem(wanted: Wanted): Promise<Attempt> {
  if (process.platform === 'linux' && !hasVulkanLoader()) {
    return { missing: 'no system adapter: no Vulkan loader (libvulkan.so.1) is installed' };
  }
  const { found, missing } = await request('system', wanted, [], (ask) => ask());
  if (!found) return { missing: `${wanted.name ? 'system adapters' : 'no system adapter'}: ${missing}` };
  return { adapter: { ...found, reason: `system adapter ${fullName(found.adapter.info)}` } };
}

async function trySwiftShader(wanted: Wanted): Promise<Attempt> {
  const { folder, missing: unprepared } = await prepareSwiftShader();
  if (folder === undefined) return { missing: `no packaged SwiftShader: ${unprepared}` };
  const { found, missing } = await request('swiftshader', wanted, [], (ask) => withSwiftShader(folder, ask));
  if (!found) return { missing: `${wanted.name ? 'packaged' : 'no packaged SwiftShader'}: ${missing}` };
  return { adapter: { ...found, reason: `packaged SwiftShader on the CPU, ${fullName(found.adapter.info)}` } };
}

async function tryOpenGles(wanted: Wanted): Promise<Attempt> {
  // Without a display Mesa must be told so, or it asks for X11.
  const platform: Record<string, string> =
    process.platform === 'linux' && !process.env.EGL_PLATFORM ? { EGL_PLATFORM: 'surfaceless' } : {};
  const { found, missing } = await request('opengles', wanted, ['backend=opengles'], (ask) =>
    withVariables(platform, ask),
  );
  if (!found) return { missing: `no OpenGL ES adapter: ${missing}` };
  const { info } = found.adapter;
  const isOldMesa = /Mesa (1?\d|2[0-4])\./.test(info.description);
  const warning = isOldMesa ? '; beware: Mesa 22.3 cuts every shader loop at 65535 iterations without an error' : '';
  return { adapter: { ...found, reason: `OpenGL ES adapter ${fullName(info)}, as asked${warning}` } };
}

type Found = { found: { gpu: GPU; adapter: GPUAdapter }; missing?: undefined } | { found?: undefined; missing: string };
type Scope = <T>(ask: () => T) => T;

/** Asks for an adapter, or for the one that `wanted.name` names, inside `scope` (Dawn looks for drivers in the call). */
async function request(route: string, wanted: Wanted, flags: string[], scope: Scope): Promise<Found> {
  const ask = (extra: string[]) => requestOnce(`${route} ${extra}`, wanted, [...flags, ...extra], scope);
  if (wanted.name === undefined) return ask([]);

  const names = await listAdapters(wanted.dawn, flags, scope);
  for (const name of names) {
    const answer = await ask([`adapter=${name}`]);
    if (answer.found && matches(wanted.name, `${name} ${fullName(answer.found.adapter.info)}`)) return answer;
  }
  return { missing: names.length ? `'${wanted.name}' is not in ${names.join(', ')}` : 'none at all' };
}

async function requestOnce(key: string, wanted: Wanted, flags: string[], scope: Scope): Promise<Found> {
  const gpu = instances.get(key) ?? wanted.dawn.create(flags);
  const featureLevel = flags.includes('backend=opengles') ? 'compatibility' : 'core';
  const { powerPreference } = wanted;
  const adapter = await scope(() => gpu.requestAdapter({ featureLevel, powerPreference }));
  if (!adapter) return { missing: 'Dawn found no driver it can use' };
  if (/null.backend/i.test(adapter.info.device)) return { missing: 'only the Null backend, which computes nothing' };
  instances.set(key, gpu);
  return { found: { gpu, adapter } };
}

/** Dawn's only list of adapters is the error about a name it does not know. */
async function listAdapters(dawn: Dawn, flags: string[], scope: Scope): Promise<string[]> {
  try {
    await scope(() => dawn.create([...flags, 'adapter=?']).requestAdapter());
    return [];
  } catch (error) {
    return [...`${error}`.matchAll(/name: '(.*)'$/gm)].map(([, name]) => name);
  }
}

function matches(wanted: string, text: string): boolean {
  return text.toLowerCase().includes(wanted.toLowerCase());
}

/** One line that names an adapter: its device, then vendor, architecture and driver where known. */
function fullName(info: GPUAdapterInfo): string {
  const device = info.device.replace(/-+$/, '') || 'a device without a name';
  const rest = [info.vendor, info.architecture, info.description].filter(Boolean);
  return rest.length ? `${device} (${rest.join(', ')})` : device;
}

async function loadDawn(): Promise<Dawn> {
  try {
    return await import('webgpu');
  } catch (cause) {
    throw new AdapterError(
      `Dawn (npm webgpu) does not load on ${process.platform} ${process.arch}: ${(cause as Error).message}.`,
      'It needs npm i webgpu, on Linux (glibc), macOS or Windows; elsewhere run preimage in a browser.',
      { cause },
    );
  }
}

function defineMissing(globals: object): void {
  for (const [name, value] of Object.entries(globals)) {
    if (!(name in globalThis)) {
      Object.defineProperty(globalThis, name, { value, configurable: true, writable: true, enumerable: false });
    }
  }
}
