import { describe, expect, it } from 'vitest';
import { type ActivationName, activation, activationSlope, activations } from '../../src/reference/activation.ts';
import { erf, erfc } from '../../src/reference/erf.ts';
import { expectAgree, seededRandom } from '../support/agree.ts';
import { expectTwins } from '../support/twins.ts';

/** x, erf(x), erfc(x) by mpmath with 40 digits, rounded to f64. */
const ERF_TABLE = [
  [1e-10, 1.1283791670955126e-10, 0.999999999887162],
  [0.001, 0.0011283787909692365, 0.9988716212090307],
  [0.1, 0.1124629160182849, 0.8875370839817152],
  [0.5, 0.5204998778130465, 0.4795001221869535],
  [1, 0.8427007929497149, 0.15729920705028513],
  [1.5, 0.9661051464753108, 0.033894853524689274],
  [1.999, 0.9953015566513705, 0.00469844334862949],
  [2, 0.9953222650189527, 0.004677734981047266],
  [2.001, 0.9953428907185247, 0.004657109281475348],
  [2.5, 0.999593047982555, 0.0004069520174449589],
  [4, 0.9999999845827421, 1.541725790028002e-8],
  [5.5, 0.9999999999999927, 7.357847917974398e-15],
  [10, 1, 2.088487583762545e-45],
  [26, 1, 5.663192408856143e-296],
];

describe('erf', () => {
  it.each(ERF_TABLE)('erf and erfc at %d and its negative match 40-digit values', (x, value, complement) => {
    expectAgree([erf(x), erf(-x)], [value, -value], { rel: 1e-15, abs: 0 });
    expectAgree([erfc(x), erfc(-x)], [complement, 1 + value], { rel: 1e-12, abs: 0 });
  });

  it('has its limits at 0, infinity and NaN', () => {
    expect([erf(0), erf(Infinity), erf(-Infinity), erfc(Infinity), erfc(-Infinity)]).toEqual([0, 1, -1, 0, 2]);
    expect(erf(Number.NaN)).toBeNaN();
  });
});

/** By mpmath at these points. */
const POINTS = [-10, -3, -1, -0.5, 0, 0.25, 1, 2, 6];
const VALUES: Record<ActivationName, number[]> = {
  none: POINTS,
  // biome-ignore format: one row, one function
  gelu_new: [-1.2041929433716598e-37, -0.003637392081773019, -0.1588080093917233, -0.15428599017485609, 0, 0.149675350701685, 0.8411919906082767, 1.954597694087775, 5.9999999999156035],
  // biome-ignore format: one row, one function
  gelu: [-7.619853024160526e-23, -0.0040496940948902835, -0.15865525393145705, -0.15426876936299344, 0, 0.14967658142073093, 0.8413447460685429, 1.9544997361036416, 5.999999994080474],
  // biome-ignore format: one row, one function
  gelu_fast: [-1.2041929433716598e-37, -0.003637392081860613, -0.15880800939252307, -0.15428599017516517, 0, 0.1496753507015987, 0.841191990607477, 1.9545976940871754, 5.9999999999156035],
  relu: [0, 0, 0, 0, 0, 0.25, 1, 2, 6],
  leaky_relu: [-0.1, -0.03, -0.01, -0.005, 0, 0.25, 1, 2, 6],
  // biome-ignore format: one row, one function
  silu: [-0.00045397868702434395, -0.14227761953270035, -0.2689414213699951, -0.18877033439907273, 0, 0.14054412522144952, 0.7310585786300049, 1.7615941559557649, 5.985164261060191],
  // biome-ignore format: one row, one function
  tanh: [-0.9999999958776927, -0.9950547536867305, -0.7615941559557649, -0.46211715726000974, 0, 0.24491866240370913, 0.7615941559557649, 0.9640275800758169, 0.9999877116507956],
};

describe('activation', () => {
  it.each(Object.keys(VALUES) as ActivationName[])('%s matches mpmath', (name) => {
    expectAgree(activation(name, POINTS), VALUES[name], { rel: 1e-14, abs: 1e-15 });
  });

  it('knows every name', () => {
    expect(Object.keys(activations).sort()).toEqual(Object.keys(VALUES).sort());
  });

  it('gelu keeps the digits of its left tail', () => {
    expectAgree(activation('gelu', [-10]), [-7.619853024160526e-23], { rel: 1e-12, abs: 0 });
  });

  it('stays finite far out', () => {
    const far = Object.values(activations).flatMap((f) => [f(-1e4), f(1e4)]);
    expect(far.every(Number.isFinite)).toBe(true);
  });
});

describe('the slope of an activation', () => {
  it.each(Object.keys(VALUES) as ActivationName[])('%s agrees with differences', (name) => {
    // Away from the kinks at 0, over both sides.
    const x = Float64Array.from([...seededRandom(1).uniform(20, 0.1, 4), ...seededRandom(2).uniform(20, -4, -0.1)]);
    const slope = activationSlope(name, x);
    const times = (d: Float64Array) => d.map((v, i) => v * slope[i]);
    expectTwins({ f: (at) => activation(name, at), x, jvp: times, vjp: times });
  });

  it('at 0 is that of the left where there is a kink', () => {
    expect([...activationSlope('relu', [0]), ...activationSlope('leaky_relu', [0])]).toEqual([0, 0.01]);
    for (const name of ['gelu_new', 'gelu', 'gelu_fast', 'silu'] as const) {
      expect(activationSlope(name, [0])[0]).toBe(0.5);
    }
    expect(activationSlope('tanh', [0])[0]).toBe(1);
  });

  it('is 0 or 1 far out, but for the leak', () => {
    for (const name of ['gelu_new', 'gelu', 'gelu_fast', 'relu', 'silu'] as const) {
      expectAgree(activationSlope(name, [-1e4, 1e4]), [0, 1], { rel: 0, abs: 0 });
    }
    expect([...activationSlope('leaky_relu', [-1e4, 1e4])]).toEqual([0.01, 1]);
    expectAgree(activationSlope('tanh', [-1e4, 1e4]), [0, 0], { rel: 0, abs: 0 });
  });
});
