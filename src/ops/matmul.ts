import code from '../../shaders/matmul.wgsl?raw';
import { ShapeError } from '../errors.ts';
import type { AdapterKind } from '../gpu/adapter.ts';
import type { Kernel } from '../gpu/shader.ts';
import type { ActivationName } from '../reference/activation.ts';
import { empty, reshape, type Tensor } from '../tensor/tensor.ts';
import { activation as activate, activationIndex } from './activation.ts';
import { add, scale } from './elementwise.ts';
import { expectSize } from './kernels.ts';
import { apply, expectOneSet, isTracked, type Op } from './op.ts';
import { columnSums, repeat } from './reduce.ts';
import { countSets } from './sets.ts';

/** What `matmul` does besides multiplying. */
export interface MatmulOptions {
  /** A is stored [K, M]. */
  readonly transposeA?: boolean;
  /** B is stored [N, K]. */
  readonly transposeB?: boolean;
  /** Added to every row, [N]. */
  readonly bias?: Tensor;
  /** Applied after the bias. */
  readonly activation?: ActivationName;
  /** Added last, [M, N]. */
  readonly residual?: Tensor;
}

/** Sizes of a product; operands transposed as stored. */
interface MatmulShape {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

const shader = { file: 'shaders/matmul.wgsl', code };

/** How the rows and columns of C are shared out: outputs per workgroup along M and N. */
interface Way {
  readonly entry: string;
  readonly rows: number;
  readonly columns: number;
  readonly constants?: Record<string, number>;
}

/** Rows of a tile of `direct`: for many rows and for few. Each is a pipeline to compile for every epilogue. */
const HEIGHTS = [20, 8];
/** What a tile of `direct` costs besides its rows, in rows, as measured: fetching its columns of B. */
const COST_OF_COLUMNS = 6;

/** The way to compute a product on an adapter; `matmul.wgsl` tells what each is for. */
function chooseWay(kind: AdapterKind, { m, n, k, transposeA, transposeB }: MatmulShape): Way {
  if (kind === 'hardware') {
    const isAligned = isWhole(transposeA ? m : k) && isWhole(transposeB ? k : n);
    if (m > 16) return { entry: isAligned ? 'tiled' : 'tiled_any', rows: 64, columns: 64 };
    return transposeB
      ? { entry: 'skinny', rows: m, columns: 8, constants: { SKINNY_X: 32, SKINNY_Y: 8, SLICES_ALONG_X: 1 } }
      : { entry: 'skinny', rows: m, columns: 32, constants: { SKINNY_X: 32, SKINNY_Y: 8, SLICES_ALONG_X: 0 } };
  }
  const WHOLE_STEPS = Number(isWhole(k));
  if (m === 1 && !transposeA) {
    if (transposeB && isWhole(k)) return { entry: 'row_nt', rows: 1, columns: 32 };
    if (!transposeB && isWhole(n)) return { entry: 'row', rows: 1, columns: 64, constants: { WHOLE_STEPS } };
  }
  const cost = (height: number) => Math.ceil(m / height) * (height + COST_OF_COLUMNS);
  const rows = HEIGHTS.reduce((best, height) => (cost(height) < cost(best) ? height : best));
  return { entry: 'direct', rows, columns: 64, constants: { ROWS: rows, WHOLE_STEPS } };
}

/** Whether `size` is whole vec4f. */
const isWhole = (size: number): boolean => size % 4 === 0;

/** The kernel of a way with its epilogue. */
function matmulKernel(way: Way, options: { bias: boolean; residual: boolean; activation: ActivationName }): Kernel {
  return {
    shader,
    entry: way.entry,
    constants: {
      ...way.constants,
      HAS_BIAS: Number(options.bias),
      HAS_RESIDUAL: Number(options.residual),
      ACTIVATION: activationIndex(options.activation),
    },
  };
}

type Operands = [a: Tensor, b: Tensor, bias: Tensor | undefined, residual: Tensor | undefined];

interface Product extends MatmulShape {
  readonly batch: number;
  /** B has a matrix for each of A's. */
  readonly batchedB: boolean;
  readonly activation: ActivationName;
}

const product: Op<Operands, Product> = {
  name: 'matmul',
  forward([a, b, bias, residual], { m, n, k, transposeA, transposeB, batch, batchedB, activation }) {
    const c = empty(a.context, a.shape.length === 3 ? [batch, m, n] : [m, n], 'f32', 'matmul');
    if (c.size === 0) return { value: c };
    const way = chooseWay(a.context.adapter.kind, { m, n, k, transposeA, transposeB });
    const strides = [...(transposeA ? [1, m] : [k, 1]), ...(transposeB ? [1, k] : [n, 1])];
    a.context.run({
      kernel: matmulKernel(way, { bias: bias !== undefined, residual: residual !== undefined, activation }),
      buffers: [a.buffer, b.buffer, bias?.buffer, residual?.buffer, c.buffer],
      uniforms: [m, n, k, ...strides, m * k, batchedB ? k * n : 0],
      workgroups: [Math.ceil(m / way.rows), Math.ceil(n / way.columns), batch],
      cost: 2 * batch * m * n * k,
    });
    return { value: c };
  },
  // C = op(A) op(B) + bias + residual, and the transposes of its parts
  vjp(dc, { inputs: [a, b], value }, [wantsA, wantsB, wantsBias, wantsResidual], shape) {
    return [
      wantsA ? gradientInA(b, shape.transposeA ? expectOneSet(dc, value) : dc, shape) : undefined,
      wantsB ? gradientInB(a, expectOneSet(dc, value), shape) : undefined,
      wantsBias ? columnSums(expectOneSet(dc, value)) : undefined,
      wantsResidual ? dc : undefined,
    ];
  },
  jvp([da, db, dbias, dresidual], { inputs: [a, b, bias, residual], value }, { transposeA, transposeB }) {
    countSets([da, db, dbias, dresidual], [a, b, bias, residual]);
    if (db) expectOneSet(db, b);
    if (dbias) expectOneSet(dbias, bias!);
    const transposes = { transposeA, transposeB };
    if (da) {
      const rest = db ? matmul(a, db, { ...transposes, residual: dresidual }) : dresidual;
      return matmul(da, b, { ...transposes, bias: dbias, residual: rest });
    }
    if (db) return matmul(a, db, { ...transposes, bias: dbias, residual: dresidual });
    if (dresidual) return dbias ? add(dresidual, dbias) : scale(dresidual, 1);
    return repeat(dbias!, value.shape);
  },
};

/** dC op(B)^T, or its transpose where A is stored transposed. */
function gradientInA(b: Tensor, dc: Tensor, { transposeA, transposeB, batch, batchedB }: Product): Tensor {
  if (!transposeA) return matmul(dc, b, { transposeB: !transposeB });
  const left = batch > 1 && !batchedB ? repeat(b, [batch, ...b.shape.slice(-2)]) : b;
  return matmul(left, dc, { transposeA: transposeB, transposeB: true });
}

/** op(A)^T dC, or its transpose where B is stored transposed; summed over the batch where all share one B. */
function gradientInB(a: Tensor, dc: Tensor, shape: Product): Tensor {
  const { m, n, k, batch, batchedB, transposeA, transposeB } = shape;
  const sumOverBatch = batch > 1 && !batchedB;
  if (sumOverBatch && transposeA) {
    const each = transposeB
      ? matmul(dc, a, { transposeA: true, transposeB: true }) // (batch, n, k)
      : matmul(a, dc); // (batch, k, n)
    return reshape(columnSums(each, n * k), transposeB ? [n, k] : [k, n]);
  }
  // The rows of a batch that shares one B are the rows of one product.
  const [left, right] = sumOverBatch ? [reshape(a, [batch * m, k]), reshape(dc, [batch * m, n])] : [a, dc];
  return transposeB
    ? matmul(right, left, { transposeA: true, transposeB: transposeA })
    : matmul(left, right, { transposeA: !transposeA });
}

/**
 * C = act(op(A) op(B) + bias) + residual.
 *
 * @param a [M, K], [batch, M, K], or transposed as the options say.
 * @param b [K, N], or [batch, K, N] for a matrix of its own for each of A.
 * @returns [M, N] or [batch, M, N].
 * @throws ShapeError when the inner sizes disagree, with both shapes.
 */
export function matmul(a: Tensor, b: Tensor, options: MatmulOptions = {}): Tensor {
  const { transposeA = false, transposeB = false, bias, residual, activation = 'none' } = options;
  const [a0 = 0, a1 = 0] = a.shape.slice(-2);
  const [b0 = 0, b1 = 0] = b.shape.slice(-2);
  const [m, k] = transposeA ? [a1, a0] : [a0, a1];
  const [inner, n] = transposeB ? [b1, b0] : [b0, b1];
  const batch = a.shape.length === 3 ? a.shape[0] : 1;
  const batchOfB = b.shape.length === 3 ? b.shape[0] : 1;
  const areMatrices = [a, b].every(({ shape }) => shape.length === 2 || shape.length === 3);
  if (!areMatrices || inner !== k || (batchOfB !== batch && batchOfB !== 1)) {
    throw new ShapeError(
      `Cannot multiply A [${a.shape}]${transposeA ? ' (transposed)' : ''} by B [${b.shape}]${transposeB ? ' (transposed)' : ''}.`,
      'The columns of A must be as many as the rows of B, and the batches equal.',
    );
  }
  if (bias) expectSize('The bias of a matmul', bias, [n]);
  if (residual) expectSize('The residual of a matmul', residual, [batch, m, n]);

  const shape = { m, n, k, transposeA, transposeB, batch, batchedB: batchOfB > 1 };
  if (activation !== 'none' && isTracked(a, b, bias, residual)) {
    // The derivative of the activation needs what goes into it.
    const y = activate(apply(product, [a, b, bias, undefined], { ...shape, activation: 'none' }), activation);
    return residual ? add(residual, y) : y;
  }
  return apply(product, [a, b, bias, residual], { ...shape, activation });
}
