import { describe, expect, it } from 'vitest';
import { ShapeError } from '../../src/errors.ts';
import { type MatmulOptions, matmul, matmulJvp, matmulVjp } from '../../src/reference/matmul.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';
import { expectTwins } from '../support/twins.ts';

/** [[1, 2, 3], [4, 5, 6]] times [[1, 0], [2, 1], [0, -1]]. */
const SIZES = { m: 2, n: 2, k: 3 };
const A = [1, 2, 3, 4, 5, 6]; // (2, 3)
const A_STORED_TRANSPOSED = [1, 4, 2, 5, 3, 6]; // (3, 2)
const B = [1, 0, 2, 1, 0, -1]; // (3, 2)
const B_STORED_TRANSPOSED = [1, 2, 0, 0, 1, -1]; // (2, 3)
const C = [5, -1, 14, -1]; // (2, 2)

describe('matmul', () => {
  it('multiplies by hand, whichever way the operands are stored', () => {
    expect([...matmul(A, B, SIZES)]).toEqual(C);
    expect([...matmul(A_STORED_TRANSPOSED, B, { ...SIZES, transposeA: true })]).toEqual(C);
    expect([...matmul(A, B_STORED_TRANSPOSED, { ...SIZES, transposeB: true })]).toEqual(C);
    const both = { ...SIZES, transposeA: true, transposeB: true };
    expect([...matmul(A_STORED_TRANSPOSED, B_STORED_TRANSPOSED, both)]).toEqual(C);
  });

  it('adds the bias, then activates, then adds the residual', () => {
    const extras = { bias: [-6, 1.5], activation: 'relu', residual: [100, 200, 300, 400] } as const;
    expect([...matmul(A, B, { ...SIZES, ...extras })]).toEqual([100, 200.5, 308, 400.5]);
  });

  it('runs a batch, with either operand shared', () => {
    const twice = { ...SIZES, batch: 2 };
    const negated = A.map((v) => -v);
    const want = [...C, ...C.map((v) => -v)];
    expect([...matmul([...A, ...negated], B, twice)]).toEqual(want);
    expect([...matmul(A, [...B, ...B.map((v) => -v)], twice)]).toEqual(want);
    expect([...matmul([...A, ...A], [...B, ...B], twice)]).toEqual([...C, ...C]);
  });

  it.each([1, 3, 63, 65])('leaves a matrix of %d columns alone when the other is the identity', (n) => {
    const x = seededRandom(n).normal(7 * n); // (7, n)
    const identity = Float64Array.from({ length: n * n }, (_, i) => (i % (n + 1) === 0 ? 1 : 0)); // (n, n)
    expectAgree(matmul(x, identity, { m: 7, n, k: n }), x, { rel: 0, abs: 0 });
  });

  it('is associative: (xy)z = x(yz)', () => {
    const random = seededRandom(4);
    const [x, y, z] = [random.normal(5 * 17), random.normal(17 * 9), random.normal(9 * 3)]; // (5, 17) (17, 9) (9, 3)
    const left = matmul(matmul(x, y, { m: 5, n: 9, k: 17 }), z, { m: 5, n: 3, k: 9 });
    const right = matmul(x, matmul(y, z, { m: 17, n: 3, k: 9 }), { m: 5, n: 3, k: 17 });
    expectAgree(left, right, { rel: 0, abs: 1e-13 });
  });

  it.each([
    ['a', () => matmul([1, 2], B, SIZES)],
    ['b', () => matmul(A, [1, 2], SIZES)],
    ['bias', () => matmul(A, B, { ...SIZES, bias: [1] })],
    ['residual', () => matmul(A, B, { ...SIZES, residual: [1] })],
  ])('names a misfit %s', (operand, call) => {
    expect(call).toThrow(ShapeError);
    expect(call).toThrow(new RegExp(`matmul: ${operand} holds \\d`));
  });
});

describe('matmulVjp and matmulJvp', () => {
  const [m, n, k] = [3, 4, 5];
  const plain: MatmulOptions = { m, n, k };
  it.each<[string, MatmulOptions, boolean?]>([
    ['of a plain product', plain],
    ['with A stored transposed', { ...plain, transposeA: true }],
    ['with B stored transposed', { ...plain, transposeB: true }],
    ['with both stored transposed', { ...plain, transposeA: true, transposeB: true }],
    ['of a batch', { ...plain, batch: 2, transposeB: true }],
    ['of a batch that shares one B', { ...plain, batch: 2 }, true],
    ['of a batch of transposed A that shares one B', { ...plain, batch: 2, transposeA: true }, true],
    ['with an activation', { ...plain, activation: 'gelu_new' }],
    ['with an activation, of a batch', { ...plain, batch: 2, activation: 'silu' }, true],
  ])('differentiates %s in every operand', (_, options, shared = false) => {
    const batch = options.batch ?? 1;
    const sizes = [batch * m * k, (shared ? 1 : batch) * k * n, n, batch * m * n];
    const part = (x: Float64Array) => {
      let end = 0;
      const [a, b, bias, residual] = sizes.map((size) => {
        end += size;
        return x.subarray(end - size, end);
      });
      return { a, b, bias, residual };
    };
    const x = Float64Array.from(seededRandom(5).normal(sizes.reduce((sum, size) => sum + size, 0)));
    const { a, b, bias, residual } = part(x);
    const at = { ...options, bias, residual };
    expectTwins({
      f: (y) => {
        const { a, b, ...extras } = part(y);
        return matmul(a, b, { ...options, ...extras });
      },
      x,
      jvp: (dx) => matmulJvp(part(dx), a, b, at),
      vjp: (dc) => {
        const d = matmulVjp(dc, a, b, at);
        return Float64Array.of(...d.a, ...d.b, ...d.bias, ...d.residual);
      },
    });
  });

  it('takes tangents left out as zero', () => {
    expect([...matmulJvp({ bias: [1, 2] }, A, B, SIZES)]).toEqual([1, 2, 1, 2]);
    expect([...matmulJvp({ residual: C }, A, B, SIZES)]).toEqual(C);
  });
});
