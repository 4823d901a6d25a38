import { performance } from 'node:perf_hooks';
import { promisify } from 'node:util';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { AdapterError } from '../../src/errors.ts';
import { cureBusyPoll, restoreBusyPoll } from '../../src/gpu/busy-poll.node.ts';
import { requestNodeAdapter } from '../../src/gpu/dawn.node.ts';
import { findChromiumPackage } from '../../src/gpu/swiftshader.node.ts';

afterEach(() => {
  vi.unstubAllEnvs();
  restoreBusyPoll();
});

const hasSwiftShader = findChromiumPackage().folder !== undefined;

describe('an adapter in Node', () => {
  test('is found, says why it was taken and gives a device', async () => {
    const { adapter, gpu, reason } = await requestNodeAdapter();
    expect(adapter.info.device).not.toMatch(/null/i);
    expect(reason).toMatch(/^(system adapter|packaged SwiftShader|OpenGL ES adapter)/);
    expect(gpu.wgslLanguageFeatures).toBeDefined();
    const device = await adapter.requestDevice();
    device.destroy();
  });

  test('is fresh each time, since an adapter gives one device only', async () => {
    const first = await requestNodeAdapter();
    const second = await requestNodeAdapter();
    expect(second.adapter).not.toBe(first.adapter);
    const devices = [await first.adapter.requestDevice(), await second.adapter.requestDevice()];
    for (const device of devices) device.destroy();
  });

  test('comes with the WebGPU constants that browsers have', async () => {
    await requestNodeAdapter();
    expect(GPUBufferUsage.STORAGE).toBe(0x80);
    expect(GPUMapMode.READ).toBe(1);
  });

  test.runIf(hasSwiftShader)('can be pinned to SwiftShader, with the environment left as it was', async () => {
    const before = { ...process.env };
    const { adapter, reason } = await requestNodeAdapter({ adapter: 'swiftshader' });
    expect(adapter.info.architecture).toBe('swiftshader');
    expect(reason).toContain('packaged SwiftShader');
    expect({ ...process.env }).toEqual(before);
  });

  test.runIf(hasSwiftShader)('can be named by a part of its name in any case', async () => {
    const { adapter } = await requestNodeAdapter({ adapter: 'swiftSHADER dev' });
    expect(adapter.info.architecture).toBe('swiftshader');
  });

  test('that nobody has is refused with what was tried and a cure', async () => {
    const error = await requestNodeAdapter({ adapter: 'abacus 3000' }).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(AdapterError);
    expect((error as AdapterError).message).toMatch(/'abacus 3000'.*packaged: 'abacus 3000' is not in /);
    expect((error as AdapterError).cure).toMatch(/mesa-vulkan-drivers.*npm i @sparticuz\/chromium/);
  });

  test('is taken from PREIMAGE_ADAPTER, unless the caller asks for another', async () => {
    vi.stubEnv('PREIMAGE_ADAPTER', 'abacus 3000');
    await expect(requestNodeAdapter()).rejects.toThrow(/abacus 3000/);
    expect((await requestNodeAdapter({ adapter: 'auto' })).reason).not.toContain('abacus 3000');
    await expect(requestNodeAdapter({ adapter: 'slide rule' })).rejects.toThrow(/slide rule/);
  });
});

describe('the cure for busy polling', () => {
  test('is installed with the adapter, and not when PREIMAGE_BUSY_POLL or the option says so', async () => {
    const original = globalThis.setImmediate;
    await requestNodeAdapter({ busyPoll: true });
    expect(globalThis.setImmediate).toBe(original);
    vi.stubEnv('PREIMAGE_BUSY_POLL', '1');
    await requestNodeAdapter();
    expect(globalThis.setImmediate).toBe(original);
    await requestNodeAdapter({ busyPoll: false });
    expect(globalThis.setImmediate).not.toBe(original);
    restoreBusyPoll();
    expect(globalThis.setImmediate).toBe(original);
  });

  test('leaves the immediates of others alone', async () => {
    cureBusyPoll({});
    const order: string[] = [];
    const timer = setTimeout(() => order.push('timer'), 500);
    for (let i = 0; i < 1000; i++) await new Promise<void>((resolve) => setImmediate(resolve));
    await new Promise<void>((resolve) => setImmediate((a: string) => resolve(void order.push(a)), 'argument'));
    expect(await promisify(setImmediate)('promised')).toBe('promised');
    const cleared = setImmediate(() => order.push('cleared'));
    clearImmediate(cleared);
    await new Promise((resolve) => setImmediate(resolve));
    clearTimeout(timer);
    expect(order).toEqual(['argument']);
  });

  test('lets the event loop sleep while a map is pending', async () => {
    const { adapter } = await requestNodeAdapter({ busyPoll: false });
    const device = await adapter.requestDevice();
    const map = mapAfterLoop(device, 1e7);
    const before = performance.eventLoopUtilization();
    await map;
    // Without the cure it is 1: a core polls all the time.
    expect(performance.eventLoopUtilization(before).utilization).toBeLessThan(0.5);
    device.destroy();
  });
});

/** Maps a result that takes one GPU thread `steps` rounds of its loop, some 300 ms for 1e7 on SwiftShader. */
function mapAfterLoop(device: GPUDevice, steps: number): Promise<undefined> {
  const code = `
    @group(0) @binding(0) var<storage, read_write> state: array<u32, 2>;
    @compute @workgroup_size(1) fn main() {
      for (var i = 0u; i < state[1]; i++) { state[0] = state[0] * 1664525u + 1013904223u; }
    }`;
  const module = device.createShaderModule({ code });
  const pipeline = device.createComputePipeline({ layout: 'auto', compute: { module } });
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
  const state = device.createBuffer({ size: 8, usage: STORAGE | COPY_SRC | COPY_DST });
  const result = device.createBuffer({ size: 8, usage: MAP_READ | COPY_DST });
  device.queue.writeBuffer(state, 0, new Uint32Array([1, steps]));
  const encoder = device.createCommandEncoder();
  const pass = encoder.beginComputePass();
  pass.setPipeline(pipeline);
  pass.setBindGroup(
    0,
    device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer: state } }],
    }),
  );
  pass.dispatchWorkgroups(1);
  pass.end();
  encoder.copyBufferToBuffer(state, 0, result, 0, 8);
  device.queue.submit([encoder.finish()]);
  return result.mapAsync(GPUMapMode.READ);
}
