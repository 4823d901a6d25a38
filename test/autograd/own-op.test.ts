import { expect, test } from 'vitest';
import { testContext } from '#context';
import { gradcheck } from '../../src/autograd/gradcheck.ts';
import { f32 } from '../../src/gpu/uniforms.ts';
import { multiply } from '../../src/ops/elementwise.ts';
import { apply, type Op } from '../../src/ops/op.ts';
import { empty, read, type Tensor, upload } from '../../src/tensor/tensor.ts';

// An operation of one's own, from its shader to its derivatives: y = sin(x + phase).
const code = `
struct Params { size: u32, phase: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.size) { y[id.x] = sin(x[id.x] + params.phase); }
}`;

const sine: Op<[x: Tensor], number> = {
  name: 'sine',
  forward([x], phase) {
    const y = empty(x.context, x.shape);
    x.context.run({
      kernel: { shader: { file: 'sine.wgsl', code }, entry: 'main' },
      buffers: [x.buffer, y.buffer],
      uniforms: [x.size, f32(phase)],
      workgroups: [Math.ceil(x.size / 64)],
      cost: 10 * x.size,
    });
    return { value: y };
  },
  // cos x = sin(x + pi / 2)
  vjp: (dy, { inputs: [x] }, _, phase) => [multiply(dy, sin(x, phase + Math.PI / 2))],
  jvp: ([dx], { inputs: [x] }, phase) => multiply(dx!, sin(x, phase + Math.PI / 2)),
};
const sin = (x: Tensor, phase = 0) => apply(sine, [x], phase);

test("a user's own operation computes, and has the derivatives it says", async () => {
  const context = await testContext();
  const x = upload(context, Float32Array.of(-2, -1, 0, 0.5, 1, 3));
  const y = await read(sin(x));
  y.forEach((value, i) => {
    expect(value).toBeCloseTo(Math.sin([-2, -1, 0, 0.5, 1, 3][i]), 5);
  });
  const { ok, ...errors } = await gradcheck((x) => sin(x), [x]);
  expect(ok, JSON.stringify(errors)).toBe(true);
  context.destroy();
});
