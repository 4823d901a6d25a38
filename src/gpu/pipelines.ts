import { GpuError, type PreimageError } from '../errors.ts';
import { compilationError, type Kernel, kernelCode, kernelKey, storageBindings } from './shader.ts';
import { COMPUTE_STAGE } from './usage.ts';

/** A kernel ready to dispatch. */
export interface Pipeline {
  readonly kernel: Kernel;
  readonly label: string;
  readonly gpu: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  /** Number of storage bindings, numbered 1..n (0 is the uniform). */
  readonly bindings: number;
  readonly id: number;
}

/** Pipelines by kernel; each is compiled once, whoever asks. */
export interface PipelineCache {
  readonly statistics: { pipelinesCreated: number };
  /** The pipeline, compiled on the spot when nobody warmed it up. */
  get(kernel: Kernel): Pipeline;
  /**
   * Compiles kernels in parallel, off the main thread where the browser can.
   * @param onProgress Called after each with the number done and the total.
   */
  warmUp(kernels: readonly Kernel[], onProgress?: (done: number, total: number) => void): Promise<void>;
}

/** @param report Receives errors that surface after the synchronous call has returned. */
export function createPipelineCache(
  device: GPUDevice,
  report: (error: Promise<PreimageError | undefined>) => void,
): PipelineCache {
  const ready = new Map<string, Pipeline>();
  const pending = new Map<string, Promise<void>>();
  const modules = new Map<string, GPUShaderModule>();
  const statistics = { pipelinesCreated: 0 };

  function describe(kernel: Kernel) {
    const code = kernelCode(kernel);
    let module = modules.get(code);
    if (!module) {
      module = device.createShaderModule({ label: kernel.shader.file, code });
      modules.set(code, module);
    }
    const access = storageBindings(code);
    const bindings = Math.max(0, ...access.keys());
    const layout = device.createBindGroupLayout({
      entries: [
        { binding: 0, visibility: COMPUTE_STAGE, buffer: { type: 'uniform', hasDynamicOffset: true } },
        ...[...access].map(([binding, mode]) => ({
          binding,
          visibility: COMPUTE_STAGE,
          buffer: { type: mode === 'read' ? ('read-only-storage' as const) : ('storage' as const) },
        })),
      ],
    });
    const label = `${kernel.shader.file.replace(/^.*\//, '').replace('.wgsl', '')}.${kernel.entry}`;
    const descriptor: GPUComputePipelineDescriptor = {
      label,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: kernel.entry, constants: { ...kernel.constants } },
    };
    return { module, descriptor, layout, bindings, label };
  }

  function keep(
    kernel: Kernel,
    gpu: GPUComputePipeline,
    { layout, bindings, label }: ReturnType<typeof describe>,
  ): Pipeline {
    const pipeline = { kernel, gpu, layout, bindings, label, id: statistics.pipelinesCreated++ };
    ready.set(kernelKey(kernel), pipeline);
    return pipeline;
  }

  async function compile(kernel: Kernel): Promise<void> {
    device.pushErrorScope('validation');
    const parts = describe(kernel);
    const scope = device.popErrorScope();
    try {
      const gpu = await device.createComputePipelineAsync(parts.descriptor);
      if (!ready.has(kernelKey(kernel))) keep(kernel, gpu, parts);
    } catch (cause) {
      throw (
        (await compilationError(parts.module, kernel)) ?? pipelineError(kernel, (await scope)?.message ?? String(cause))
      );
    }
    await scope;
  }

  return {
    statistics,
    get(kernel) {
      const found = ready.get(kernelKey(kernel));
      if (found) return found;
      device.pushErrorScope('validation');
      const parts = describe(kernel);
      const gpu = device.createComputePipeline(parts.descriptor);
      const scope = device.popErrorScope();
      report(
        scope.then(async (error) => {
          if (!error) return undefined;
          ready.delete(kernelKey(kernel)); // so that the next to ask is told too
          return (await compilationError(parts.module, kernel)) ?? pipelineError(kernel, error.message);
        }),
      );
      return keep(kernel, gpu, parts);
    },
    async warmUp(kernels, onProgress) {
      const missing = new Map(kernels.map((kernel) => [kernelKey(kernel), kernel]));
      let done = 0;
      await Promise.all(
        [...missing].map(async ([key, kernel]) => {
          if (!ready.has(key)) {
            const compiling = pending.get(key) ?? compile(kernel).finally(() => pending.delete(key));
            pending.set(key, compiling);
            await compiling;
          }
          onProgress?.(++done, missing.size);
        }),
      );
    },
  };
}

function pipelineError(kernel: Kernel, message: string): GpuError {
  return new GpuError(
    `No pipeline for ${kernel.shader.file} (${kernel.entry}, ${JSON.stringify(kernel.constants ?? {})}): ${message}`,
    'Check the override constants against the limits of this adapter ("preimage info").',
  );
}
