import { countRows, expectShape } from './shape.ts';

/**
 * Softmax of each row, shifted by the row's largest value so that nothing overflows.
 * @param x `[rows, width]`
 * @returns `[rows, width]`; every row sums to 1.
 * @throws ShapeError when `x` is not whole rows.
 */
export function softmax(x: ArrayLike<number>, width: number): Float64Array {
  return logSoftmax(x, width).map(Math.exp);
}

/**
 * Logarithm of the softmax of each row: `x - max - log(sum(exp(x - max)))`.
 * @param x `[rows, width]`
 * @returns `[rows, width]`
 * @throws ShapeError when `x` is not whole rows.
 */
export function logSoftmax(x: ArrayLike<number>, width: number): Float64Array {
  const rows = countRows('softmax: x', x, width);
  const out = Float64Array.from(x); // (rows, width)
  for (let r = 0; r < rows; r++) {
    const row = out.subarray(r * width, (r + 1) * width); // (width)
    const largest = row.reduce((a, b) => Math.max(a, b), -Infinity);
    const sum = row.reduce((total, value) => total + Math.exp(value - largest), 0);
    const logSum = Math.log(sum);
    // two subtractions: largest + logSum would round logSum away beside a huge score
    for (let j = 0; j < width; j++) row[j] = row[j] - largest - logSum;
  }
  return out;
}

/**
 * The derivative of softmax along `d`, `p (d - <p, d>)` row by row; its Jacobian is symmetric, so this is jvp and vjp.
 * @param d `[rows, width]`, a tangent of `x` or a cotangent of the softmax.
 * @param x `[rows, width]`
 * @returns `[rows, width]`
 * @throws ShapeError when an operand is not whole rows, or the sizes differ.
 */
export function softmaxDerivative(d: ArrayLike<number>, x: ArrayLike<number>, width: number): Float64Array {
  expectShape('softmaxDerivative: d', d, [x.length]);
  const p = softmax(x, width); // (rows, width)
  const mean = rowSums(
    p.map((v, i) => v * d[i]),
    width,
  );
  return p.map((v, i) => v * (d[i] - mean[Math.floor(i / width)]));
}

/**
 * The gradient of `<dy, logSoftmax(x)>`: `dy - p sum(dy)` row by row.
 * @param dy `[rows, width]`
 * @param x `[rows, width]`
 * @returns `[rows, width]`
 * @throws ShapeError when an operand is not whole rows, or the sizes differ.
 */
export function logSoftmaxVjp(dy: ArrayLike<number>, x: ArrayLike<number>, width: number): Float64Array {
  expectShape('logSoftmaxVjp: dy', dy, [x.length]);
  const sums = rowSums(dy, width);
  return softmax(x, width).map((v, i) => dy[i] - v * sums[Math.floor(i / width)]);
}

/**
 * The tangent of `logSoftmax(x)`: `dx - <p, dx>` row by row.
 * @param dx `[rows, width]`
 * @param x `[rows, width]`
 * @returns `[rows, width]`
 * @throws ShapeError when an operand is not whole rows, or the sizes differ.
 */
export function logSoftmaxJvp(dx: ArrayLike<number>, x: ArrayLike<number>, width: number): Float64Array {
  expectShape('logSoftmaxJvp: dx', dx, [x.length]);
  const p = softmax(x, width); // (rows, width)
  const mean = rowSums(
    p.map((v, i) => v * dx[i]),
    width,
  );
  return Float64Array.from(dx, (v, i) => v - mean[Math.floor(i / width)]);
}

/** `[rows]` */
function rowSums(x: ArrayLike<number>, width: number): Float64Array {
  const sums = new Float64Array(x.length / width);
  for (let i = 0; i < x.length; i++) sums[Math.floor(i / width)] += x[i];
  return sums;
}
