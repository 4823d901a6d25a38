import { oneLine } from '../probe/report-words.ts';
import { type Content, markup } from '../report/markup.ts';
import { page, type Section } from '../report/page.ts';
import { count, counted, significant } from '../report/text.ts';
import type { ReportRun } from '../sipit/report.ts';
import { named, TOKEN_STYLE } from '../sipit/report-tokens.ts';
import type { CollisionCost } from './collide.ts';
import type { PrefixMargins } from './margins.ts';
import { endOf, PAIR_STYLE, pairList, type TextOfLine } from './report-pairs.ts';
import { histograms, marginPlots, minimumPlots, PLOT_STYLE } from './report-plots.ts';
import {
  collisionTable,
  continuationTable,
  costTable,
  depthTable,
  leftOut,
  marginTable,
  type NamedMargins,
  nearestTable,
  precisionTable,
  publishedTable,
} from './report-tables.ts';
import {
  boundOf,
  boundText,
  colliding,
  collisionsIn,
  collisionText,
  continuationText,
  isCollided,
  layerNames,
  nearestLayer,
  precisionText,
  prefixesText,
  prefixName,
  storedOf,
  type Told,
} from './report-words.ts';
import type { CollisionResult, FoundPair, ResultLayer, ResultPair } from './result.ts';

const STYLE = TOKEN_STYLE + PAIR_STYLE + PLOT_STYLE;

/** How a test of collisions came about, and what its page needs besides. */
export interface CollisionReportRun extends ReportRun {
  /** The text of a prompt by its line; undefined where it is not at hand. */
  readonly texts?: TextOfLine;
  readonly cost?: CollisionCost;
  /** What was found in the weights that makes prompts collide, or may; default what the result says. */
  readonly causes?: readonly Told[];
  /** What of it makes two collide at a layer; nothing where nothing found explains it. */
  readonly causesOf?: (found: FoundPair, layer: number) => readonly Told[];
}

/**
 * A page about a test of all pairs of prompts: whether any two collide and why, each layer beside the paper's claims
 * (arXiv 2510.15511, section 4), distances, the closest pairs as text, coarser storage, and continuations.
 * @param result Whole, or of one shard.
 * @returns An HTML document.
 */
export function collisionReport(result: CollisionResult, run: CollisionReportRun): string {
  const { prompts, shard, layers, exhaustive = [], duplicates, skipped } = result;
  const [first, ...others] = storedOf(result);
  const part = shard ? `, shard ${shard.index}/${shard.count}` : '';
  const stored = others.length > 0 ? [{ title: 'Stored in fewer bits', body: storage(result, run) }] : [];
  return page({
    title: `Collision test of ${counted(prompts, 'prompt')}${part}`,
    summary: collisionSummary(result, run),
    sections: [
      { title: 'Every layer', body: [collisionTable(result), minimumPlots(result)] },
      { title: 'Beside the paper', body: publishedTable(result, run.model) },
      { title: 'Distances of all pairs', body: histograms(first) },
      { title: 'The closest pairs', body: closestPairs(first.layers, result, run) },
      ...(layers.length > 0 ? stored : []),
      ...(exhaustive.length > 0 ? [{ title: 'Continuations', body: continuations(result, run) }] : []),
      ...(skipped.length + duplicates.length > 0 ? [{ title: 'Lines left out', body: leftOut(result) }] : []),
      { title: 'How it was computed', body: method(result, run.cost) },
    ],
    provenance: run,
    style: STYLE,
  });
}

function collisionSummary(result: CollisionResult, run: CollisionReportRun): Content {
  const badge = isCollided(result)
    ? markup`<b class="bad-text">COLLISIONS</b>`
    : markup`<b class="good">NO COLLISION</b>`;
  const { duplicates, skipped } = result;
  const more = [precisionText(result), continuationText(result)].filter((line) => line !== '');
  const rest = more.length > 0 ? markup`<p>${more.join(' ')}</p>\n` : '';
  const left =
    duplicates.length + skipped.length > 0
      ? `Left out: ${counted(duplicates.length, 'duplicate')}, and ${counted(skipped.length, 'line')} skipped.`
      : 'No line was left out.';
  return markup`<p class="verdict">${badge} ${collisionText(result)}</p>
${causeList(result, run)}${rest}<p class="soft">${left}</p>
`;
}

/** What makes the kept pairs collide, or what was found in the weights where none do, or none is explained. */
function causeList(result: CollisionResult, { causes = result.causes ?? [], causesOf }: CollisionReportRun): Content {
  const reasons = colliding(result).map(({ found, layer }) => causesOf?.(found, layer) ?? []);
  const told = [...new Set(reasons.flat().map(({ what }) => what))];
  const list = (head: string, items: readonly string[]) =>
    markup`<p>${head}</p>\n<ul>${items.map((what) => markup`<li>${what}</li>\n`)}</ul>\n`;
  if (told.length > 0) {
    const rest = reasons.some((own) => own.length === 0)
      ? ['Of some pairs nothing found in the weights is the cause.']
      : [];
    return list('The cause:', [...told, ...rest]);
  }
  if (causes.length > 0) {
    return list(
      isCollided(result) ? 'Found in the weights:' : 'Found in the weights, though no two of these prompts collide:',
      causes.map(({ what }) => what),
    );
  }
  return isCollided(result) ? markup`<p>Nothing was found in the weights that explains it.</p>\n` : '';
}

function closestPairs(layers: readonly ResultLayer[], result: CollisionResult, run: CollisionReportRun): Content {
  const ranked = layers.filter(({ closest }) => closest.length > 0);
  const nearest = nearestLayer(ranked);
  if (!nearest) return markup`<p>There is no pair.</p>\n`;
  const list = ({ closest, layer }: ResultLayer) => pairsOf(closest, layer, result, run);
  const others = ranked
    .filter((layer) => layer !== nearest)
    .map((layer) => fold(`Layer ${layer.layer}: from ${significant(layer.closest[0].distance)}`, list(layer)));
  const which =
    ranked.length > 1 ? ', where the nearest two are nearest of all relative to the length of the states' : '';
  const marked = run.texts ? ' Where two are alike, what differs is marked.' : '';
  return markup`<p>Layer ${nearest.layer}${which}.${marked}</p>
${list(nearest)}${others}`;
}

const pairsOf = (
  pairs: readonly ResultPair[],
  layer: number,
  result: CollisionResult,
  { texts = () => undefined, causesOf }: CollisionReportRun,
): Content => pairList(pairs, texts, boundOf(result), causesOf && ((pair) => causesOf(pair, layer)));

function storage(result: CollisionResult, { causesOf, ...run }: CollisionReportRun): Content {
  const [, ...others] = storedOf(result);
  const details = others.flatMap(({ precision, layers }) =>
    layers
      .filter((layer) => collisionsIn(layer) > 0)
      .map((layer) =>
        fold(
          `${precision}, layer ${layer.layer}: ${counted(collisionsIn(layer), 'collision')}, some of them`,
          pairsOf(
            layer.closest.filter(({ distance }) => distance < boundOf(result)),
            layer.layer,
            result,
            run,
          ),
        ),
      ),
  );
  return markup`${precisionTable(result)}<p class="soft">States rounded before they are compared: f16 and bf16 to the
nearest; int8 and int4 to whole numbers on one scale for a layer, from 256 of the prompts. arXiv 2511.14808 reports no
collisions at 8 bits and some at 4.</p>
${details}`;
}

function continuations(result: CollisionResult, { texts = () => undefined, token }: CollisionReportRun): Content {
  const { exhaustive = [] } = result;
  const view = { texts, token, bound: boundOf(result) };
  const layers = [...new Set(exhaustive.map(({ layer }) => layer))];
  const nearest = layers.map((layer) =>
    exhaustive.filter((one) => one.layer === layer).reduce((a, b) => (b.distance < a.distance ? b : a)),
  );
  const words = `The closest prompts of each layer, continued by each of ${counted(exhaustive[0].continuations, 'token')} in turn: all pairs of the continuations of one prompt are compared.`;
  const all =
    exhaustive.length > nearest.length
      ? fold(
          `All ${counted(exhaustive.length, 'prompt')}`,
          continuationTable('The nearest two continuations of each prompt', exhaustive, view),
        )
      : '';
  return markup`<p>${words}</p>
${continuationTable('The nearest two continuations of each layer', nearest, view)}${all}`;
}

function method(result: CollisionResult, cost: CollisionCost | undefined): Content {
  return markup`<p>A prompt's state is the residual stream behind its last token, computed in f32 on the adapter. There
the distances of all pairs are screened as |a|² + |b|² − 2 a·b, near ones as sums of squared differences, with a bound on what rounding can have done to them that
holds in any order of summation. Every row of pairs that may hold one of the closest, or one that the bound cannot place
on either side of ${boundText(result)}, is compared again as differences in float64. So minima, closest pairs and counts
of collisions are those of the f32 states, with nothing missed; a pair on the edge between two steps of a histogram may
be counted in either. Prompts of equal tokens are one prompt.</p>
${cost && costTable(cost)}`;
}

const fold = (title: Content, body: Content): Content =>
  markup`<details><summary>${title}</summary>\n${body}</details>\n`;

/** A prefix that margins were measured behind. */
export interface ReportPrefix {
  readonly ids: Uint32Array;
  /** Line of the prompt in its file. */
  readonly line?: number;
}

/** How margins came about, and what their page needs besides. */
export interface MarginReportRun extends ReportRun {
  /** How many tokens were compared, and how many there are. */
  readonly compared: number;
  readonly vocabularySize: number;
  /** The text of tokens; absent where the model has no tokenizer. */
  readonly decode?: (ids: Uint32Array) => string;
  /** Whether the model has the shape of the paper's: its figures then stand in the table. */
  readonly isPublished?: boolean;
}

/** Prefixes that are shown token by token. */
const MOST_DETAILS = 24;
/** Prefixes that are listed. */
const MOST_LISTED = 500;

/**
 * A page about the margins of the one-position map (arXiv 2510.15511, section 3): by layer beside the paper's, by depth,
 * and which two tokens are nearest.
 * @param found Of `margins`, in any order. @param prefixes Those it was given.
 * @returns An HTML document.
 */
export function marginReport(
  found: readonly PrefixMargins[],
  prefixes: readonly ReportPrefix[],
  run: MarginReportRun,
): string {
  const title = `Margins behind ${prefixesText(found.length)}`;
  if (found.length === 0) {
    return page({ title, summary: markup`<p>Nothing was measured.</p>\n`, sections: [], provenance: run });
  }
  const { token, isPublished = false } = run;
  const lines = prefixes.map(({ line }) => line);
  const ordered = found
    .map((one): NamedMargins => ({ ...one, name: prefixName(one, lines[one.prefix]) }))
    .toSorted((a, b) => a.depth - b.depth || a.prefix - b.prefix);
  const ranked = ordered.toSorted((a, b) => leastOf(a).relative - leastOf(b).relative);
  const pick = (most: number) => ordered.filter((one) => ranked.indexOf(one) < most);
  const some = (most: number) =>
    found.length > most ? markup`<p>The ${count(most)} with the least margins relative to the states.</p>\n` : '';
  const details = pick(MOST_DETAILS).map((one) =>
    fold(prefixTitle(one, prefixes[one.prefix], run), nearestTable(one.layers, token)),
  );
  const sections: Section[] = [
    { title: 'By layer and by depth', body: [marginPlots(ordered, lines), marginTable(ordered, token, isPublished)] },
    { title: 'Behind each prefix', body: [some(MOST_LISTED), depthTable(pick(MOST_LISTED))] },
    { title: 'The nearest two tokens', body: [some(MOST_DETAILS), details] },
    { title: 'What a margin means', body: meaning(run) },
  ];
  return page({ title, summary: marginSummary(ordered, run), sections, provenance: run, style: STYLE });
}

const leastOf = ({ layers }: PrefixMargins) => layers.reduce((a, b) => (b.distance < a.distance ? b : a));

function marginSummary(found: readonly NamedMargins[], { token, compared, vocabularySize }: MarginReportRun): Content {
  const narrowest = found.reduce((a, b) => (leastOf(b).distance < leastOf(a).distance ? b : a));
  const { distance, layer, tokens } = leastOf(narrowest);
  const all = compared === vocabularySize ? `all ${counted(compared, 'token')}` : `${counted(compared, 'token')} drawn`;
  const layers = layerNames(found[0].layers.map((one) => one.layer));
  const where = `behind ${prefixesText(found.length)}, at ${layers}, over all pairs of ${all}`;
  const names = markup`${named(tokens[0], token)} and ${named(tokens[1], token)}`;
  const sampled =
    compared < vocabularySize
      ? markup`<p class="soft">Of a vocabulary of ${count(vocabularySize)}: over all of it margins may be less.</p>\n`
      : '';
  if (distance === 0) {
    return markup`<p class="verdict"><b class="bad-text">EQUAL STATES</b> ${names} have the same state at layer ${layer},
${narrowest.name}: measured ${where}.</p>
${sampled}`;
  }
  return markup`<p class="verdict">The least margin is <strong>${significant(distance)}</strong>: at layer ${layer},
${narrowest.name}, between ${names}.</p>
<p>Measured ${where}. Noise shorter than half of the least margin, ${significant(distance / 2)}, leaves the nearest
candidate the true one at every place measured. ${relativeText(found)}</p>
${sampled}`;
}

/** The least margin for the length of the states it is between. */
function relativeText(found: readonly NamedMargins[]): string {
  const all = found.flatMap(({ name, layers }) => layers.map(({ layer, relative }) => ({ name, layer, relative })));
  const { name, layer, relative } = all.reduce((a, b) => (b.relative < a.relative ? b : a));
  return `Relative to the RMS length of the states the least is ${significant(relative)}, at layer ${layer}, ${name}.`;
}

const MOST_CHARACTERS = 60;

function prefixTitle(one: NamedMargins, { ids }: ReportPrefix, { decode }: MarginReportRun): Content {
  const text = decode ? decode(ids) : ids.join(' ');
  const shown =
    ids.length > 0 ? markup`: <bdi class="soft" translate="no">${oneLine(endOf(text, MOST_CHARACTERS))}</bdi>` : '';
  return [`${one.name}, least ${significant(leastOf(one).distance)}`, shown];
}

function meaning({ compared, vocabularySize }: MarginReportRun): Content {
  const tokens = compared === vocabularySize ? 'tokens of the vocabulary' : 'the tokens drawn';
  return markup`<p>Behind a prefix p, the state at position t is a function F(v; p, t) of the token v there. The margin
D(p, t) is the least |F(v) − F(v′)| over all pairs of ${tokens}. If what was observed is off by less than D/2, the
true token is still the nearest of all. A margin of 0 would mean that two tokens cannot be told apart there.</p>
<p>Of f32 states; all pairs are screened on the adapter with a bound on its rounding, and the nearest are compared in
float64.</p>
`;
}
