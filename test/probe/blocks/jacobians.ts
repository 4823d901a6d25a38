import { expect } from 'vitest';
import type { Context } from '../../../src/gpu/context.ts';
import type { Block } from '../../../src/probe/blocks/block.ts';
import { read, upload } from '../../../src/tensor/tensor.ts';
import { rmsError } from '../../support/agree.ts';

const STEP = 1e-6;

/** Checks the Jacobians of a block on the GPU, by several sets of cotangents at once, against differences of its twin. */
export async function expectJacobians(context: Context, block: Block, rows: Float32Array): Promise<void> {
  const d = block.width;
  const count = rows.length / d;
  using at = block.linearize(upload(context, rows, [count, d]), new Uint32Array(count));
  const got = await read(at.jacobians()); // (d, B, d)
  const want = new Float64Array(d * count * d);
  for (let i = 0; i < d; i++) {
    const [right, left] = [STEP, -STEP].map((h) =>
      block.twin(Float64Array.from(rows, (v, e) => v + (e % d === i ? h : 0))),
    );
    right.forEach((value, e) => {
      const [b, j] = [Math.floor(e / d), e % d];
      want[(j * count + b) * d + i] = (value - left[e]) / (2 * STEP);
    });
  }
  expect(rmsError(got, want), 'Jacobians').toBeLessThan(1e-4);
}
