import { expect, test } from 'vitest';
import { barPlot, bins } from '../../src/report/bar-plot.ts';
import { RAMP } from '../../src/report/colours.ts';
import { heatmap } from '../../src/report/heatmap.ts';
import { linePlot } from '../../src/report/line-plot.ts';

const hostile = '</title></svg><script>alert(1)</script>\u0007 & "';

function expectSound(svg: string): void {
  expect(svg).toMatch(/^<svg [^>]*role="img" aria-label="[^"]+"/);
  expect(svg).toContain('<title>');
  expect(svg).not.toMatch(/NaN|Infinity|undefined|<script|\[object/);
  if (typeof DOMParser === 'undefined') return;
  const parsed = new DOMParser().parseFromString(svg, 'image/svg+xml');
  expect(parsed.querySelector('parsererror')).toBeNull();
  expect(parsed.querySelectorAll('script')).toHaveLength(0);
}

const axes = { x: { label: 'layer' }, y: { label: 'margin' } };

test('a line plot breaks where a value is missing, and shows lone points', () => {
  const points = [1, 2, Number.NaN, 4, undefined, 6, 7].map((y, x) => ({ x, y }));
  const svg = String(linePlot({ title: 'Broken', ...axes, series: [{ name: 'a', points, style: 'line' }] }));
  expectSound(svg);
  expect(svg.match(/<polyline/g)).toHaveLength(2);
  expect(svg).toContain('<title>a, 3: 4</title>');
});

test('points lie where their values say', () => {
  const points = [0, 1, 2].map((x) => ({ x, y: 10 ** (2 * x) }));
  const series = [{ name: 'a', points, style: 'line' as const }];
  const svg = String(linePlot({ title: 'Log', x: axes.x, y: { label: 'y', log: true }, series }));
  const [[x0, y0], [x1, y1], [x2, y2]] = svg
    .match(/points="([^"]*)"/)![1]
    .split(' ')
    .map((point) => point.split(',').map(Number));
  expect(x1).toBeCloseTo((x0 + x2) / 2, 0);
  expect(y1).toBeCloseTo((y0 + y2) / 2, 0);
  expect(y2).toBeLessThan(y0);
});

test('a plot takes hostile names, no points, one point, zeros on a logarithmic axis', () => {
  const named = { title: hostile, x: { label: hostile }, y: { label: hostile, log: true } };
  for (const points of [[], [{ x: 0, y: 0 }], [{ x: 3, y: 5, label: hostile, open: true }]])
    expectSound(String(linePlot({ ...named, series: [{ name: hostile, points }] })));
  expectSound(String(linePlot({ ...named, series: [] })));
  expectSound(String(barPlot({ ...named, bars: [] })));
});

test('many series and long names wrap in the legend', () => {
  const series = Array.from({ length: 9 }, (_, i) => ({
    name: `a series with a long name ${i}`,
    points: [{ x: i, y: i }],
  }));
  const svg = String(linePlot({ title: 'Many', ...axes, series }));
  expectSound(svg);
  for (const { name } of series) expect(svg).toContain(`>${name}</text>`);
});

test('bins hold every value once', () => {
  const values = Array.from({ length: 1000 }, (_, i) => 1e-3 * 1.01 ** i);
  for (const log of [false, true]) {
    const counted = bins(values, 24, log);
    expect(counted).toHaveLength(24);
    expect(counted.reduce((sum, { value }) => sum + value, 0)).toBe(1000);
    expect(counted[0].from).toBeCloseTo(1e-3, 12);
    expect(counted[23].to).toBe(values[999]);
    for (const { from, to, value } of log ? counted.slice(0, -1) : [])
      expect(values.filter((one) => one >= from * (1 + 1e-12) && one < to * (1 - 1e-12)).length).toBeLessThanOrEqual(
        value,
      );
  }
  expect(bins([3, 3, 3])).toEqual([{ from: 2.7, to: 3.3, value: 3 }]);
  expect(bins([0, 0, 5], 4, true)).toEqual([{ from: 4.5, to: 5.5, value: 3 }]);
  expect(bins([], 4)).toEqual([]);
});

test('bars are as high as their counts', () => {
  const bars = [5, 10, 0].map((value, i) => ({ from: i, to: i + 1, value }));
  const svg = String(barPlot({ title: 'Bars', ...axes, bars }));
  expectSound(svg);
  const heights = [...svg.matchAll(/class="s0 dot"[^>]*height="([\d.]+)"/g)].map(([, height]) => Number(height));
  expect(heights[1]).toBeCloseTo(2 * heights[0], 0);
  expect(heights[2]).toBe(0);
  expect(svg).toContain('<title>1.00 to 2.00: 10</title>');
});

test('a heat map colours from its least to its greatest value', () => {
  const svg = String(
    heatmap({
      title: 'Map',
      rows: ['layer 1', 'layer 2'],
      columns: ['a', 'b', 'c'],
      values: [
        [1, 10, 1000],
        [undefined, 0, 999],
      ],
      legend: 'margin',
      log: true,
      label: (row, column) => `${row}/${column} ${hostile}`,
      marks: [{ cells: [{ row: 0, column: 0 }], shape: 'ring', meaning: 'the least' }],
    }),
  );
  expectSound(svg);
  const cells = [...svg.matchAll(/<rect class="(r\d|blank)"[^>]*><title>(\d\/\d)/g)].map(([, name, at]) => [at, name]);
  expect(Object.fromEntries(cells)).toEqual({
    '0/0': 'r0',
    '0/1': 'r3',
    '0/2': 'r9',
    '1/0': 'blank',
    '1/1': 'r0',
    '1/2': 'r9',
  });
  expect(svg).toContain(RAMP[9]);
  expect(svg).toContain('the least');
});

test('a heat map of 256 columns goes on below, one of a single cell stays small', () => {
  const size = (svg: string) => Number(svg.match(/width="([\d.]+)"/)![1]);
  const map = (rows: number, columns: number, value?: number) =>
    String(
      heatmap({
        title: 'Map',
        rows: Array.from({ length: rows }, (_, i) => `layer ${i}`),
        columns: Array.from({ length: columns }, (_, i) => `token ${i} ${hostile}`),
        values: Array.from({ length: rows }, () => new Array<number | undefined>(columns).fill(value)),
        legend: 'margin',
        log: true,
      }),
    );
  for (const svg of [map(12, 256, 3), map(1, 1, 3), map(1, 1, 0), map(1, 40), map(0, 0)]) {
    expectSound(svg);
    expect(size(svg)).toBeLessThan(750);
  }
});
