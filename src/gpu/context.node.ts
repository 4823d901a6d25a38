import { type Context, type ContextOptions, createContext } from './context.ts';
import { type NodeAdapterOptions, requestNodeAdapter } from './dawn.node.ts';

/**
 * A context under Node: the system's adapter, else packaged SwiftShader.
 * @param options As for `createContext`, and which adapter to take (default: what `PREIMAGE_ADAPTER` says).
 * @throws AdapterError when no adapter can be had.
 */
export async function createNodeContext(
  options: Omit<ContextOptions, 'adapter' | 'device'> & NodeAdapterOptions = {},
): Promise<Context> {
  const { adapter: choice, busyPoll, ...rest } = options;
  const { adapter, reason } = await requestNodeAdapter({
    adapter: choice,
    powerPreference: options.powerPreference,
    busyPoll,
  });
  // Dawn names no vendor for Mesa's software OpenGL. (Browsers hide the vendor of real GPUs, so only Node may conclude.)
  const nameless = adapter.info.vendor === '' && !adapter.features.has('core-features-and-limits');
  return createContext({ ...rest, kind: rest.kind ?? (nameless ? 'cpu' : undefined), adapter, reason });
}
