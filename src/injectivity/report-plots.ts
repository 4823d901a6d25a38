/** The pictures of reports on collisions and on margins. */

import { binStart, HISTOGRAM_BINS } from '../ops/pair-distances.ts';
import type { Bin } from '../report/bar-plot.ts';
import { linePlot, type Series } from '../report/line-plot.ts';
import { type Content, type Markup, markup } from '../report/markup.ts';
import { plot, seriesColour } from '../report/plot.ts';
import { fixed, hover } from '../report/svg.ts';
import { figure } from '../report/table.ts';
import { count, counted, significant } from '../report/text.ts';
import { PUBLISHED_MARGINS } from '../sipit/published.ts';
import type { PrefixMargins } from './margins.ts';
import { boundOf, boundText, layerNames, prefixesText, prefixName, type Stored, storedOf } from './report-words.ts';
import type { CollisionResult, ResultBin, ResultLayer } from './result.ts';

/** Rules of small pictures side by side. */
export const PLOT_STYLE = `
.small{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr));gap:.4rem 1rem;margin:.8rem 0}
.small .plot{max-width:24rem}
`;

/** The least distance by layer, in itself and relative to the states, a line for each precision; of many layers. */
export function minimumPlots(result: CollisionResult): Content {
  const stored = storedOf(result);
  const [{ layers }] = stored;
  const bound = boundOf(result);
  const positive = result.layers.flatMap(({ minimum = 0 }) => (minimum > 0 ? [minimum] : []));
  if (positive.length === 0 || layers.length < 2) return [];
  // A logarithmic axis has no 0: such points lie hollow below all others.
  const zero = Math.min(bound, ...positive) / 10;
  const series = (of: (layer: ResultLayer) => number | undefined, atZero?: number): Series[] =>
    stored.map((own) => ({
      name: own.precision === 'f32' ? 'f32, as computed' : own.precision,
      points: own.layers.map((layer) => {
        const value = of(layer);
        const label = value === undefined ? undefined : `layer ${layer.layer}: ${significant(value)}`;
        return { x: layer.layer, y: value === 0 ? atZero : value, label, open: value === 0 };
      }),
    }));
  const absolute = linePlot({
    title: `Least distance of two prompts by layer, and the bound of ${boundText(result)}`,
    x: { label: 'layer' },
    y: { label: 'least distance', log: true },
    series: [
      {
        name: `collision: below ${boundText(result)}`,
        points: layers.map(({ layer }) => ({ x: layer, y: bound })),
        style: 'line',
        dashed: true,
        muted: true,
      },
      ...series(({ minimum }) => minimum, zero),
    ],
  });
  const relative = linePlot({
    title: 'Least distance relative to the length of states, by layer',
    x: { label: 'layer' },
    y: { label: 'of the RMS length', log: true },
    series: series(({ closest: [nearest] }) => nearest?.relative).filter(({ points }) =>
      points.some(({ y }) => y !== undefined),
    ),
  });
  const isZero = result.layers.some(({ minimum }) => minimum === 0);
  return markup`<div class="pair">
${figure(absolute, `The least of all pairs of each layer.${isZero ? ' Hollow, at the bottom: a distance of 0.' : ''}`)}
${figure(relative, `The same as a share of the RMS length of the states there${isZero ? ', where it is not 0' : ''}.`)}</div>
`;
}

/** Layers whose histograms stand open. */
const MOST_SHOWN = 12;

/** How many pairs lie how far apart: a small picture for each layer, all on the same axes. */
export function histograms({ layers, precision }: Stored): Content {
  const drawn = layers.map(({ layer, histogram }) => ({ layer, bars: barsOf(histogram) }));
  const bars = drawn.flatMap((one) => one.bars);
  if (bars.length === 0) return [];
  const xs = bars.flatMap(({ from, to }) => [from, to]);
  const ys = [1, ...bars.map(({ value }) => value)];
  const picture = (one: (typeof drawn)[number]) => histogram(one.layer, one.bars, xs, ys);
  const open = evenly(drawn, MOST_SHOWN);
  const others = drawn.filter((one) => !open.includes(one));
  const rest =
    others.length > 0
      ? markup`<details><summary>The other ${counted(others.length, 'layer')}</summary>
<div class="small">${others.map(picture)}</div></details>\n`
      : '';
  const states = precision === 'f32' ? 'states' : `states in ${precision}`;
  return markup`<div class="small">
${open.map(picture)}</div>
<p class="soft">Pairs of ${states} by their distance, in steps of the square root of two; both axes are logarithmic, and
the same for all layers.</p>
${rest}`;
}

/** Bins of a step of two in the squared distance. */
const STEP = 4;

/** Bins put together, and given a width where they begin at 0. */
function barsOf(histogram: readonly ResultBin[]): Bin[] {
  const counts = new Map<number, number>();
  for (const { bin, count } of histogram) {
    const step = Math.ceil(bin / STEP);
    counts.set(step, (counts.get(step) ?? 0) + count);
  }
  const edge = (step: number) => Math.sqrt(binStart(STEP * step + 1));
  return [...counts].map(([step, value]): Bin => {
    const [from, to] = [edge(step - 1), edge(step)];
    const isOpen = STEP * step >= HISTOGRAM_BINS - 1;
    const range = step === 0 ? `below ${significant(to)}` : isOpen ? `from ${significant(from)} on` : '';
    return {
      from,
      to,
      value,
      label: `${range || `${significant(from)} to ${significant(to)}`}: ${counted(value, 'pair')}`,
    };
  });
}

function histogram(layer: number, bars: readonly Bin[], xs: readonly number[], ys: readonly number[]): Markup {
  const { name, colour } = seriesColour(0);
  return plot(
    {
      title: `Pairs by distance at layer ${layer}`,
      x: { label: 'distance', log: true },
      y: { label: `layer ${layer}: pairs`, log: true },
      width: 350,
      height: 200,
    },
    xs,
    ys,
    [],
    (place) =>
      bars.map(({ from, to, value, label }) => {
        const [left, right] = [place.x(from), place.x(to)];
        // A single pair has no height on a logarithmic axis from 1.
        const top = Math.min(place.y(value), place.bottom - 2);
        const size = markup`width="${fixed(Math.max(right - left - 1, 1))}" height="${fixed(place.bottom - top)}"`;
        return markup`<rect class="${name} dot" fill="${colour}" x="${left}" y="${top}" ${size}>${hover(label)}</rect>\n`;
      }),
  );
}

/** At most so many of a list, evenly spaced, the first and the last among them. */
function evenly<T>(list: readonly T[], most: number): T[] {
  if (list.length <= most) return [...list];
  return Array.from({ length: most }, (_, i) => list[Math.round((i * (list.length - 1)) / (most - 1))]);
}

/** Lines of a plot with a colour each. */
const MOST_LINES = 5;

/**
 * Margins by layer, beside the paper's, and by depth: what there is more than one of.
 * @param lines Line of each prefix, where it has one.
 */
export function marginPlots(found: readonly PrefixMargins[], lines: readonly (number | undefined)[]): Markup {
  const depths = new Set(found.map(({ depth }) => depth));
  return markup`<div class="pair">
${layersOf(found).length > 1 ? layerFigure(found, lines) : ''}${depths.size > 1 ? depthFigure(found) : ''}</div>
`;
}

function layerFigure(found: readonly PrefixMargins[], lines: readonly (number | undefined)[]): Markup {
  const layers = layersOf(found);
  const last = layers.reduce((a, b) => Math.max(a, b), 1);
  const at = (name: string, of: (margins: number[]) => number): Series => ({
    name,
    points: layers.map((x, i) => labelled(x, of(found.map((one) => one.layers[i].distance).toSorted((a, b) => a - b)))),
  });
  const single = found.map(
    (one): Series => ({
      name: prefixName(one, lines[one.prefix]),
      points: one.layers.map(({ layer, distance }) => labelled(layer, distance)),
    }),
  );
  const summed = [at('least', ([least]) => least), at('median', (all) => all[all.length >> 1])];
  const picture = linePlot({
    title: `Margins by layer, behind ${prefixesText(found.length)}`,
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
      ...(found.length <= MOST_LINES ? single : summed),
    ],
  });
  const which = found.length <= MOST_LINES ? 'Behind each prefix.' : `Over all ${count(found.length)} prefixes.`;
  return figure(
    picture,
    `${which} Published (arXiv 2510.15511): GPT-2 small, the least distance among 1000 tokens; of another model compare how it grows, not how high it is.`,
  );
}

const labelled = (layer: number, y: number) => ({ x: layer, y, label: `layer ${layer}: ${significant(y)}` });

function depthFigure(found: readonly PrefixMargins[]): Markup {
  const depths = [...new Set(found.map(({ depth }) => depth))].sort((a, b) => a - b);
  const shown = evenly(layersOf(found), MOST_LINES);
  const picture = linePlot({
    title: `Margins by depth at ${layerNames(shown)}`,
    x: { label: 'depth: tokens before' },
    y: { label: 'margin', log: true },
    series: shown.map((layer): Series => {
      const i = layersOf(found).indexOf(layer);
      const least = (depth: number) =>
        found
          .filter((one) => one.depth === depth)
          .map((one) => one.layers[i].distance)
          .reduce((a, b) => Math.min(a, b));
      return {
        name: `layer ${layer}`,
        points: depths.map((x) => ({ x, y: least(x), label: `depth ${x}: ${significant(least(x))}` })),
      };
    }),
  });
  const several = depths.length < found.length ? ' Of several prefixes of one depth, the least.' : '';
  return figure(picture, `A line for each layer.${several}`);
}

const layersOf = ([first]: readonly PrefixMargins[]): number[] => first?.layers.map(({ layer }) => layer) ?? [];
