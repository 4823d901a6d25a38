import { barPlot, bins } from '../report/bar-plot.ts';
import { linePlot } from '../report/line-plot.ts';
import { type Content, type Markup, markup } from '../report/markup.ts';
import { type Provenance, page, type Section } from '../report/page.ts';
import { figure, type Row, table } from '../report/table.ts';
import { count, counted, cut, duration, number, significant, visible } from '../report/text.ts';
import { isBound, marginsOf } from './margins.ts';
import { PUBLISHED_COSTS, PUBLISHED_MARGINS, PUBLISHED_SETTING } from './published.ts';
import {
  badge,
  distancePlot,
  layersText,
  marginCell,
  marginMap,
  nameOf,
  narrowestOf,
  placeTable,
  positionTable,
  recoveredText,
  STYLE,
  type TokenText,
  verdictText,
} from './report-parts.ts';
import type { Inversion, PositionResult } from './types.ts';

/** An inversion, and what its record is called. */
export interface NamedInversion {
  readonly name?: string;
  readonly inversion: Inversion;
}

/** How the inversions came about, and what names their tokens. */
export interface ReportRun extends Provenance {
  /** The text of a token; absent where the model has no tokenizer. */
  readonly token?: (id: number) => string;
}

/**
 * A page about the inversion of one record, or of many: what was recovered, with the evidence for each token, the
 * narrowest place, and the cost beside the paper's.
 *
 * @param results In the order of the input. Of many, at most 12 are shown token by token: the flagged ones first.
 * @returns An HTML document.
 */
export function inversionReport(results: readonly NamedInversion[], run: ReportRun): string {
  return results.length === 1 ? pageOfOne(results[0], run) : pageOfMany(results, run);
}

/**
 * A page about one prompt inverted from several layers: margin and cost by depth (arXiv 2510.15511, section 5), and the
 * margins of all positions.
 *
 * @param inversions One for each layer, in their order.
 * @returns An HTML document.
 */
export function sweepReport(inversions: readonly Inversion[], run: ReportRun): string {
  if (inversions.length === 0) return emptyPage('Inversion by layer', run);
  const { token } = run;
  const shown = inversions.find(({ exact }) => exact) ?? inversions[inversions.length - 1];
  const exact = inversions.filter((inversion) => inversion.exact).length;
  return page({
    title: `Inversion from ${layersText(inversions)}`,
    summary: markup`<p class="verdict">${exact} of ${counted(inversions.length, 'layer')} gave back all ${counted(shown.length, 'token')} exactly.</p>\n`,
    sections: [
      {
        title: 'Recovered text',
        body: [
          inversions.length > 1 ? markup`<p>As layer ${shown.layer} gives it back.</p>\n` : '',
          recoveredText(shown, token, prefixOf(shown)),
        ],
      },
      { title: 'Margin and cost by layer', body: [layerPlots(inversions), layerTable(inversions, token)] },
      { title: 'Margins by position and layer', body: marginMap(inversions, token) },
      ...place(inversions, ofLayer, token),
      { title: 'Cost', body: costTable(inversions, run) },
      {
        title: 'Every position',
        body: inversions.map(
          (inversion) =>
            markup`<details><summary>Layer ${inversion.layer}: ${verdictText(inversion)}</summary>\n${distancePlot(inversion, token)}${positionTable(inversion, token, prefixOf(inversion))}</details>\n`,
        ),
      },
    ],
    provenance: run,
    style: STYLE,
  });
}

const prefixOf = ({ layer }: Inversion): string => `l${layer}`;

function pageOfOne({ name, inversion }: NamedInversion, run: ReportRun): string {
  const { token } = run;
  const record = name === undefined ? '' : markup`<p class="soft">${visible(name)}</p>\n`;
  return page({
    title: `Inversion from layer ${inversion.layer}`,
    summary: markup`${record}<p class="verdict">${badge(inversion)} ${verdictText(inversion)}</p>\n`,
    sections: [
      { title: 'Recovered text', body: recoveredText(inversion, token, '') },
      { title: 'Margins by position', body: [marginMap([inversion], token), distancePlot(inversion, token)] },
      ...place([inversion], ofLayer, token),
      { title: 'Every position', body: positionTable(inversion, token, '') },
      { title: 'Cost', body: costTable([inversion], run) },
    ],
    provenance: run,
    style: STYLE,
  });
}

/** @param where Names an inversion among all. */
function place(inversions: readonly Inversion[], where: (one: Inversion) => string, token: TokenText): Section[] {
  const narrowest = narrowestOf(inversions);
  if (!narrowest) return [];
  const { inversion, position } = narrowest;
  return [{ title: 'The narrowest place', body: placeTable(where(inversion), position, token) }];
}

const ofLayer = ({ layer }: Inversion): string => `Layer ${layer}`;

function emptyPage(title: string, run: ReportRun): string {
  return page({
    title,
    summary: markup`<p class="verdict">Nothing was inverted.</p>\n`,
    sections: [],
    provenance: run,
  });
}

/** Records that are shown token by token. */
const MOST_DETAILS = 12;
/** Records that are listed. */
const MOST_LISTED = 500;

function pageOfMany(results: readonly NamedInversion[], run: ReportRun): string {
  if (results.length === 0) return emptyPage('Inversion', run);
  const { token } = run;
  const inversions = results.map(({ inversion }) => inversion);
  const exact = inversions.filter((inversion) => inversion.exact).length;
  const positions = inversions.flatMap((inversion) => inversion.positions);
  const flagged = positions.filter(({ verdict }) => verdict !== 'accepted').length;
  const ofRecord = (one: Inversion) => {
    const index = inversions.indexOf(one);
    return `${recordName(results[index].name, index)}, layer ${one.layer}`;
  };
  // The flagged ones first, then those of the least margins.
  const ranked = results
    .map((result, index) => ({ ...result, index, least: marginsOf(result.inversion).narrowest?.margin ?? Infinity }))
    .toSorted((a, b) => Number(a.inversion.exact) - Number(b.inversion.exact) || a.least - b.least);
  const listed = ranked.slice(0, MOST_LISTED).toSorted((a, b) => a.index - b.index);
  return page({
    title: `Inversion of ${counted(results.length, 'record')}`,
    summary: markup`<p class="verdict">${count(exact)} of ${counted(results.length, 'record')} exact; ${count(flagged)} of the ${counted(positions.length, 'token')} recovered are flagged.</p>\n`,
    sections: [
      { title: 'Margins', body: marginHistogram(positions) },
      ...place(inversions, ofRecord, token),
      {
        title: 'Records',
        body: [
          results.length > MOST_LISTED ? markup`<p>The ${count(MOST_LISTED)} that are flagged or narrowest.</p>\n` : '',
          recordTable(listed, token),
        ],
      },
      {
        title: 'Token by token',
        body: [
          results.length > MOST_DETAILS ? markup`<p>The ${MOST_DETAILS} that are flagged or narrowest.</p>\n` : '',
          ranked.slice(0, MOST_DETAILS).map(({ name, inversion, index }) => {
            const prefix = `r${index}`;
            return markup`<details><summary>${recordName(name, index)}: ${verdictText(inversion)}</summary>
${recoveredText(inversion, token, prefix)}${marginMap([inversion], token)}${positionTable(inversion, token, prefix)}</details>\n`;
          }),
        ],
      },
      { title: 'Cost', body: costTable(inversions, run) },
    ],
    provenance: run,
    style: STYLE,
  });
}

const recordName = (name: string | undefined, index: number): string =>
  name === undefined ? `record ${index + 1}` : visible(name);

function recordTable(results: readonly (NamedInversion & { readonly index: number })[], token: TokenText): Markup {
  const rows = results.map(({ name, inversion, index }): Row => {
    const { text, tokens, layer, length, cost } = inversion;
    return {
      cells: [
        recordName(name, index),
        markup`<span translate="no">${cut(text === undefined ? tokens.map((id) => nameOf(id, token)).join(' ') : visible(text).replaceAll('·', ' '), 80)}</span>`,
        badge(inversion),
        layer,
        count(length),
        marginCell(marginsOf(inversion).narrowest),
        number(cost.forwardEquivalents),
        duration(cost.seconds),
      ],
    };
  });
  return table(
    'Records and what was recovered from them',
    [
      { title: 'record' },
      { title: 'text' },
      { title: 'verdict' },
      { title: 'layer', isNumber: true },
      { title: 'tokens', isNumber: true },
      { title: 'least margin', isNumber: true },
      { title: 'forward passes', isNumber: true },
      { title: 'time', isNumber: true },
    ],
    rows,
  );
}

function marginHistogram(positions: readonly PositionResult[]): Content {
  const margins = positions.flatMap(({ margin }) => (margin === undefined ? [] : [margin]));
  if (margins.length === 0) return markup`<p>No position has another token to compare with.</p>\n`;
  const bounded = positions.filter(isBound).length;
  const note = bounded > 0 ? ` Of them, ${count(bounded)} are bounds by the lens's calibration.` : '';
  return figure(
    barPlot({
      title: `How many of ${counted(margins.length, 'position')} have which margin`,
      x: { label: 'margin', log: true },
      y: { label: 'positions' },
      bars: bins(margins, 24, true),
    }),
    `Margin: how much farther than the token the nearest other one is. ${counted(margins.length, 'position')}.${note}`,
  );
}

function layerPlots(inversions: readonly Inversion[]): Markup {
  const points = inversions.map((inversion) => ({ ...marginsOf(inversion), layer: inversion.layer, inversion }));
  const last = Math.max(...inversions.map(({ layer }) => layer));
  const published = PUBLISHED_MARGINS.slice(0, Math.max(last, 1)).map((y, i) => ({ x: i + 1, y }));
  const margins = linePlot({
    title: 'Least and median margin by layer',
    x: { label: 'layer' },
    y: { label: 'margin', log: true },
    series: [
      { name: 'GPT-2, published', points: published, style: 'line', dashed: true, muted: true },
      {
        name: 'least',
        points: points.map(({ layer, narrowest }) => ({
          x: layer,
          y: narrowest?.margin,
          open: narrowest && isBound(narrowest),
          label: narrowest && `layer ${layer}: ${isBound(narrowest) ? '≥ ' : ''}${significant(narrowest.margin ?? 0)}`,
        })),
      },
      { name: 'median', points: points.map(({ layer, median }) => ({ x: layer, y: median })) },
    ],
  });
  const cost = linePlot({
    title: 'Cost by layer in forward passes',
    x: { label: 'layer' },
    y: { label: 'forward passes of the prompt up to the layer' },
    series: [
      {
        name: 'all',
        points: inversions.map(({ layer, cost }) => ({ x: layer, y: cost.forwardEquivalents })),
      },
      { name: 'of them, scoring', points: inversions.map(({ layer, cost }) => ({ x: layer, y: cost.scoring })) },
    ],
  });
  return markup`<div class="pair">${figure(
    margins,
    `Margin: how much farther than the token the nearest other one is. Published (arXiv 2510.15511): another model, the least distance among 1000 tokens; compare how it grows, not how high it is.${points.some(({ narrowest }) => narrowest && isBound(narrowest)) ? ' Hollow: a bound.' : ''}`,
  )}${figure(cost, 'One is the work of a forward pass over the same prompt up to that layer.')}</div>\n`;
}

function layerTable(inversions: readonly Inversion[], token: TokenText): Markup {
  const rows = inversions.map((inversion): Row => {
    const { narrowest, median } = marginsOf(inversion);
    const rival = narrowest?.runnerUp ? `, not ${nameOf(narrowest.runnerUp.token, token)}` : '';
    return {
      cells: [
        inversion.layer,
        badge(inversion),
        marginCell(narrowest),
        number(median),
        number(inversion.cost.forwardEquivalents),
        duration(inversion.cost.seconds),
        narrowest && markup`<bdi translate="no">${narrowest.position}: ${nameOf(narrowest.token, token)}${rival}</bdi>`,
      ],
    };
  });
  return table(
    'Each layer inverted by itself',
    [
      { title: 'layer', isNumber: true },
      { title: 'verdict' },
      { title: 'least margin', isNumber: true },
      { title: 'median', isNumber: true },
      { title: 'forward passes', isNumber: true },
      { title: 'time', isNumber: true },
      { title: 'narrowest at' },
    ],
    rows,
  );
}

/** Our cost, and the paper's as what it is: another model's on another machine. */
function costTable(inversions: readonly Inversion[], { model, adapter }: ReportRun): Content {
  const mean = (of: (inversion: Inversion) => number) =>
    inversions.reduce((sum, inversion) => sum + of(inversion), 0) / inversions.length;
  const passes = mean(({ cost }) => cost.forwardEquivalents);
  const shortest = inversions.reduce((least, { length }) => Math.min(least, length), Infinity);
  const longest = inversions.reduce((most, { length }) => Math.max(most, length), 0);
  const tokens = shortest === longest ? counted(longest, 'token') : `${shortest} to ${longest} tokens`;
  const exact = inversions.filter((inversion) => inversion.exact).length;
  const isOne = inversions.length === 1;
  const rows: Row[] = [
    {
      cells: [
        markup`<b>this run</b>${isOne ? '' : ', mean'}`,
        `${model}, ${tokens}; ${adapter}`,
        isOne ? (exact ? 'yes' : 'no') : `${count(exact)} of ${count(inversions.length)}`,
        duration(mean(({ cost }) => cost.seconds)),
        number(passes),
      ],
    },
    ...PUBLISHED_COSTS.map(({ method, time, exact }) => ({
      cells: [`${method}, published`, PUBLISHED_SETTING, exact, time, markup`<span class="soft">not given</span>`],
    })),
  ];
  const sum = (of: (inversion: Inversion) => number) => inversions.reduce((total, one) => total + of(one), 0);
  const scoring = mean(({ cost }) => cost.scoring);
  return [
    table(
      'Cost of one prompt',
      [
        { title: 'what' },
        { title: 'model and machine' },
        { title: 'exact' },
        { title: 'time', isNumber: true },
        { title: 'forward passes', isNumber: true },
      ],
      rows,
    ),
    markup`<p class="soft">The published figures (arXiv 2510.15511) are of another model on another machine: their seconds are not to be compared with ours.
A forward pass is the work of its matrix products over the same prompt up to the same layer. Everything counts, scoring of proposals (${significant(scoring)} of ${significant(passes)}) too,
but for the fit of the lens, which is done once a model. ${counted(
      sum(({ cost }) => cost.candidates),
      'row',
    )} evaluated in ${duration(sum(({ cost }) => cost.seconds))}.</p>\n`,
  ];
}
