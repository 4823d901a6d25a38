import type { Context } from '../../src/gpu/context.ts';
import { add, multiply, scale } from '../../src/ops/elementwise.ts';
import { matmul } from '../../src/ops/matmul.ts';
import { apply, type Op } from '../../src/ops/op.ts';
import type { Vector } from '../../src/probe/requests.ts';
import { type RowMap, rowMap } from '../../src/probe/row-map.ts';
import { empty, type Tensor, upload } from '../../src/tensor/tensor.ts';
import { seededRandom } from '../support/agree.ts';
import { AXIS } from './scalar-maps.ts';

const code = `
@group(0) @binding(0) var<uniform> size: u32;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < size) { y[id.x] = 1.0 / (1.0 + exp(-x[id.x])); }
}`;

/** An operation of a user's own: 1 / (1 + exp(-x)). */
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

/** A map on the GPU, and what it is in float64. */
export interface OwnMap {
  readonly map: RowMap;
  twin(x: Vector): Vector;
}

/** x + size sigmoid(x W), W random: made of the user's own operation. The larger it is, the harder. */
export function sigmoidMap(context: Context, seed: number, d: number, size: number): OwnMap {
  const w = seededRandom(seed).normal(d * d, 1 / Math.sqrt(d)); // (d, d)
  return {
    map: rowMap(`sigmoid ${seed}`, d, (rows) =>
      add(rows, apply(sigmoidOp, [matmul(rows, upload(context, w, [d, d]))], undefined), size),
    ),
    twin: (x) =>
      x.map((value, j) => {
        const sum = x.reduce((total, v, i) => total + v * w[i * d + j], 0);
        return value + size / (1 + Math.exp(-sum));
      }),
  };
}

/** `disguised(cubic(1, ...roots), level)` in operations of the GPU, d = 3. */
export function cubicMap(context: Context, [a, b, c]: readonly number[], level: number): RowMap {
  const number = (value: number) => upload(context, Float32Array.of(value));
  const axis = (shape: readonly number[]) => upload(context, Float32Array.from(AXIS), shape);
  return rowMap('cubic', 3, (rows) => {
    const t = matmul(rows, axis([3, 1])); // (B, 1)
    const [atA, atB, atC] = [a, b, c].map((root) => add(t, number(root), -1));
    const p = multiply(multiply(atA, atB), atC);
    return add(rows, matmul(add(add(p, t, -1), number(level)), axis([1, 3])));
  });
}

/** A map whose operations fail at the nth call of one of its methods. */
export function failing(map: RowMap, method: 'states' | 'linearize' | 'jvp' | 'jacobians', call: number): RowMap {
  let calls = 0;
  const count = (name: typeof method) => {
    if (name === method && ++calls === call) throw new Error(`call ${call} of ${name} fails`);
  };
  return {
    ...map,
    states(rows, slots) {
      scale(rows, 2); // what a scope has to give back
      count('states');
      return map.states(rows, slots);
    },
    linearize(rows, slots) {
      count('linearize');
      const at = map.linearize(rows, slots);
      return {
        ...at,
        jvp(tangents) {
          scale(tangents, 2);
          count('jvp');
          return at.jvp(tangents);
        },
        jacobians() {
          scale(at.value, 2);
          count('jacobians');
          return at.jacobians();
        },
      };
    },
  };
}
