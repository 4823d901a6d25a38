import code from '../../shaders/elementwise.wgsl?raw';
import { ShapeError } from '../errors.ts';
import { f32 } from '../gpu/uniforms.ts';
import { empty, type Tensor } from '../tensor/tensor.ts';
import { elementGrid } from './kernels.ts';
import { apply, expectOneSet, type Op } from './op.ts';
import { columnSums, repeat } from './reduce.ts';
import { countSets } from './sets.ts';

const shader = { file: 'shaders/elementwise.wgsl', code };

function run(entry: string, a: Tensor, b?: Tensor, factor = 1): Tensor {
  const { context, shape, size } = a;
  const y = empty(context, shape, 'f32', entry);
  context.run({
    kernel: { shader, entry },
    buffers: [a.buffer, b?.buffer, y.buffer],
    uniforms: [size, b?.size ?? 1, f32(factor)],
    workgroups: elementGrid(size),
    cost: 2 * size,
  });
  return y;
}

function expectRepeats(a: Tensor, b: Tensor, verb: string): void {
  if (b.size === 0 ? a.size === 0 : a.size % b.size === 0) return;
  throw new ShapeError(
    `Cannot ${verb} [${a.shape}] and [${b.shape}].`,
    'Give two of one shape, or a matrix and a row.',
  );
}

/** Tangents of both in as many sets; of an operand that is repeated, one. */
function expectSets(da: Tensor | undefined, db: Tensor | undefined, a: Tensor, b: Tensor): void {
  countSets([da, db], [a, b]);
  if (db && b.size < a.size) expectOneSet(db, b);
}

/** A derivative by an operand that may have been repeated: the sum over its repetitions. */
function overRepetitions(dy: Tensor, value: Tensor, b: Tensor): Tensor {
  if (b.size === value.size) return dy;
  expectOneSet(dy, value);
  return columnSums(dy, b.size);
}

const addition: Op<[a: Tensor, b: Tensor], number> = {
  name: 'add',
  forward: ([a, b], factor) => ({ value: run('add', a, b, factor) }),
  vjp(dy, { inputs: [, b], value }, [, wantsB], factor) {
    const db = wantsB ? overRepetitions(dy, value, b) : undefined;
    return [dy, db && factor !== 1 ? scale(db, factor) : db];
  },
  jvp([da, db], { inputs: [a, b] }, factor) {
    expectSets(da, db, a, b);
    if (da && db) return add(da, db, factor);
    if (da) return scale(da, 1);
    return scale(b.size < a.size ? repeat(db!, a.shape) : db!, factor);
  },
};

/**
 * a + factor * b.
 * @param a [...]
 * @param b The same shape, or one whose elements repeat (a row added to every row of a).
 * @throws ShapeError when b does not divide a.
 */
export function add(a: Tensor, b: Tensor, factor = 1): Tensor {
  expectRepeats(a, b, 'add');
  return apply(addition, [a, b], factor);
}

const scaling: Op<[a: Tensor], number> = {
  name: 'scale',
  forward: ([a], factor) => ({ value: run('scale', a, undefined, factor) }),
  vjp: (dy, _, __, factor) => [scale(dy, factor)],
  jvp: ([da], _, factor) => scale(da!, factor),
};

/** factor * a. */
export const scale = (a: Tensor, factor: number): Tensor => apply(scaling, [a], factor);

const multiplication: Op<[a: Tensor, b: Tensor]> = {
  name: 'multiply',
  forward: ([a, b]) => ({ value: run('multiply', a, b) }),
  vjp: (dy, { inputs: [a, b], value }, [wantsA, wantsB]) => [
    wantsA ? multiply(dy, b) : undefined,
    wantsB ? overRepetitions(multiply(dy, a), value, b) : undefined,
  ],
  jvp([da, db], { inputs: [a, b] }) {
    expectSets(da, db, a, b);
    const first = da && multiply(da, b);
    const second = db && (b.size < a.size ? multiply(a, db) : multiply(db, a));
    return first && second ? add(first, second) : (first ?? second!);
  },
};

/**
 * a * b, element by element.
 * @param a [...]
 * @param b The same shape, or one whose elements repeat.
 * @throws ShapeError when b does not divide a.
 */
export function multiply(a: Tensor, b: Tensor): Tensor {
  expectRepeats(a, b, 'multiply');
  return apply(multiplication, [a, b], undefined);
}
