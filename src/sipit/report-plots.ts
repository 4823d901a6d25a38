/** The pictures of a report on inversions. */

import { barPlot, bins } from '../report/bar-plot.ts';
import { type HeatmapMark, heatmap } from '../report/heatmap.ts';
import { linePlot, type Series } from '../report/line-plot.ts';
import { type Content, type Markup, markup } from '../report/markup.ts';
import { figure, scrolling } from '../report/table.ts';
import { count, counted } from '../report/text.ts';
import { isBound, marginsOf, narrowestOf } from './margins.ts';
import { PUBLISHED_MARGINS } from './published.ts';
import { hoverText, marginText, nameOf, type TokenText, UNKNOWN } from './report-tokens.ts';
import type { Inversion, PositionResult } from './types.ts';

const MARGIN = 'Margin: how much farther than the token the nearest other one is.';

/** Margins by position, a row for each layer; the narrowest place and the flagged ones are marked. */
export function marginMap(inversions: readonly Inversion[], textOf: TokenText): Content {
  const columns = Math.max(0, ...inversions.map(({ positions }) => positions.length));
  if (columns === 0) return [];
  const shown = inversions.find(({ exact }) => exact) ?? inversions[0];
  const picture = heatmap({
    title: `Margins of ${counted(columns, 'position')} at ${layersText(inversions)}`,
    rows: inversions.map(({ layer }) => `layer ${layer}`),
    columns: Array.from({ length: columns }, (_, i) => {
      const token = shown.positions[i]?.token;
      return token === undefined ? String(i) : nameOf(token, textOf);
    }),
    values: inversions.map(({ positions }) => positions.map(({ margin }) => margin)),
    legend: 'margin',
    log: true,
    label: (row, column) => {
      const position = inversions[row].positions[column];
      const what = position ? hoverText(position, textOf) : `position ${column}: not recovered`;
      return `layer ${inversions[row].layer}, ${what}`;
    },
    marks: marksOf(inversions),
  });
  const bounds = inversions.some(({ positions }) => positions.some(isBound))
    ? " With ≥ it is a bound by the lens's calibration; --prove finds the true one."
    : '';
  return figure(scrolling('Margins by position and layer', picture), `${MARGIN}${bounds}`);
}

function marksOf(inversions: readonly Inversion[]): HeatmapMark[] {
  const cells = inversions.flatMap(({ positions }, row) =>
    positions.map((position, column) => ({ row, column, position })),
  );
  const narrowest = narrowestOf(inversions)?.position;
  const marks: HeatmapMark[] = [
    { cells: cells.filter(({ position }) => position === narrowest), shape: 'ring', meaning: 'the narrowest place' },
    {
      cells: cells.filter(({ position }) => position.verdict !== 'accepted'),
      shape: 'cross',
      meaning: 'ambiguous or not found',
    },
  ];
  return marks.filter(({ cells }) => cells.length > 0);
}

/** Layers by name: `layer 3`, `layers 1 to 6`, `layers 1, 3, 6`. */
export function layersText(inversions: readonly Inversion[]): string {
  const layers = inversions.map(({ layer }) => layer);
  if (layers.length === 1) return `layer ${layers[0]}`;
  const isRun = layers.every((layer, i) => layer === layers[0] + i);
  return isRun ? `layers ${layers[0]} to ${layers[layers.length - 1]}` : `layers ${layers.join(', ')}`;
}

/** Distances by position: of the tokens, of what rounding and noise explain, and of the nearest other tokens. */
export function distancePlot({ positions, layer }: Inversion, textOf: TokenText): Content {
  if (positions.length === 0) return [];
  const points = (name: string, y: (one: PositionResult) => number | undefined): Series => ({
    name,
    points: positions.map((one) => ({ x: one.position, y: y(one), label: hoverText(one, textOf) })),
    style: 'points',
  });
  const nearest = (one: PositionResult) =>
    one.margin === undefined || marginText(one) === UNKNOWN ? undefined : one.distance + one.margin;
  const others = points('nearest other token', nearest);
  const picture = linePlot({
    title: `Distances from the observed states by position, layer ${layer}`,
    x: { label: 'position' },
    y: { label: 'distance from the observed state', log: true },
    series: [
      {
        name: 'explained by rounding and noise',
        points: positions.map(({ position, radius }) => ({ x: position, y: radius })),
        style: 'line',
        dashed: true,
        muted: true,
      },
      points('recovered token', ({ distance }) => distance),
      { ...others, points: others.points.map((point, i) => ({ ...point, open: isBound(positions[i]) })) },
    ],
  });
  const hollow = positions.some(isBound) ? " Hollow: a bound by the lens's calibration." : '';
  const zero = positions.some(({ distance }) => distance === 0) ? ' Distances of 0 are drawn at the bottom.' : '';
  return figure(picture, `The gap between the two is the margin.${hollow}${zero}`);
}

/** Least and median margin, and cost, by layer (arXiv 2510.15511, section 5), beside the paper's margins. */
export function layerPlots(inversions: readonly Inversion[]): Markup {
  const last = inversions.reduce((most, { layer }) => Math.max(most, layer), 1);
  const byLayer = inversions.map((inversion) => ({ x: inversion.layer, ...marginsOf(inversion) }));
  const margins = linePlot({
    title: 'Least and median margin by layer',
    x: { label: 'layer' },
    y: { label: 'margin', log: true },
    series: [
      {
        name: 'GPT-2, published',
        points: PUBLISHED_MARGINS.slice(0, last).map((y, i) => ({ x: i + 1, y })),
        style: 'line',
        dashed: true,
        muted: true,
      },
      {
        name: 'least',
        points: byLayer.map(({ x, narrowest }) => ({
          x,
          y: narrowest?.margin,
          open: narrowest && isBound(narrowest),
          label: narrowest && `layer ${x}: ${marginText(narrowest)}`,
        })),
      },
      { name: 'median', points: byLayer.map(({ x, median }) => ({ x, y: median })) },
    ],
  });
  const cost = linePlot({
    title: 'Cost by layer in forward passes',
    x: { label: 'layer' },
    y: { label: 'forward passes of the prompt up to the layer' },
    series: [
      { name: 'all', points: inversions.map(({ layer, cost }) => ({ x: layer, y: cost.forwardEquivalents })) },
      { name: 'of them, scoring', points: inversions.map(({ layer, cost }) => ({ x: layer, y: cost.scoring })) },
    ],
  });
  const hollow = byLayer.some(({ narrowest }) => narrowest && isBound(narrowest)) ? ' Hollow: a bound.' : '';
  const published =
    'Published (arXiv 2510.15511): another model, the least distance among 1000 tokens; ' +
    'compare how it grows, not how high it is.';
  return markup`<div class="pair">
${figure(margins, `${MARGIN} ${published}${hollow}`)}
${figure(cost, 'One is the work of a forward pass over the same prompt up to that layer.')}</div>
`;
}

/** How often which margin occurs. */
export function marginHistogram(positions: readonly PositionResult[]): Content {
  const margins = positions.flatMap(({ margin }) => (margin === undefined ? [] : [margin]));
  if (margins.length === 0) return markup`<p>No position has another token to compare with.</p>\n`;
  const bounded = positions.filter(isBound).length;
  const note = bounded > 0 ? ` Of them, ${count(bounded)} are bounds by the lens's calibration.` : '';
  const picture = barPlot({
    title: `How many of ${counted(margins.length, 'position')} have which margin`,
    x: { label: 'margin', log: true },
    y: { label: 'positions' },
    bars: bins(margins, 24, true),
  });
  return figure(picture, `${MARGIN} ${counted(margins.length, 'position')}.${note}`);
}
