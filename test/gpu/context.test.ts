import { afterEach, describe, expect, test, vi } from 'vitest';
import { testAdapter, testContext } from '#context';
import { DeviceLostError, GpuError, OutOfMemoryError, ShaderError, ShapeError } from '../../src/errors.ts';
import { type Context, type ContextOptions, createContext } from '../../src/gpu/context.ts';
import type { Kernel } from '../../src/gpu/shader.ts';
import { activation } from '../../src/ops/activation.ts';
import { attention, uploadVisibility } from '../../src/ops/attention.ts';
import { distance } from '../../src/ops/distance.ts';
import { add, scale } from '../../src/ops/elementwise.ts';
import { embedding } from '../../src/ops/embedding.ts';
import { grid } from '../../src/ops/kernels.ts';
import { layernorm } from '../../src/ops/layernorm.ts';
import { matmul } from '../../src/ops/matmul.ts';
import { softmax } from '../../src/ops/softmax.ts';
import { argmin } from '../../src/ops/topk.ts';
import { empty, read, readAll, reshape, type Tensor, upload } from '../../src/tensor/tensor.ts';

const open: Context[] = [];
afterEach(() => {
  for (const context of open.splice(0)) context.destroy();
});

/** A context for one test, destroyed after it, on a device of its own. */
async function newContext(): Promise<Context> {
  const context = await testContext();
  open.push(context);
  return context;
}

/** A context with options of its own over such a device. */
async function contextWith(options: Omit<ContextOptions, 'device' | 'adapter'>): Promise<Context> {
  const { device } = await newContext();
  const context = await createContext({ device, ...options });
  open.unshift(context);
  return context;
}

const filled = (context: Context, value: number, size = 64): Tensor =>
  upload(context, new Float32Array(size).fill(value));
const first = async (tensor: Tensor) => (await read(tensor))[0];
const later = () => new Promise((resolve) => setTimeout(resolve, 50));

const KERNEL = `
@group(0) @binding(0) var<uniform> params: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(1) fn main() {
  y[0] = x[0] + 1.0;
}
`;
const kernelOf = (file: string, code = KERNEL): Kernel => ({ shader: { file, code }, entry: 'main' });
const broken = (file = 'test/broken.wgsl') => kernelOf(file, KERNEL.replace('x[0] + 1.0', 'x[0] + nobody'));

function runOn(context: Context, kernel: Kernel, x: Tensor, y: Tensor, cost = 1): void {
  context.run({ kernel, buffers: [x.buffer, y.buffer], uniforms: [0], workgroups: [1], cost });
}

/** A dispatch that the device must reject: its input is its output. */
const runBadly = (context: Context) => {
  const x = filled(context, 1);
  runOn(context, kernelOf('test/one.wgsl'), x, x);
};

describe('the device', () => {
  test('of the caller outlives the context; buffers made on it do not', async () => {
    const { device } = await newContext();
    const context = await createContext({ device });
    const x = filled(context, 3);
    context.destroy();
    expect(() => scale(x, 2)).toThrow(DeviceLostError);
    x.dispose();
    const next = await createContext({ device });
    expect(await first(scale(filled(next, 3), 2))).toBe(6);
    next.destroy();
  });

  test('of its own is destroyed with the context', async () => {
    const context = await newContext();
    context.destroy();
    context.destroy();
    expect((await context.device.lost).reason).toBe('destroyed');
    await expect(context.finish()).rejects.toThrow(/destroyed.*createContext/);
  });

  test('lost in mid-run fails the pending read and every later call, with the way out', async () => {
    const context = await newContext();
    const x = filled(context, 1);
    const pending = read(scale(x, 2));
    context.device.destroy();
    await expect(pending).rejects.toThrow(DeviceLostError);
    expect(() => scale(x, 2)).toThrow(/lost \(destroyed\).*create a new context/);
    expect(() => filled(context, 2)).toThrow(DeviceLostError);
    await expect(read(x)).rejects.toThrow(DeviceLostError);
    await expect(context.finish()).rejects.toThrow(DeviceLostError);
  });

  test('lost while kernels compile, memory is allocated and a profile runs leaves no promise behind', async () => {
    const context = await newContext();
    const profile = context.recorder.profile(async () => {
      runOn(context, kernelOf('test/one.wgsl'), filled(context, 1), empty(context, [5 * 2 ** 20]));
      const warm = context.pipelines.warmUp([kernelOf('test/two.wgsl')]).catch(() => {});
      const pending = context.finish();
      context.device.destroy();
      await warm;
      await pending;
    });
    await expect(profile).rejects.toThrow(DeviceLostError);
    await later(); // a rejection that nobody handles would fail the run
  });
});

describe('what the device rejects', () => {
  test('surfaces as a GpuError at the read that waits for it, once', async () => {
    const context = await newContext();
    runBadly(context);
    await expect(context.finish()).rejects.toThrow(GpuError);
    expect(await first(scale(filled(context, 3), 2))).toBe(6);
  });

  test('is kept until somebody asks', async () => {
    const context = await newContext();
    runBadly(context);
    context.recorder.flush();
    await context.device.queue.onSubmittedWorkDone();
    await later();
    expect(() => filled(context, 1)).toThrow(GpuError);
    context.check();
  });

  test('is told before it is sent where we can know: buffers that do not match, a grid beyond the limit', async () => {
    const context = await newContext();
    const [x, y] = [filled(context, 1), filled(context, 2)];
    const kernel = kernelOf('test/one.wgsl');
    const run = (buffers: Tensor[], groups: number) => () =>
      context.run({ kernel, buffers: buffers.map((t) => t.buffer), uniforms: [], workgroups: [groups], cost: 1 });
    expect(run([x], 1)).toThrow(/test\/one.wgsl.* declares 2 storage bindings and was given 1/);
    expect(run([x, y], 65536)).toThrow(/65536.*allows 65535/);
  });
});

describe('a shader that does not compile', () => {
  const message =
    /broken.wgsl \(main\) does not compile[\s\S]*test\/broken.wgsl:6:\d+: error: .*nobody[\s\S]* {2}y\[0\] = x\[0\] \+ nobody;\n *\^/;

  test('is named by file, line and column with its source line, at the next wait', async () => {
    const context = await newContext();
    runOn(context, broken(), filled(context, 1), filled(context, 2));
    const error = await context.finish().catch((e: unknown) => e);
    expect(error).toBeInstanceOf(ShaderError);
    expect((error as Error).message).toMatch(message);
  });

  test('is named so each time it is used, and spares the others', async () => {
    const context = await newContext();
    for (let i = 0; i < 2; i++) {
      runOn(context, broken(), filled(context, 1), filled(context, 2));
      await expect(context.finish()).rejects.toThrow(ShaderError);
    }
    expect(await first(scale(filled(context, 3), 2))).toBe(6);
  });

  test('fails warmUp with the same message', async () => {
    const context = await newContext();
    const kernels = [broken(), kernelOf('test/one.wgsl')];
    for (let i = 0; i < 2; i++) await expect(context.pipelines.warmUp(kernels)).rejects.toThrow(message);
    const y = filled(context, 0);
    runOn(context, kernels[1], filled(context, 3), y);
    expect(await first(y)).toBe(4);
  });

  test('may also be one whose constants the device does not take', async () => {
    const context = await newContext();
    const kernel = { ...kernelOf('test/constant.wgsl'), constants: { NOBODY: 1 } };
    await expect(context.pipelines.warmUp([kernel])).rejects.toThrow(/constant.wgsl \(main, {"NOBODY":1}\).*override/s);
    expect(() => context.pipelines.get({ ...kernelOf('test/tile.wgsl'), tiles: { TILE: 4 } })).toThrow(
      'test/tile.wgsl has no line "const TILE: u32',
    );
  });
});

describe('a plan', () => {
  test('names each kernel once, runs none, copies nothing and keeps nothing', async () => {
    const context = await newContext();
    const source = upload(context, Float32Array.of(1, 2, 3, 4), [2, 2]);
    const target = filled(context, 7, 2);
    const { liveBytes } = context.pool.statistics;
    const kernels = context.plan(() => {
      scale(scale(source, 2), 3);
      context.copy(source.buffer, 0, target.buffer, 0, 8);
    });
    expect(kernels.map(({ entry }) => entry)).toEqual(['scale']);
    expect(context.recorder.statistics.dispatches).toBe(0);
    expect(context.pool.statistics.liveBytes).toBe(liveBytes);
    expect([...(await read(target))]).toEqual([7, 7]);
  });
});

describe('warming up', () => {
  test('compiles each kernel once, whoever asks, and reports progress', async () => {
    const context = await newContext();
    const compile = vi.spyOn(context.device, 'createComputePipelineAsync');
    const [one, two] = [kernelOf('test/one.wgsl'), kernelOf('test/two.wgsl')];
    const progress: number[][] = [];
    await Promise.all([
      context.pipelines.warmUp([one, two, one], (done, total) => progress.push([done, total])),
      context.pipelines.warmUp([two]),
    ]);
    await context.pipelines.warmUp([one, two]);
    runOn(context, one, filled(context, 1), filled(context, 2));
    expect(progress).toEqual([
      [1, 2],
      [2, 2],
    ]);
    expect(compile).toHaveBeenCalledTimes(2);
    expect(context.pipelines.statistics.pipelinesCreated).toBe(2);
    await context.finish();
  });
});

describe('memory', () => {
  test('beyond the largest buffer is refused with what was needed and what is allowed', async () => {
    const context = await newContext();
    const limit = context.device.limits.maxBufferSize;
    expect(() => empty(context, [2, limit / 4], 'f32', 'huge')).toThrow(OutOfMemoryError);
    expect(() => empty(context, [2, limit / 4], 'f32', 'huge')).toThrow(`huge needs a buffer of ${2 * limit} bytes`);
    expect(() => empty(context, [2, limit / 4], 'f32', 'huge')).toThrow(`this device allows ${limit}.`);
    context.check();
  });

  test('beyond the largest binding is refused when a kernel is to bind it', async () => {
    const device = await (await testAdapter()).requestDevice();
    const context = await createContext({ device });
    const limit = device.limits.maxStorageBufferBindingSize;
    const tooLarge = empty(context, [limit / 4 + 64]);
    expect(() => scale(tooLarge, 2)).toThrow(OutOfMemoryError);
    expect(() => scale(tooLarge, 2)).toThrow(`this device allows ${limit}`);
    context.destroy();
    device.destroy();
  });

  test('stays in its budget: idle buffers go first, though recorded work still reads them', async () => {
    const context = await contextWith({ byteBudget: 2 ** 20 });
    const x = filled(context, 5, 150_000);
    const y = context.scope(() => empty(context, [1]));
    runOn(context, kernelOf('test/one.wgsl'), x, y);
    x.dispose();
    const large = empty(context, [200_000]);
    expect(await first(y)).toBe(6);
    expect(context.pool.statistics.idleBytes).toBe(0);
    expect(() => empty(context, [100_000], 'f32', 'states')).toThrow(
      /states needs \d+ bytes; \d+ of the budget of 1048576/,
    );
    large.dispose();
    empty(context, [100_000]);
  });

  test('that the device turns out not to have is an OutOfMemoryError, and a later try gets a sound buffer', async () => {
    const context = await newContext();
    const { device } = context;
    const create = device.createBuffer.bind(device);
    // Stands in for a device whose memory is full: the buffer it gives is invalid.
    device.createBuffer = (descriptor) => create({ ...descriptor, usage: 0 });
    const failed = empty(context, [5 * 2 ** 20], 'f32', 'cached keys');
    device.createBuffer = create;
    runOn(context, kernelOf('test/one.wgsl'), failed, filled(context, 0));
    const error = await context.finish().catch((e: unknown) => e);
    expect(error).toBeInstanceOf(OutOfMemoryError);
    expect((error as Error).message).toMatch(/^cached keys \(20971520 bytes\) could not be allocated/);
    failed.dispose();
    const again = empty(context, [5 * 2 ** 20]);
    runOn(context, kernelOf('test/one.wgsl'), filled(context, 1), again);
    expect(await first(reshape(again, [5 * 2 ** 20]))).toBe(2);
  });

  test('that is uploaded never lands in a buffer which recorded work still reads', async () => {
    const context = await newContext();
    const x = filled(context, 3);
    const doubled = scale(x, 2);
    const buffer = x.buffer;
    x.dispose();
    const z = filled(context, 100);
    expect(z.buffer).not.toBe(buffer);
    expect(await readAll([doubled, z])).toEqual([new Float32Array(64).fill(6), new Float32Array(64).fill(100)]);
    expect(filled(context, 1).buffer, 'after the submit it serves again').toBe(buffer);
  });

  test('that is overwritten keeps its old contents for what was recorded before', async () => {
    const context = await newContext();
    const x = filled(context, 3);
    const doubled = scale(x, 2);
    context.write(x.buffer, 0, Float32Array.of(7, 8));
    const tripled = scale(x, 3);
    expect((await readAll([doubled, tripled])).map((y) => [...y.subarray(0, 3)])).toEqual([
      [6, 6, 6],
      [21, 24, 9],
    ]);
  });

  test('does not grow over ten thousand steps', async () => {
    const context = await newContext();
    const x = filled(context, 1);
    const steps = async (count: number) => {
      for (let i = 1; i <= count; i++) {
        const y = context.scope(() => add(scale(x, i), filled(context, i)));
        if (i % 100 === 0) expect(await first(y)).toBe(2 * i);
        y.dispose();
      }
    };
    await steps(200);
    const before = { ...context.pool.statistics, ...context.recorder.statistics };
    await steps(10_000);
    expect(context.pool.statistics).toEqual({
      buffersCreated: before.buffersCreated,
      liveBytes: before.liveBytes,
      idleBytes: before.idleBytes,
      peakBytes: before.peakBytes,
    });
    expect(context.recorder.statistics.bindGroupsCreated).toBe(before.bindGroupsCreated);
  });
});

describe('a scope', () => {
  const isAlive = (tensor: Tensor) => {
    try {
      return tensor.buffer !== undefined;
    } catch {
      return false;
    }
  };

  test('disposes everything but what it returns: a tensor, an array or a record of them', async () => {
    const context = await newContext();
    const made: Tensor[] = [];
    const make = () => {
      made.push(filled(context, made.length));
      return made.at(-1)!;
    };
    context.scope(() => {
      make();
      return [make(), { deep: make() }];
    });
    expect(made.map(isAlive)).toEqual([false, true, true]);
  });

  test('hands what it returns to the scope around it', async () => {
    const context = await newContext();
    const live = context.pool.statistics.liveBytes;
    let kept: Tensor | undefined;
    const result = context.scope(() => {
      kept = context.scope(() => scale(filled(context, 3), 2));
      expect(isAlive(kept)).toBe(true);
      return scale(kept, 2);
    });
    expect(isAlive(kept!)).toBe(false);
    expect(await first(result)).toBe(12);
    result.dispose();
    expect(context.pool.statistics.liveBytes).toBe(live);
  });

  test('that throws disposes all, and the scope around it goes on', async () => {
    const context = await newContext();
    let lost: Tensor | undefined;
    const result = context.scope(() => {
      const x = filled(context, 3);
      expect(() =>
        context.scope(() => {
          lost = filled(context, 4);
          throw new Error('in mid-step');
        }),
      ).toThrow('in mid-step');
      return scale(x, 2);
    });
    expect(isAlive(lost!)).toBe(false);
    expect(await first(result)).toBe(6);
  });

  test('leaves alone what is made outside all scopes', async () => {
    const context = await newContext();
    const kept = context.scope(() => {
      const outside = context.unscoped(() => filled(context, 5));
      return { first: () => first(outside) };
    });
    expect(await kept.first()).toBe(5);
  });
});

describe('a tensor', () => {
  test('used after dispose is a ShapeError; disposing it twice is nothing', async () => {
    const context = await newContext();
    const x = filled(context, 1);
    const { liveBytes } = context.pool.statistics;
    x.dispose();
    x.dispose();
    x[Symbol.dispose]();
    expect(context.pool.statistics.liveBytes).toBe(liveBytes - x.size * 4);
    expect(() => scale(x, 2)).toThrow(ShapeError);
    await expect(read(x)).rejects.toThrow(/\[64\] is used after dispose\(\)/);
  });

  test('keeps its buffer while a reshape of it lives', async () => {
    const context = await newContext();
    const x = filled(context, 2);
    const matrix = reshape(x, [8, 8]);
    x.dispose();
    filled(context, 9);
    expect(await first(scale(matrix, 2))).toBe(4);
    expect(() => reshape(matrix, [3, 3])).toThrow(/\[8,8\] \(64 elements\) to \[3,3\] \(9\)/);
  });
});

describe('a recording', () => {
  test('takes more dispatches than it has slots for uniforms', async () => {
    const context = await newContext();
    const one = filled(context, 1);
    let sum = filled(context, 0);
    for (let i = 1; i <= 5000; i++) {
      const next = add(sum, one, i);
      sum.dispose();
      sum = next;
    }
    expect(await first(sum)).toBe((5000 * 5001) / 2);
    expect(context.recorder.statistics.submits).toBe(3);
  });

  test('of long work is split into submits of about 200 ms, as fast as the adapter has proved to be', async () => {
    const context = await newContext();
    const submitsFor = async (costs: number[]) => {
      const before = context.recorder.statistics.submits;
      const y = filled(context, 0);
      for (const cost of costs) runOn(context, kernelOf('test/one.wgsl'), filled(context, 1), y, cost);
      context.recorder.flush();
      context.recorder.takeCost(); // so that these made-up costs are not measured
      await context.finish();
      return context.recorder.statistics.submits - before;
    };
    context.recorder.measured(1e10, 1000); // 2e9 in 200 ms
    expect(await submitsFor(new Array(10).fill(1e9))).toBe(5);
    expect(await submitsFor([1e12, 1e12, 1])).toBe(3);
    context.recorder.measured(1.5e8, 19); // mostly latency
    context.recorder.measured(0, 500); // a large readback
    expect(await submitsFor(new Array(10).fill(1e9))).toBe(5);
    context.recorder.measured(1e9, 10); // faster than was thought
    expect(await submitsFor(new Array(10).fill(1e9))).toBe(1);
  });

  test('waited for by several reads at once is not mistaken for slow work', async () => {
    const context = await newContext();
    const measured = vi.spyOn(context.recorder, 'measured');
    const x = filled(context, 1, 2 ** 20);
    const y = Array.from({ length: 30 }).reduce<Tensor>((sum) => activation(sum, 'gelu'), x);
    await Promise.all([read(y), read(x), context.finish()]);
    const [all, ...rest] = measured.mock.calls.map(([, milliseconds]) => milliseconds);
    for (const milliseconds of rest) expect(milliseconds).toBeLessThan(Math.max(20, all! / 2));
  });
});

describe('a profile', () => {
  async function profileOn(context: Context) {
    const x = upload(context, new Float32Array(128 * 128), [128, 128]);
    await read(matmul(x, x));
    return context.recorder.profile(async () => {
      for (let i = 0; i < 600; i++) scale(x, 2).dispose(); // more than the query set holds
      for (let i = 0; i < 3; i++) await read(matmul(x, x));
    });
  }

  function expectTimes(times: Awaited<ReturnType<typeof profileOn>>) {
    const byKernel = new Map(times.map((time) => [time.label, time]));
    const product = times.find(({ label }) => label.startsWith('matmul.'))!;
    expect(byKernel.get('elementwise.scale')!.dispatches).toBe(600);
    expect(product).toMatchObject({ dispatches: 3, flops: 3 * 2 * 128 ** 3 });
    expect(product.milliseconds).toBeGreaterThan(0);
    expect(product.milliseconds).toBeLessThan(20_000);
    expect(times).toHaveLength(2);
    expect(times[0].milliseconds).toBeGreaterThanOrEqual(times[1].milliseconds);
  }

  test('gives the time of each kernel', async () => {
    expectTimes(await profileOn(await newContext()));
  });

  test('does so by the wall clock on a device without timestamps', async () => {
    const device = await (await testAdapter()).requestDevice();
    expect(device.features.has('timestamp-query')).toBe(false);
    const context = await createContext({ device });
    expectTimes(await profileOn(context));
    context.destroy();
    device.destroy();
  });

  test('of work that throws throws it, and leaves the recorder as it was', async () => {
    const context = await newContext();
    const x = filled(context, 1);
    const profile = context.recorder.profile(async () => {
      scale(x, 2);
      throw new Error('in mid-profile');
    });
    await expect(profile).rejects.toThrow('in mid-profile');
    expect(await first(scale(x, 3))).toBe(3);
  });
});

describe('sizes', () => {
  test.each([0, 1, 65535, 65536, 65537, 131071, 10_000_019])('%i workgroups fit a grid', (count) => {
    const [x, y] = grid(count);
    expect(Math.max(x, y)).toBeLessThanOrEqual(65535);
    expect(x * y).toBeGreaterThanOrEqual(count);
    expect(x * y - count).toBeLessThan(Math.max(y, 1));
  });

  test('beyond 65535 workgroups are computed to the last element', async () => {
    const context = await newContext();
    const values = new Float32Array(65535 * 64 + 65).fill(1);
    values[values.length - 1] = 3;
    const result = await read(scale(upload(context, values), 2));
    expect(result.every((v, i) => v === 2 * values[i])).toBe(true);
  });

  test.each(['cpu', 'hardware'] as const)('of zero rows give zero rows (%s)', async (kind) => {
    const context = await contextWith({ kind });
    const none = upload(context, new Float32Array(), [0, 8]);
    const [matrix, row] = [upload(context, new Float32Array(64), [8, 8]), filled(context, 1, 8)];
    const cache = { keys: reshape(matrix, [1, 8, 8]), values: reshape(matrix, [1, 8, 8]) };
    const nobody = uploadVisibility(context, { slots: new Uint32Array(), seen: new Uint32Array() });
    const results = [
      scale(none, 2),
      add(none, none),
      activation(none, 'relu'),
      softmax(none),
      layernorm(none, row, row, 1e-5),
      matmul(none, matrix),
      distance(none, reshape(row, [1, 8])),
      argmin(none).values,
      embedding(context, { rows: 8, width: 8, chunks: [matrix] }, new Uint32Array()),
      attention(upload(context, new Float32Array(), [0, 24]), cache, nobody, { heads: 2, scale: 1 }),
    ];
    for (const result of results) expect(result.shape[0]).toBe(0);
    for (const values of await readAll(results)) expect(values).toHaveLength(0);
  });

  test('of a product with nothing to sum over give the bias', async () => {
    const context = await newContext();
    const [a, b] = [upload(context, new Float32Array(), [5, 0]), upload(context, new Float32Array(), [0, 8])];
    expect(await read(matmul(a, b, { bias: filled(context, 7, 8) }))).toEqual(new Float32Array(40).fill(7));
  });
});
