import { describe, expect, test } from 'vitest';
import { FormatError, InputError } from '../../../src/errors.ts';
import { parseConfig } from '../../../src/model/config.ts';
import { modelFiles } from '../../../src/model/load.ts';
import { checkCertificate, headFor, regionFor } from '../../../src/probe/certificates/check.ts';
import { modelControls, runControl } from '../../../src/probe/certificates/controls.ts';
import { certifyDominated } from '../../../src/probe/certificates/dominated.ts';
import { modelParameters } from '../../../src/probe/certificates/model-parts.ts';
import { normed } from '../../../src/probe/certificates/normed.ts';
import { certify } from '../../../src/probe/certificates/separation.ts';
import { layernorm } from '../../../src/reference/index.ts';
import { hashedCheckpoint } from '../../support/hashed.ts';
import { dot, seededRandom, sent, unit } from './made-blocks.ts';

const gpt2 = {
  model_type: 'gpt2',
  vocab_size: 61,
  n_positions: 12,
  n_embd: 12,
  n_layer: 2,
  n_head: 3,
  activation_function: 'gelu',
};
const gptNeo = {
  model_type: 'gpt_neo',
  vocab_size: 61,
  max_position_embeddings: 12,
  hidden_size: 12,
  num_layers: 2,
  num_heads: 3,
  window_size: 4,
  attention_types: [[['global', 'local'], 1]],
  activation_function: 'gelu_new',
};

function open(json: object) {
  const config = parseConfig(json, 'config.json');
  return modelParameters(modelFiles('hashed', config, hashedCheckpoint(config)));
}

describe.each(Object.entries({ gpt2, gptNeo }))('the parts of a %s', (_, json) => {
  const model = open(json);
  const random = seededRandom(3);
  const d = model.config.width;
  const prefix = [5, 17, 3, 9, 60, 2];

  /** Outputs of half a block behind the prefix, without the residual, in float64. */
  async function outputs(from: number, ids: readonly number[] = prefix) {
    const reference = await model.reference();
    const cache = reference.prefix(2);
    if (ids.length > 0) reference.extend(reference.embed(ids), cache);
    return Array.from({ length: 40 }, (_, i) => {
      const x = Float64Array.from(random.normal(d, [0.1, 1, 1000][i % 3]));
      return reference.states(x, cache, from + 0.5, from).map((value, k) => value - x[k]);
    });
  }
  const subject = async (part: string, more: object = {}) => ({ model: await model.digest(), part, ...more });

  test.each([0, 1])('attention of block %i stays in its hull, global or local', async (layer) => {
    const region = await regionFor('hull', await subject(`h.${layer}.attn`, { prefix }), model);
    for (const y of await outputs(layer)) {
      for (let i = 0; i < 5; i++) {
        const u = unit(random, d);
        expect(dot(u, y)).toBeLessThanOrEqual(region.support(u));
      }
      expect(certify(region, y.map(Math.fround))).toBeUndefined();
    }
  });

  test('attention without a prefix reaches the rim of its hull: values and matrices are read the right way round', async () => {
    const region = await regionFor('hull', await subject('h.1.attn', { prefix: [] }), model);
    const all = await outputs(1, []);
    const mean = all[0].map((_, k) => all.reduce((sum, y) => sum + y[k], 0) / all.length);
    for (const y of all.slice(0, 8)) {
      // One head's value is a linear map of the ellipsoid, so its sup along u is met at one input: climb to it.
      const u = y.map((value, k) => value - mean[k]);
      const size = Math.hypot(...u);
      const bound = region.support(u.map((value) => value / size));
      expect(dot(u, y) / size).toBeLessThan(bound);
    }
  });

  test.each([0, 1])('the MLP of block %i stays below its bound', async (layer) => {
    const region = await regionFor('bound', await subject(`h.${layer}.mlp`), model);
    for (const y of await outputs(layer + 0.5)) {
      const u = y.map((value) => value / Math.hypot(...y));
      expect(dot(u, y)).toBeLessThanOrEqual(region.support(u));
      expect(certify(region, y.map(Math.fround))).toBeUndefined();
    }
  });

  test('a certificate names the model, and holds for it alone', async () => {
    const region = await regionFor('hull', await subject('h.1.attn', { prefix }), model);
    const target = unit(random, d).map((value) => 1000 * value);
    const certificate = sent(certify(region, target));
    expect(certificate.subject).toEqual({ model: await model.digest(), part: 'h.1.attn', prefix });
    const verdict = await checkCertificate(certificate, model);
    expect(verdict.holds).toBe(true);
    expect(verdict.claim).toContain('h.1.attn of the model with digest');
    expect(verdict.claim).toContain('behind the 6 tokens');
    expect(verdict.claim).toMatch(/\(head [012]\)/);

    const other = open({ ...json, vocab_size: 62 });
    await expect(checkCertificate(certificate, other)).rejects.toThrow(InputError);
  });

  test('values may stand for a prefix that is no text', async () => {
    const reference = await model.reference();
    const cache = reference.prefix(2);
    reference.extend(reference.embed(prefix), cache);
    const values = Array.from(cache.layers[1].values);
    const [byText, byValues] = [
      await regionFor('hull', await subject('h.1.attn', { prefix }), model),
      await regionFor('hull', await subject('h.1.attn', { values }), model),
    ];
    const u = unit(random, d);
    expect(byValues.support(u)).toBe(byText.support(u));
    const certificate = sent(
      certify(
        byValues,
        u.map((value) => 1000 * value),
      ),
    );
    expect(await checkCertificate(certificate, model)).toMatchObject({ holds: true });
    certificate.subject.values = values.map((value) => 1e6 * value);
    expect((await checkCertificate(certificate, model)).reason).toMatch(/^The certificate states bound = /);
    certificate.subject.values.pop();
    await expect(checkCertificate(certificate, model)).rejects.toThrow(FormatError);
  });

  test.each([
    ['hull', 'h.2.attn'],
    ['hull', 'h.0.mlp'],
    ['hull', 'h.0.attn.c_proj'],
    ['bound', 'mlp'],
    ['ellipsoid', 'ln_3'],
    ['ellipsoid', 'h.-1.ln_1'],
    ['ellipsoid', 'wte'],
  ] as const)('%s of %s is refused with the names there are', async (kind, part) => {
    await expect(regionFor(kind, await subject(part), model)).rejects.toThrow(InputError);
    await expect(regionFor(kind, await subject(part), model)).rejects.toThrow('h.0.attn');
  });

  test.each([[[61]], [[1.5]], [Array.from({ length: 12 }, () => 1)]])('the prefix %j is refused', async (ids) => {
    await expect(regionFor('hull', await subject('h.0.attn', { prefix: ids }), model)).rejects.toThrow(InputError);
  });

  test('a token either wins at the state found for it, by the model, or is certified', async () => {
    const head = await headFor(await subject('lm_head'), model);
    const reference = await model.reference();
    const { weight, bias } = { weight: await model.parameter('ln_f.weight'), bias: await model.parameter('ln_f.bias') };
    for (let token = 0; token < 61; token++) {
      const certificate = certifyDominated(head, token);
      const { state } = head.search(token);
      if (certificate) expect(await checkCertificate(sent(certificate), model)).toMatchObject({ holds: true });
      else {
        const x = state!.map((value, i) => (1e4 * (value - bias[i])) / weight[i]);
        const logits = reference.logits(x);
        expect(logits.indexOf(Math.max(...logits))).toBe(token);
      }
    }
  });

  test('controls: all certified and accepted, none false', async () => {
    for await (const control of modelControls(model, { count: 9 })) {
      const figures = await runControl(control, model);
      expect(figures.wrong, figures.name).toBe(0);
      expect(figures.accepted, figures.name).toBe(figures.certified);
      if (control.kind !== 'bound') expect(figures.certified, figures.name).toBeGreaterThanOrEqual(8);
    }
  });
});

test('the support function of a LayerNorm is met where it says', () => {
  const random = seededRandom(1);
  const norm = { weight: random.normal(9), bias: random.normal(9) };
  const { axis, centre, radius } = normed(norm);
  const w = unit(random, 9);
  const y = layernorm(
    axis(w).map((value) => 1e6 * value),
    norm.weight,
    norm.bias,
    1e-5,
  ).y;
  expect(dot(w, y)).toBeCloseTo(centre(w) + radius * Math.hypot(...axis(w)), 6);
});
