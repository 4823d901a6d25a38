import { describe, expect, test } from 'vitest';
import { differences } from '../../src/injectivity/differences.ts';
import type { PrefixMargins } from '../../src/injectivity/margins.ts';
import type { Precision } from '../../src/injectivity/quantise.ts';
import { collisionReport, marginReport } from '../../src/injectivity/report.ts';
import type { CollisionResult, ResultLayer } from '../../src/injectivity/result.ts';
import { binStart } from '../../src/ops/pair-distances.ts';

const hostile = '</script><img src=x onerror="alert(1)">\u0007\u202e & <script>alert(2)</script>';
const words = ['It', ' was', ' past', hostile, '\ufffd', ' owl'];
const run = {
  command: `preimage collide '${hostile}.txt' --report out.html`,
  model: 'weights',
  digest: '0123456789abcdef',
  adapter: 'swiftshader',
  version: '0.1.0',
  date: new Date('2026-01-02T03:04:05Z'),
  token: (id: number) => words[id % words.length],
};
const texts = (line: number) => (line === 9 ? undefined : `It was past midnight, ${line} ${hostile}`);
const cause = { what: 'The embedding rows of the tokens 5 and 9 are equal.' };

/** 1000 prompts; `minimum` is the distance of lines 3 and 8. */
function layerOf(layer: number, minimum: number, precision: Precision = 'f32'): ResultLayer {
  const rms = 10 * layer;
  const pair = (a: number, b: number, distance: number) =>
    ({ a, b, distance, relative: distance / rms, ranks: [a, b] }) as const;
  const bin = (bin: number, count: number) => {
    return { bin, from: Math.sqrt(binStart(bin)), to: Math.sqrt(binStart(bin + 1)), count };
  };
  const collides = minimum < 1e-6;
  return {
    layer,
    precision,
    pairs: 499_500,
    minimum,
    rms,
    closest: [pair(3, 8, minimum), pair(7, 9, 0.5)],
    below: { [String(1e-6)]: collides ? 1 : 0 },
    histogram: [bin(collides ? 0 : 120, 1), bin(180, 499_499)],
  };
}

function resultOf(layers: readonly ResultLayer[], more: Partial<CollisionResult> = {}): CollisionResult {
  const precisions = [...new Set(layers.map(({ precision }) => precision))];
  return {
    prompts: 1000,
    duplicates: [{ line: 12, of: 5 }],
    skipped: [{ line: 4711, reason: `Not text: ${hostile}` }],
    test: {
      model: 'ab',
      config: 'ef',
      prompts: 'cd',
      layers: layers.map(({ layer }) => layer),
      precisions,
      closest: 2,
    },
    layers,
    ...more,
  };
}

function expectSafe(html: string): void {
  for (const sign of ['<img', '<script', '\u202e', '\u0007']) expect(html).not.toContain(sign);
  expect(html).not.toMatch(/NaN|undefined|Infinity/);
  expect(html).not.toMatch(/https?:\/\/(?!www\.w3\.org\/2000\/svg)/);
}

describe('a page about a test of collisions', () => {
  test('says that none collide, and how near they come', () => {
    const exhaustive = [
      { layer: 1, line: 3, continuations: 6, distance: 0.7, relative: 0.07, tokens: [3, 5] as [number, number] },
    ];
    const cost = { statesSeconds: 12, tokens: 24_000, pairsSeconds: 0, pairs: 0 };
    const html = collisionReport(resultOf([layerOf(1, 0.25), layerOf(2, 0.3)], { exhaustive }), {
      ...run,
      texts,
      cost,
    });
    expect(html).toContain('NO COLLISION');
    expect(html).toContain('1,000 distinct prompts, 499,500 pairs at each of 2 layers: none is nearer than 1e-6.');
    expect(html).toContain('The nearest two of all lie 0.250 apart, 0.0250 of the RMS length, at layer 1.');
    expect(html).toContain('the nearest two continuations lie 0.700 apart');
    expect(html).toContain('100,000 of Wikipedia');
    expect(html).toContain('499,499 pairs</title>');
    expect(html).toContain('2,000 tokens a second');
    expect(html).toContain('Line 4711.');
    expect(html).toContain('12 (of 5)');
    expect(html).toMatch(/<mark>3<\/mark>.*<mark>8<\/mark>/s);
    expect(html).toContain('Lines 7 and 9.'); // a text that is not at hand
    expectSafe(html);
  });

  test('names the cause of a collision, and the pairs that nothing explains', () => {
    const result = resultOf([layerOf(1, 0), layerOf(2, 1e-7)]);
    const causesOf = (_: unknown, layer: number) => (layer === 1 ? [cause] : []);
    const html = collisionReport(result, { ...run, causes: [cause], causesOf });
    expect(html).toContain('COLLISIONS');
    expect(html).toContain('one at a layer is nearer than 1e-6, at layers 1, 2.');
    expect(html).toContain(`<p>The cause:</p>\n<ul><li>${cause.what}</li>`);
    expect(html).toContain('Nothing found in the weights explains it.');
    expectSafe(html);
  });

  test('tells collisions of what is stored from those of the model', () => {
    const layers = [1, 2].flatMap((layer) => [
      layerOf(layer, 0.2, 'int8'),
      layerOf(layer, 0, 'int4'),
      layerOf(layer, 0.2),
    ]);
    const html = collisionReport(resultOf(layers), { ...run, texts });
    expect(html).toContain('NO COLLISION');
    expect(html).toContain('Stored in int4 (layers 1, 2), some collide; in int8 none do.');
    expect(html).toContain('1 collide</b>');
    expectSafe(html);
  });

  test('of a shard without pairs says so', () => {
    const { minimum, ...empty } = { ...layerOf(1, 1), pairs: 0, closest: [], histogram: [], rms: 0 };
    const html = collisionReport(resultOf([empty], { shard: { index: 2, count: 3 } }), run);
    expect(html).toContain('This is shard 2/3');
    expect(html).toContain('There is no pair.');
    expectSafe(html);
  });
});

describe('a page about margins', () => {
  const found = [0, 2, 3].map(
    (depth, prefix): PrefixMargins => ({
      prefix,
      depth,
      layers: [1, 2].map((layer) => ({ layer, distance: layer + depth / 8, relative: 0.1 / layer, tokens: [3, 5] })),
    }),
  );
  const prefixes = found.map(({ depth }) => ({ ids: Uint32Array.from({ length: depth }, (_, i) => 3 - i) }));
  const decode = (ids: Uint32Array) => Array.from(ids, run.token).join('');

  test('says what noise is survived, beside the published row', () => {
    const html = marginReport(found, prefixes, { ...run, compared: 6, vocabularySize: 6, decode, isPublished: true });
    expect(html).toContain('The least margin is <strong>1.00</strong>');
    expect(html).toContain('over all pairs of all 6 tokens');
    expect(html).toContain('half of the least margin, 0.500');
    expect(html).toContain('<data value="1.96">1.96</data>');
    expect(html).toContain('Margins by depth at layers 1, 2');
    expectSafe(html);
  });

  test('says when two tokens have one state, and when not all were compared', () => {
    const equal = [
      { ...found[0], layers: [{ layer: 1, distance: 0, relative: 0, tokens: [3, 5] as [number, number] }] },
    ];
    const html = marginReport(equal, prefixes, { ...run, token: undefined, compared: 4, vocabularySize: 6 });
    expect(html).toContain('EQUAL STATES');
    expect(html).toContain('#3');
    expect(html).toContain('Of a vocabulary of 6: over all of it margins may be less.');
    expectSafe(html);
    expect(marginReport([], [], { ...run, compared: 4, vocabularySize: 6 })).toContain('Nothing was measured.');
  });
});

describe('differences of two texts', () => {
  const shown = (a: string, b: string) =>
    differences(a, b).map((side) => side.map(({ text, isCommon }) => (isCommon ? text : `[${text}]`)).join(''));

  test('are told word by word', () => {
    expect(shown('he said it was so.', 'she said it is so.')).toEqual([
      '[he] said it[ was] so.',
      '[she] said it[ is] so.',
    ]);
    expect(shown('so', 'so it is')).toEqual(['so', 'so[ it is]']);
    expect(shown('Yes, sir', 'Yes,  sir')).toEqual(['Yes,[ sir]', 'Yes,[  sir]']);
    expect(shown('', 'a ')).toEqual(['', '[a ]']);
  });

  test('are all there is between the ends where little is in common', () => {
    expect(shown('It is one of them.', 'No man is an island.')).toEqual([
      '[It is one of them].',
      '[No man is an island].',
    ]);
  });
});
