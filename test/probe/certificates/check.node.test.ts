import { describe, expect, test } from 'vitest';
import { FormatError, InputError } from '../../../src/errors.ts';
import { bound } from '../../../src/probe/certificates/bound.ts';
import { checkCertificate } from '../../../src/probe/certificates/check.ts';
import { cone } from '../../../src/probe/certificates/cone.ts';
import { certifyDominated, unembedding } from '../../../src/probe/certificates/dominated.ts';
import { ellipsoid } from '../../../src/probe/certificates/ellipsoid.ts';
import { hull } from '../../../src/probe/certificates/hull.ts';
import { readCertificate } from '../../../src/probe/certificates/read.ts';
import { certify } from '../../../src/probe/certificates/separation.ts';
import type { Region } from '../../../src/probe/certificates/types.ts';
import { attentionBlock, headBlock, mlpBlock, normBlock, seededRandom, sent, unit } from './made-blocks.ts';

const random = seededRandom(11);
const far = (region: Region, size: number) =>
  certify(
    region,
    unit(random, region.width).map((value) => size * value),
  );
const head = headBlock(random, 6, 40, true);
const mean = (values: ArrayLike<number>, width: number) =>
  Array.from({ length: width }, (_, k) => (values[k] + values[width + k]) / 2);
const withMean = unembedding({
  ...head,
  weight: [...Array.from(head.weight), ...mean(head.weight, 6)],
  bias: [...Array.from(head.bias!), mean(head.bias!, 1)[0]],
});

/** A certificate of each kind, anew for each test to spoil. */
const make = {
  ellipsoid: () => sent(far(ellipsoid(normBlock(random, 6)), 30)),
  hull: () => sent(far(hull(attentionBlock(random, 6, 2, 5)), 1000)),
  bound: () => sent(far(bound({ ...mlpBlock(random, 6, 24, 'gelu'), norm: normBlock(random, 6) }), 2000)),
  cone: () => sent(far(cone(mlpBlock(random, 6, 3, 'relu')), 1000)),
  dominated: () => sent(certifyDominated(withMean, 40)),
};
const separations = ['ellipsoid', 'hull', 'bound', 'cone'] as const;
const kinds = [...separations, 'dominated'] as const;

describe.each(kinds)('a certificate of kind %s', (kind) => {
  test('holds after a way through JSON, and says what it proves', async () => {
    const verdict = await checkCertificate(make[kind]());
    expect(verdict).toMatchObject({ holds: true, kind });
    expect(verdict.reason).toBeUndefined();
    expect(verdict.claim).toContain(
      kind === 'dominated' ? 'Token 40 is never strictly the most likely' : 'No input gives the target, 6 numbers',
    );
    expect(verdict.claim).toContain('the block whose matrices it holds');
  });
});

describe.each(separations)('a certificate of kind %s does not hold with', (kind) => {
  const reasonOf = async (spoil: (certificate: ReturnType<(typeof make)['hull']>) => void) => {
    const certificate = make[kind]();
    spoil(certificate);
    const { holds, reason } = await checkCertificate(certificate);
    expect(holds).toBe(false);
    return reason!;
  };

  test('another target', async () => {
    const reason = await reasonOf((one) => {
      one.target[2] *= 1.0001;
    });
    expect(reason).toMatch(/states (value|tolerance) = .*One of its numbers was changed/);
  });
  test('a direction turned a little', async () => {
    const reason = await reasonOf((one) => {
      const [a, b, c, s] = [one.direction[0], one.direction[1], Math.cos(1e-3), Math.sin(1e-3)];
      one.direction[0] = c * a - s * b;
      one.direction[1] = s * a + c * b;
    });
    expect(reason).toMatch(/One of its numbers was changed/);
  });
  test('a longer direction', async () => {
    const reason = await reasonOf((one) => {
      one.direction = one.direction.map((value: number) => 2 * value);
    });
    expect(reason).toMatch(/^The direction has length (2|1\.99999)/);
  });
  test('a lower bound', async () => {
    expect(await reasonOf((one) => one.bound--)).toMatch(/^The certificate states bound = /);
  });
  test('a lower tolerance', async () => {
    expect(
      await reasonOf((one) => {
        one.tolerance = 0;
      }),
    ).toMatch(/^The certificate states tolerance = 0; it is /);
  });
  test('another block', async () => {
    const reason = await reasonOf((one) => {
      const { block } = one.subject;
      const bias = block.outBias ?? block.bias;
      bias[0] += 1;
    });
    expect(reason).toMatch(/was changed/);
  });
  test('a target inside, though all its numbers agree with it', async () => {
    const reason = await reasonOf((one) => {
      const { block } = one.subject;
      const shift = one.value - one.bound;
      one.target = one.target.map((value: number, i: number) => value - shift * one.direction[i]);
      const size = (row: readonly number[]) => Math.hypot(...row);
      one.value = one.target.reduce((sum: number, value: number, i: number) => sum + value * one.direction[i], 0);
      one.tolerance = 1e-5 * (size(one.target) + size(block.outBias ?? block.bias));
    });
    expect(reason).toMatch(/does not lie beyond the outputs by more than/);
  });
});

describe('a dominated token is not, with', () => {
  test.each<[string, (one: ReturnType<(typeof make)['dominated']>) => void, RegExp]>([
    ['a weight below 0', (one) => (one.dominators[0].weight = -0.5), /has the weight -0.5/],
    ['weights that add up to more', (one) => (one.dominators[0].weight += 0.5), /add up to 1.5/],
    ['itself in the mixture', (one) => (one.dominators[1].token = 40), /A row occurs twice, or dominates itself/],
    [
      'other weights',
      (one) => {
        const [a, b] = one.dominators;
        [a.weight, b.weight] = [b.weight + a.weight / 2, a.weight / 2];
      },
      /states lead = /,
    ],
    [
      'another token in its place',
      (one) => ([one.token, one.dominators[0].token] = [one.dominators[0].token, 40]),
      /states lead = /,
    ],
    ['a stated lead that is lower', (one) => (one.lead = -1), /states lead = -1; it is/],
    ['rows of its own changed', (one) => (one.subject.block.weight[0] += 1), /states lead = /],
  ])('%s', async (_, spoil, wanted) => {
    const certificate = make.dominated();
    spoil(certificate);
    const { holds, reason } = await checkCertificate(certificate);
    expect(holds).toBe(false);
    expect(reason).toMatch(wanted);
  });

  test('a lead, though it is stated truly', async () => {
    const certificate = make.dominated();
    const [first] = certificate.dominators;
    certificate.dominators = [{ token: first.token, weight: 1 }];
    const numbers = unembedding(certificate.subject.block).lead(40, certificate.dominators);
    const { holds, reason } = await checkCertificate({ ...certificate, ...numbers });
    expect(holds).toBe(false);
    expect(reason).toMatch(/^The token is ahead of the mixture by up to /);
  });
});

describe('what is no certificate is refused with its field named', () => {
  const spoilt = (kind: keyof typeof make, spoil: (one: ReturnType<(typeof make)['hull']>) => void) => {
    const certificate = make[kind]();
    spoil(certificate);
    return certificate;
  };
  test.each<[string, () => unknown, string]>([
    ['a number', () => 3, 'the certificate'],
    ['a list', () => [], 'the certificate'],
    ['null', () => null, 'the certificate'],
    ['no kind', () => ({}), 'kind'],
    ['a kind from the prototype', () => ({ kind: 'constructor' }), 'kind'],
    ['no target', () => spoilt('hull', (one) => delete one.target), 'target'],
    ['a text as target', () => spoilt('hull', (one) => (one.target = 'aaaaaa')), 'target'],
    ['null for NaN', () => spoilt('hull', (one) => (one.target[3] = null)), 'target[3]'],
    ['1e999', () => JSON.parse(JSON.stringify(make.hull()).replace(/"value":[^,]*/, '"value":1e999')), 'value'],
    ['a short direction', () => spoilt('cone', (one) => one.direction.pop()), 'direction'],
    ['no subject', () => spoilt('bound', (one) => delete one.subject), 'subject'],
    [
      'an unknown activation',
      () => spoilt('bound', (one) => (one.subject.block.activation = 'toString')),
      'activation',
    ],
    ['heads of 1.5', () => spoilt('hull', (one) => (one.subject.block.heads = 1.5)), 'heads'],
    ['a digest that is a path', () => ({ ...make.cone(), subject: { model: '../x', part: 'ln_f' } }), 'subject.model'],
    [
      'a negative prefix',
      () => ({ ...make.hull(), subject: { model: '0123456789abcdef', part: 'h.0.attn', prefix: [-1] } }),
      'subject.prefix',
    ],
    [
      'a prefix and values',
      () => ({ ...make.hull(), subject: { model: '0123456789abcdef', part: 'h.0.attn', prefix: [1], values: [1] } }),
      'subject.values',
    ],
    ['no dominators', () => spoilt('dominated', (one) => (one.dominators = [])), 'dominators'],
    ['a token of 1.5', () => spoilt('dominated', (one) => (one.token = 1.5)), 'token'],
  ])('%s', async (_, json, field) => {
    await expect(checkCertificate(json())).rejects.toThrow(FormatError);
    await expect(checkCertificate(json())).rejects.toThrow(field);
  });

  test.each<[keyof typeof make, (one: ReturnType<(typeof make)['hull']>) => void]>([
    ['ellipsoid', (one) => one.subject.block.bias.pop()],
    ['ellipsoid', (one) => [one.target, one.direction].map((row) => row.pop())],
    ['hull', (one) => one.subject.block.values.pop()],
    ['hull', (one) => (one.subject.block.heads = 4)],
    ['hull', (one) => (one.subject.block.heads = 0)],
    ['hull', (one) => one.subject.block.outWeight.pop()],
    ['bound', (one) => one.subject.block.inBias.pop()],
    ['bound', (one) => (one.subject.block.inBias = [])],
    ['cone', (one) => one.subject.block.outWeight.pop()],
    ['cone', (one) => (one.subject.block.inBias = [])],
    ['dominated', (one) => one.subject.block.weight.pop()],
    ['dominated', (one) => one.subject.block.bias.pop()],
    ['dominated', (one) => one.subject.block.tokens.pop()],
    ['dominated', (one) => (one.subject.block.norm.weight = [])],
    ['ellipsoid', (one) => (one.subject.block = { weight: [], bias: [] })],
  ])('matrices that do not fit together (%s)', async (kind, spoil) => {
    await expect(checkCertificate(spoilt(kind, spoil))).rejects.toThrow(/certificate|target/i);
    await expect(checkCertificate(spoilt(kind, spoil))).rejects.toMatchObject({ cure: expect.stringMatching(/./) });
  });

  test('numbers that overflow prove nothing', async () => {
    for (const kind of ['ellipsoid', 'hull', 'bound'] as const) {
      const certificate = spoilt(kind, (one) => {
        const { block } = one.subject;
        for (const name of ['weight', 'inWeight', 'outWeight', 'valueWeight']) {
          if (block[name]) block[name] = block[name].map(() => 1e300);
        }
      });
      expect(await checkCertificate(certificate)).toMatchObject({ holds: false });
    }
  });
});

test('fields that mean nothing are left behind', () => {
  const certificate = { ...make.cone(), claim: 'anything', __proto__: { holds: true } };
  expect(Object.keys(readCertificate(certificate)).sort()).toEqual(
    ['bound', 'direction', 'kind', 'subject', 'target', 'tolerance', 'value'].sort(),
  );
});

test('a certificate about a model cannot be checked without it', async () => {
  const certificate = { ...make.ellipsoid(), subject: { model: '0123456789abcdef', part: 'ln_f' } };
  await expect(checkCertificate(certificate)).rejects.toThrow(InputError);
  await expect(checkCertificate(certificate)).rejects.toThrow('--model');
});
