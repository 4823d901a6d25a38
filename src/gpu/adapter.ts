import { AdapterError } from '../errors.ts';

/** Whether shaders run on a GPU or on the CPU in disguise (SwiftShader, llvmpipe): kernels are shaped accordingly. */
export type AdapterKind = 'hardware' | 'cpu';

/** What is known of an adapter, for reports and for the choice of kernels. */
export interface AdapterDescription {
  /** Human-readable, never empty: "NVIDIA H100", "swiftshader-device-subzero". */
  readonly name: string;
  readonly kind: AdapterKind;
  /** One sentence: why this adapter was taken. */
  readonly reason: string;
  readonly vendor: string;
  readonly architecture: string;
}

/**
 * Describes an adapter; `kind` overrides the guess from its names.
 * @param info May lack any field: browsers hide names, and old ones have no adapter info at all.
 */
export function describeAdapter(info: Partial<GPUAdapterInfo>, reason: string, kind?: AdapterKind): AdapterDescription {
  const { vendor = '', architecture = '', device = '', description = '', isFallbackAdapter = false } = info;
  const isCpu =
    isFallbackAdapter ||
    ['swiftshader', 'software'].includes(architecture) ||
    /llvmpipe|lavapipe|swiftshader/i.test(`${device} ${description}`);
  const name = device || description || `${vendor} ${architecture}`.trim() || 'unnamed adapter';
  return { name: name.replace(/-+$/, ''), kind: kind ?? (isCpu ? 'cpu' : 'hardware'), reason, vendor, architecture };
}

/** Requested where they are there: timestamps for the profiler, the others for kernels of users' own. */
const OPTIONAL_FEATURES: readonly GPUFeatureName[] = ['timestamp-query', 'shader-f16', 'subgroups' as GPUFeatureName];

const GIB = 2 ** 30;

/**
 * Requests a device with no more than is needed: bindings of up to `bindingBytes` where the adapter allows it.
 * Tensors beyond the granted limit are split by the model, not refused.
 *
 * @param bindingBytes The largest tensor the work will bind, in bytes.
 * @throws AdapterError when the adapter gives no device.
 */
export async function requestDevice(adapter: GPUAdapter, bindingBytes: number = GIB): Promise<GPUDevice> {
  const limit = (granted: number) => Math.min(granted, Math.max(bindingBytes, 128 * 2 ** 20));
  try {
    return await adapter.requestDevice({
      label: 'preimage',
      requiredFeatures: OPTIONAL_FEATURES.filter((feature) => adapter.features.has(feature)),
      requiredLimits: {
        maxStorageBufferBindingSize: limit(adapter.limits.maxStorageBufferBindingSize),
        maxBufferSize: Math.min(adapter.limits.maxBufferSize, Math.max(bindingBytes, 256 * 2 ** 20)),
      },
    });
  } catch (cause) {
    throw new AdapterError(
      `The adapter refused a device: ${cause instanceof Error ? cause.message : cause}`,
      'Ask for a fresh adapter (each gives one device only), or choose another adapter.',
      { cause },
    );
  }
}
