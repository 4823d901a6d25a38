import { expect, test } from 'vitest';
import { testContext } from '#context';
import { gradcheck } from '../../src/autograd/gradcheck.ts';
import { add, apply, empty, multiply, type Op, read, type Tensor, upload } from '../../src/index.ts';

// An operation of one's own, from its shader to its derivatives: y = 1 / (1 + exp(-x)).
const code = `
@group(0) @binding(0) var<uniform> size: u32;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < size) { y[id.x] = 1.0 / (1.0 + exp(-x[id.x])); }
}`;

const sigmoidOp: Op<[x: Tensor]> = {
  name: 'sigmoid',
  forward([x]) {
    const y = empty(x.context, x.shape);
    x.context.run({
      kernel: { shader: { file: 'sigmoid.wgsl', code }, entry: 'main' },
      buffers: [x.buffer, y.buffer],
      uniforms: [x.size],
      workgroups: [Math.ceil(x.size / 64)],
      cost: 8 * x.size,
    });
    return { value: y };
  },
  vjp: (dy, { value: y }) => [multiply(dy, slope(y))],
  jvp: ([dx], { value: y }) => multiply(dx!, slope(y)),
};
const slope = (y: Tensor) => add(y, multiply(y, y), -1); // y - y^2
const sigmoid = (x: Tensor) => apply(sigmoidOp, [x], undefined);

test("a user's own operation computes, and has the derivatives it says", async () => {
  const context = await testContext();
  const x = upload(
    context,
    Float32Array.from({ length: 65 }, (_, i) => (i - 30) / 10),
  );
  const [xs, ys] = [await read(x), await read(sigmoid(x))];
  ys.forEach((y, i) => {
    expect(y).toBeCloseTo(1 / (1 + Math.exp(-xs[i])), 5);
  });
  const { ok, ...errors } = await gradcheck(sigmoid, [x]);
  expect(ok, JSON.stringify(errors)).toBe(true);
  context.destroy();
});
