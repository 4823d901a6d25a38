import { seededRandom } from '../reference/random.ts';
import { readAll, reshape, type Tensor, takeBytes, upload } from '../tensor/tensor.ts';
import type { Differentiable } from './grad.ts';
import { contextOf, linearize } from './tape.ts';

/** How `gradcheck` looks; all optional. */
export interface GradcheckOptions {
  /** Random directions in all inputs together; default 3. Of several inputs, each gets one of its own besides. */
  readonly directions?: number;
  /** Default 1. */
  readonly seed?: number;
  /** Step of the differences, relative to the RMS of each input; default 1/64. */
  readonly step?: number;
  /** Bound of `jvpError`; default 1e-3. */
  readonly jvpBound?: number;
  /** Bound of `innerProductError`; default 1e-5. */
  readonly innerProductBound?: number;
}

/** What `gradcheck` saw; errors are the worst over all directions, NaN where a derivative is no finite number. */
export interface Gradcheck {
  /** Both errors are within their bounds. */
  readonly ok: boolean;
  /** |J v - difference|, less what rounding the values to f32 explains, relative to the larger of the two. */
  readonly jvpError: number;
  /** |<u, J v> - <J^T u, v>| relative to |u| |J v|. */
  readonly innerProductError: number;
}

/**
 * Checks the derivatives of a function, or of an operation of one's own, on the device: jvp against differences of the
 * function, vjp against jvp.
 *
 * Along random directions v, J v is compared with central differences of fourth order (values 2 steps either side),
 * summed in float64, and <J^T u, v> with <u, J v> for random u. A value in f32 is off by 6e-8 of its size or more, a
 * difference over a step h by 6e-8 / h, and the fourth order leaves out h^4 / 30 of a fifth derivative: at h = 1/64, 4e-6
 * and 2e-9 where all are of one size. A loss is larger than its derivative along one direction, and a softmax bends
 * sharply: preimage's own operations come to 7e-5, hence 1e-3. The inner products have the rounding of two sums alone:
 * preimage's come to 1.2e-6, hence 1e-5.
 *
 * An element moves by at most 3.5 steps times the RMS of its input; no kink may lie that near (relu at 0).
 *
 * @param f Of its arguments; tensors it closes over count as constant.
 * @param inputs Of type f32 those that it is differentiated by; u32 those that are handed to it as they are.
 * @throws InputError without an f32 input, else what `f` and its derivatives throw; never because derivatives are wrong.
 */
export async function gradcheck(
  f: Differentiable,
  inputs: readonly Tensor[],
  { directions = 3, seed = 1, step = 1 / 64, jvpBound = 1e-3, innerProductBound = 1e-5 }: GradcheckOptions = {},
): Promise<Gradcheck> {
  const random = seededRandom(seed);
  const varied = inputs.filter(({ type }) => type === 'f32');
  contextOf(varied);
  const ofVaried = (...given: Tensor[]) => {
    const next = given.values();
    return f(...inputs.map((input) => (input.type === 'f32' ? next.next().value! : input)));
  };
  const points = await readAll(varied);
  const alone = varied.length > 1 ? varied.map((_, i) => (j: number) => i === j) : [];
  const together = Array.from({ length: directions }, () => () => true);

  const errors = { jvpError: 0, innerProductError: 0 };
  for (const moves of [...together, ...alone]) {
    const v = points.map((x, i) => (moves(i) ? direction(x, random) : undefined));
    const seen = await look({ f: ofVaried, inputs: varied, points, v, step, random });
    errors.jvpError = Math.max(errors.jvpError, jvpError(seen));
    errors.innerProductError = Math.max(errors.innerProductError, innerProductError(seen));
  }
  const ok = errors.jvpError <= jvpBound && errors.innerProductError <= innerProductBound;
  return { ok, ...errors };
}

type Random = ReturnType<typeof seededRandom>;
type Numbers = Float32Array | Float64Array;

/** Uniform, so that no element goes far, with the RMS of x (1 where x is zero). */
function direction(x: Float32Array, random: Random): Float32Array {
  const rms = Math.sqrt(dot(x, x) / x.length) || 1;
  return random.uniform(x.length, -Math.sqrt(3) * rms, Math.sqrt(3) * rms);
}

/** What is computed along one direction. */
interface Seen {
  readonly v: readonly (Float32Array | undefined)[];
  readonly u: Float32Array;
  /** J v */
  readonly tangent: Float32Array;
  /** J^T u, for each input. */
  readonly gradients: readonly Float32Array[];
  /** J v by differences. */
  readonly difference: Float64Array;
  /** How far the rounding of the values to f32 may put it off, as a norm. */
  readonly rounding: number;
}

interface Look {
  readonly f: Differentiable;
  readonly inputs: readonly Tensor[];
  readonly points: readonly Float32Array[];
  readonly v: Seen['v'];
  readonly step: number;
  readonly random: Random;
}

/** Steps and weights of the fourth-order central difference. */
const STENCIL = [
  [-2, 1 / 12],
  [-1, -8 / 12],
  [1, 8 / 12],
  [2, -1 / 12],
] as const;

async function look({ f, inputs, points, v, step, random }: Look): Promise<Seen> {
  const [{ context }] = inputs;
  let u = new Float32Array();
  const recorded = context.scope(() => {
    const at = linearize(f, inputs);
    u = random.normal(at.value.size);
    const tangents = inputs.map(({ shape }, i) => v[i] && upload(context, v[i], shape));
    const values = STENCIL.map(([steps]) => {
      const value = f(...inputs.map((x, i) => moved(x, points[i], v[i], steps * step)));
      return reshape(value, value.shape); // an owner of our own, to be disposed
    });
    return [at.jvp(tangents), ...values, ...at.vjp(upload(context, u, at.value.shape))];
  });
  const [tangent, ...rest] = (await takeBytes(recorded)).map((bytes) => new Float32Array(bytes));
  const values = rest.slice(0, STENCIL.length);
  const difference = Float64Array.from(tangent, (_, j) =>
    STENCIL.reduce((sum, [, weight], i) => sum + (weight / step) * values[i][j], 0),
  );
  const rounding = (2 ** -24 / step) * norm(values[0]);
  return { v, u, tangent, gradients: rest.slice(STENCIL.length), difference, rounding };
}

/** x + t v. */
function moved({ context, shape }: Tensor, x: Float32Array, v: Float32Array | undefined, t: number): Tensor {
  return upload(context, v ? x.map((value, i) => value + t * v[i]) : x, shape);
}

function jvpError({ tangent, difference, rounding }: Seen): number {
  const gap = difference.map((value, i) => value - tangent[i]);
  return relative(Math.max(0, norm(gap) - rounding), Math.max(norm(difference), norm(tangent)));
}

function innerProductError({ v, u, tangent, gradients }: Seen): number {
  const throughVjp = gradients.reduce((sum, gradient, i) => sum + (v[i] ? dot(gradient, v[i]) : 0), 0);
  const gap = Math.abs(dot(u, tangent) - throughVjp);
  return relative(gap, norm(u) * norm(tangent));
}

/** Nothing is no error of nothing. */
const relative = (error: number, size: number): number => (error === 0 ? 0 : error / size);

const dot = (a: Numbers, b: Numbers): number => (a as Float64Array).reduce((sum, value, i) => sum + value * b[i], 0);

const norm = (a: Numbers): number => Math.sqrt(dot(a, a));
