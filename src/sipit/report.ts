import { type Content, markup } from '../report/markup.ts';
import { type Provenance, page, type Section } from '../report/page.ts';
import { count, counted, visible } from '../report/text.ts';
import { marginsOf, narrowestOf } from './margins.ts';
import { distancePlot, layerPlots, layersText, marginHistogram, marginMap } from './report-plots.ts';
import { badge, costTable, layerTable, placeTable, positionTable, recordTable, verdictText } from './report-tables.ts';
import { recoveredText, TOKEN_STYLE, type TokenText } from './report-tokens.ts';
import type { Inversion } from './types.ts';

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
  if (results.length === 0) return pageOf('Inversion', run, 'Nothing was inverted.', []);
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
  const last = inversions.at(-1);
  if (!last) return pageOf('Inversion by layer', run, 'Nothing was inverted.', []);
  const { token } = run;
  const shown = inversions.find(({ exact }) => exact) ?? last;
  const exact = inversions.filter((inversion) => inversion.exact).length;
  const tokens = counted(shown.length, 'token');
  const summary = `${exact} of ${counted(inversions.length, 'layer')} gave back all ${tokens} exactly.`;
  const from = inversions.length > 1 ? markup`<p>As layer ${shown.layer} gives it back.</p>\n` : '';
  const layers = inversions.map((inversion) => {
    const body = [distancePlot(inversion, token), positionTable(inversion, token, prefixOf(inversion))];
    return fold(`Layer ${inversion.layer}: ${verdictText(inversion)}`, body);
  });
  return pageOf(`Inversion from ${layersText(inversions)}`, run, summary, [
    { title: 'Recovered text', body: [from, recoveredText(shown, token, prefixOf(shown))] },
    { title: 'Margin and cost by layer', body: [layerPlots(inversions), layerTable(inversions, token)] },
    { title: 'Margins by position and layer', body: marginMap(inversions, token) },
    ...narrowestPlace(inversions, nameOfLayer, token),
    { title: 'Cost', body: costTable(inversions, run) },
    { title: 'Every position', body: layers },
  ]);
}

const prefixOf = ({ layer }: Inversion): string => `l${layer}`;
const nameOfLayer = ({ layer }: Inversion): string => `Layer ${layer}`;

function pageOfOne({ name, inversion }: NamedInversion, run: ReportRun): string {
  const { token } = run;
  const summary = [badge(inversion), ' ', verdictText(inversion)];
  const sections = [
    { title: 'Recovered text', body: recoveredText(inversion, token, '') },
    { title: 'Margins by position', body: [marginMap([inversion], token), distancePlot(inversion, token)] },
    ...narrowestPlace([inversion], nameOfLayer, token),
    { title: 'Every position', body: positionTable(inversion, token, '') },
    { title: 'Cost', body: costTable([inversion], run) },
  ];
  return pageOf(`Inversion from layer ${inversion.layer}`, run, summary, sections, name);
}

/** Records that are shown token by token. */
const MOST_DETAILS = 12;
/** Records that are listed. */
const MOST_LISTED = 500;

function pageOfMany(results: readonly NamedInversion[], run: ReportRun): string {
  const { token } = run;
  const records = results.map(({ name, inversion }, index) => ({
    name: name === undefined ? `record ${index + 1}` : visible(name),
    inversion,
    index,
    least: marginsOf(inversion).narrowest?.margin ?? Infinity,
  }));
  const inversions = records.map(({ inversion }) => inversion);
  const positions = inversions.flatMap((inversion) => inversion.positions);
  const exact = inversions.filter((inversion) => inversion.exact).length;
  const flagged = positions.filter(({ verdict }) => verdict !== 'accepted').length;
  const ranked = records.toSorted(
    (a, b) => Number(a.inversion.exact) - Number(b.inversion.exact) || a.least - b.least || a.index - b.index,
  );
  const listed = ranked.slice(0, MOST_LISTED).toSorted((a, b) => a.index - b.index);
  const details = ranked.slice(0, MOST_DETAILS).map(({ name, inversion, index }) => {
    const prefix = `r${index}`;
    return fold(`${name}: ${verdictText(inversion)}`, [
      recoveredText(inversion, token, prefix),
      marginMap([inversion], token),
      positionTable(inversion, token, prefix),
    ]);
  });
  const some = (most: number) =>
    records.length > most ? markup`<p>The ${count(most)} that are flagged or narrowest.</p>\n` : '';
  const nameOfRecord = (one: Inversion) => {
    const record = records.find(({ inversion }) => inversion === one);
    return `${record?.name ?? ''}, layer ${one.layer}`;
  };
  const summary = [
    `${count(exact)} of ${counted(records.length, 'record')} exact; `,
    `${count(flagged)} of the ${counted(positions.length, 'token')} recovered are flagged.`,
  ];
  return pageOf(`Inversion of ${counted(records.length, 'record')}`, run, summary, [
    { title: 'Margins', body: marginHistogram(positions) },
    ...narrowestPlace(inversions, nameOfRecord, token),
    { title: 'Records', body: [some(MOST_LISTED), recordTable(listed, token)] },
    { title: 'Token by token', body: [some(MOST_DETAILS), details] },
    { title: 'Cost', body: costTable(inversions, run) },
  ]);
}

/** @param nameOf Tells an inversion from the others. */
function narrowestPlace(
  inversions: readonly Inversion[],
  nameOf: (inversion: Inversion) => string,
  token: TokenText,
): Section[] {
  const narrowest = narrowestOf(inversions);
  if (!narrowest) return [];
  const body = placeTable(nameOf(narrowest.inversion), narrowest.position, token);
  return [{ title: 'The narrowest place', body }];
}

const fold = (title: string, body: Content): Content =>
  markup`<details><summary>${title}</summary>\n${body}</details>\n`;

function pageOf(title: string, run: ReportRun, outcome: Content, sections: readonly Section[], name?: string): string {
  const record = name === undefined ? '' : markup`<p class="soft">${visible(name)}</p>\n`;
  const summary = markup`${record}<p class="verdict">${outcome}</p>\n`;
  return page({ title, summary, sections, provenance: run, style: TOKEN_STYLE });
}
