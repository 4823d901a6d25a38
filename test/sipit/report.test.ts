import { expect, test } from 'vitest';
import { marginsOf } from '../../src/sipit/margins.ts';
import { inversionReport, sweepReport } from '../../src/sipit/report.ts';
import type { Inversion, PositionResult, Verdict } from '../../src/sipit/types.ts';

const hostile = '</script><img src=x onerror="alert(1)">\n\u0007\u202e &';
const words = ['It', ' was', ' past', ' <midnight', hostile, '\n', '\ufffd', ' owl'];
const run = {
  command: 'preimage invert states.safetensors --report out.html',
  model: 'weights',
  digest: '0123456789abcdef',
  adapter: 'swiftshader',
  machine: '2 cores',
  version: '0.1.0',
  date: new Date('2026-01-02T03:04:05Z'),
  token: (id: number) => words[id % words.length],
};

function position(index: number, verdict: Verdict = 'accepted', scale = 1): PositionResult {
  const distance = verdict === 'not found' ? 0.123456 : 1.23456e-5 * (index + 1);
  const margin = scale * (2 + Math.sin(index)) * (verdict === 'ambiguous' ? 1e-4 : 1);
  const isBound = index % 2 === 1;
  return {
    position: index,
    verdict,
    ...(verdict === 'accepted' ? {} : { reason: `no token is within the radius ${hostile}` }),
    token: index,
    text: run.token(index),
    distance,
    radius: 1.5e-3,
    ...(isBound
      ? { othersBeyond: distance + margin }
      : { runnerUp: { token: index + 1, distance: distance + margin } }),
    margin,
    candidates: index === 3 ? 4096 : 1,
    rivals: index === 3 ? 12 : 0,
  };
}

function inversion(length: number, layer = 3, verdictOf: (index: number) => Verdict = () => 'accepted'): Inversion {
  const positions = Array.from({ length }, (_, i) => position(i, verdictOf(i), layer));
  return {
    text: positions.map(({ text }) => text).join(''),
    tokens: positions.map(({ token }) => token),
    exact: positions.every(({ verdict }) => verdict === 'accepted'),
    layer,
    policy: 'speculative',
    scope: 'calibrated',
    noise: 0,
    positions,
    length,
    cost: { forwardEquivalents: 1.0987654 + layer, scoring: 0.1, candidates: length, seconds: 0.84 },
  };
}

const cellsOf = (html: string, id: string): string[] => {
  const row = html.match(new RegExp(`<tr id="${id}".*?</tr>`, 's'))![0];
  return [...row.matchAll(/<data value="([^"]*)">/g)].map(([, value]) => value);
};

/** What holds of every page. */
function expectSound(html: string): void {
  // `http-equiv` and the name of SVG are the only mentions of http.
  const bare = html.replaceAll('http://www.w3.org/2000/svg', '').replace('http-equiv', '');
  expect(bare.match(/http|<script|<img|<link|<iframe|@import|url\(/)).toBeNull();
  const text = html.replace(/<style>.*?<\/style>/s, '');
  expect(text.match(/NaN|Infinity|undefined|\[object/)).toBeNull();
  // biome-ignore lint/suspicious/noControlCharactersInRegex: none must be left.
  expect(html.match(/[\u0000-\u0008\u000b-\u001f\u202e]/)).toBeNull();
  const ids = [...html.matchAll(/ id="([^"]*)"/g)].map(([, id]) => id);
  expect(new Set(ids).size).toBe(ids.length);
  for (const [, target] of html.matchAll(/href="#([^"]*)"/g)) expect(ids).toContain(target);
  expect(html).toContain(run.digest);
  expect(html).toContain(run.command);

  if (typeof DOMParser === 'undefined') return;
  const seen = new DOMParser().parseFromString(html, 'text/html');
  expect(seen.querySelectorAll('script, img, link, iframe')).toHaveLength(0);
  for (const svg of seen.querySelectorAll('svg')) {
    const parsed = new DOMParser().parseFromString(new XMLSerializer().serializeToString(svg), 'image/svg+xml');
    expect(parsed.querySelector('parsererror')).toBeNull();
    expect(svg.querySelector(':scope > title')!.textContent).not.toBe('');
  }
  for (const part of html.match(/<svg .*?<\/svg>/gs) ?? [])
    expect(new DOMParser().parseFromString(part, 'image/svg+xml').querySelector('parsererror')).toBeNull();
  for (const table of seen.querySelectorAll('table')) {
    expect(table.caption!.textContent).not.toBe('');
    const width = table.tHead!.rows[0].cells.length;
    for (const row of table.tBodies[0].rows)
      expect([...row.cells].reduce((sum, { colSpan }) => sum + colSpan, 0)).toBe(width);
  }
}

test('the figures of every position are those of the inversion', () => {
  const one = inversion(8);
  const html = inversionReport([{ name: 'states.7', inversion: one }], run);
  expectSound(html);
  expect(html).toContain('>EXACT<');
  expect(html).toContain('states.7');
  for (const { position, distance, radius, runnerUp, margin } of one.positions) {
    const shown = [distance, radius, ...(runnerUp ? [runnerUp.distance] : []), margin];
    expect(cellsOf(html, `p${position}`)).toEqual(shown.map(String));
  }
  expect(html).toContain(`<data value="${one.cost.forwardEquivalents}">`);
  expect(html).toContain('4,096');
});

test('a bound is told from a margin', () => {
  const html = inversionReport([{ inversion: inversion(2) }], run);
  const [first, second] = inversion(2).positions;
  expect(html).toContain(`<data value="${first.margin}">6.00</data>`);
  expect(html).toContain(`<data value="${second.margin}">≥ 8.52</data>`);
  expect(html).toContain('--prove');
});

test('a bound that says nothing is not shown as a margin', () => {
  const vague = { ...position(1), othersBeyond: 0, margin: -1.2e-5, runnerUp: { token: 4, distance: 3 } };
  const html = inversionReport([{ inversion: { ...inversion(1), positions: [vague] } }], run);
  expectSound(html);
  expect(html).toContain(`<data value="${vague.margin}">not known</data>`);
});

test('the narrowest place is the one of the least margin, with its rival', () => {
  const one = inversion(8);
  const { narrowest } = marginsOf(one);
  const html = inversionReport([{ inversion: one }], run);
  const section = html.match(/>The narrowest place<\/h2>.*?<\/section>/s)![0];
  expect(narrowest!.position).toBe(5);
  expect(section).toContain('position 5');
  expect(section).toContain(`<data value="${narrowest!.othersBeyond}">`);
});

test("the paper's figures stand beside ours, as another model's", () => {
  const html = inversionReport([{ inversion: inversion(4) }], run);
  for (const figure of ['28.01 ± 35.87 s', '3889.61 s', '6132.59 s', '0 %', 'GPT-2 small, 20 tokens; one A100'])
    expect(html).toContain(figure);
  expect(html).toContain('The published figures (arXiv 2510.15511) are of another model');
});

test('flagged tokens are marked with their reason, once for all that share it', () => {
  const html = inversionReport([{ inversion: inversion(6, 3, (i) => (i === 2 ? 'ambiguous' : 'accepted')) }], run);
  expectSound(html);
  expect(html).toContain('>AMBIGUOUS<');
  expect(html).toContain('Flagged: 1 token of 6');
  const all = inversionReport([{ inversion: inversion(256, 3, () => 'not found') }], run);
  expectSound(all);
  expect(all).toContain('>NOT FOUND<');
  expect(all).toContain('Flagged: 256 tokens of 256');
  expect(all.match(/<li>✗ not found: /g)).toHaveLength(1);
  expect(all).toContain('and 248 more');
});

test('hostile tokens stay text', () => {
  const html = inversionReport([{ name: hostile, inversion: inversion(8) }], { ...run, model: hostile });
  expectSound(html);
  expect(html).toContain('&lt;/script&gt;&lt;img·src=x·onerror=&quot;alert(1)&quot;&gt;↵\\x07\\u{202e}·&amp;');
});

test('a model without a tokenizer has its tokens numbered', () => {
  const { text, ...rest } = inversion(5);
  const html = inversionReport([{ inversion: rest }], { ...run, token: undefined });
  expect(text).toBeDefined();
  expectSound(html);
  expect(html).toContain('#4');
  expect(html).not.toContain('Read as a whole');
});

test('nothing, one position, one token in all, a stopped search', () => {
  expectSound(inversionReport([], run));
  expectSound(sweepReport([], run));
  expectSound(inversionReport([{ inversion: inversion(1) }], run));
  expectSound(sweepReport([inversion(1)], run));
  const { margin, othersBeyond, runnerUp, ...alone } = position(0);
  expect([margin, othersBeyond, runnerUp]).toHaveLength(3);
  const only = inversionReport([{ inversion: { ...inversion(1), positions: [alone] } }], run);
  expectSound(only);
  expect(only).toContain('no other token');

  const stopped = { ...inversion(3), exact: false, length: 9 };
  const html = inversionReport([{ inversion: stopped }], run);
  expectSound(html);
  expect(html).toContain('>STOPPED<');
  expect(html).toContain('6 positions not recovered');
  const empty = { ...inversion(0), exact: false, length: 9 };
  expectSound(inversionReport([{ inversion: empty }], run));
  expectSound(sweepReport([empty, stopped], run));
});

test('a sweep over 12 layers of 256 positions shows each', () => {
  const layers = Array.from({ length: 12 }, (_, i) =>
    inversion(256, i + 1, (at) => (at === 9 ? 'ambiguous' : 'accepted')),
  );
  const html = sweepReport(layers, run);
  expectSound(html);
  expect(html).toContain('0 of 12 layers');
  expect(html.match(/<tr id="/g)).toHaveLength(12 * 256);
  expect(html).toContain('GPT-2, published');
  expect(html).toContain('<summary>Layer 12: ');
  expect(html.length).toBeLessThan(6e6);
});

test('a sweep shows least and median margin, and cost, of each layer', () => {
  const layers = [1, 2, 5].map((layer) => inversion(8, layer));
  const html = sweepReport(layers, run);
  expectSound(html);
  expect(html).toContain('3 of 3 layers gave back all 8 tokens exactly');
  expect(html).toContain('Inversion from layers 1, 2, 5');
  const table = html.match(/Each layer inverted by itself.*?<\/table>/s)![0];
  for (const one of layers) {
    const { narrowest, median } = marginsOf(one);
    for (const value of [narrowest!.margin, median, one.cost.forwardEquivalents])
      expect(table).toContain(`<data value="${value}">`);
  }
});

test('of many records the flagged and narrowest are shown token by token, and the narrowest is named', () => {
  const results = Array.from({ length: 600 }, (_, i) => ({
    name: `states.${i}`,
    inversion: inversion(4, 3, () => (i === 77 ? 'not found' : 'accepted')),
  }));
  const html = inversionReport(results, run);
  expectSound(html);
  expect(html).toContain('599 of 600 records exact; 4 of the 2,400 tokens recovered are flagged.');
  expect(html.match(/<details>/g)).toHaveLength(12);
  expect(html.match(/<summary>([^:]*):/)![1]).toBe('states.77');
  expect(html).toMatch(/states\.\d+, layer 3, position \d/);
  expect(html).toContain('The 500 that are flagged or narrowest');
});
