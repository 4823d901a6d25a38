import type { Margin, PrefixMargins } from '../injectivity/margins.ts';
import type { ReportPrefix } from '../injectivity/report.ts';
import type { LoadedModel } from '../model/load.ts';
import { PUBLISHED_MARGINS, PUBLISHED_WIDTH } from '../sipit/published.ts';
import { columns, paint, print } from './terminal.ts';
import { bar, cell, cut, significant, wrap } from './text.ts';
import { tokenNames } from './token-names.ts';

const NUMBER = 10;
const number = (text: string): string => cell(text, NUMBER, 'right');

/** A line for each layer, least over the prefixes, and bars by depth. */
export function showMargins(
  { tokenizer, config }: Pick<LoadedModel, 'tokenizer' | 'config'>,
  prefixes: readonly ReportPrefix[],
  found: readonly PrefixMargins[],
  quiet: boolean,
): void {
  const name = tokenNames(tokenizer);
  const layers = found[0]?.layers.map(({ layer }) => layer) ?? [];
  // Beside a model of GPT-2 small's shape, the published figures.
  const isPublished = config.layers === PUBLISHED_MARGINS.length && config.width === PUBLISHED_WIDTH;
  if (!quiet) {
    const heads = ['least', 'relative', 'median', ...(isPublished ? ['published'] : [])].map(number).join('');
    print(paint('dim', `  layer${heads}  nearest two`));
  }
  for (const [i, layer] of layers.entries()) {
    const all = found.map((one) => ({ ...one, margin: one.layers[i] }));
    const sorted = all.toSorted((p, q) => p.margin.distance - q.margin.distance);
    const [{ margin, depth, prefix }] = sorted;
    const median = sorted[sorted.length >> 1].margin.distance;
    const cells = [margin.distance, margin.relative, median, ...(isPublished ? [PUBLISHED_MARGINS[layer - 1]] : [])];
    const { line } = prefixes[prefix];
    const where = line === undefined ? `at depth ${depth}` : `behind line ${line}`;
    const text = `${margin.tokens.map(name).join(' and ')} ${where}`;
    const room = columns() - 9 - NUMBER * cells.length;
    print(
      `  ${cell(String(layer), 5, 'right')}${cells.map((value) => number(significant(value))).join('')}  ${cut(text, room)}`,
    );
  }
  if (quiet) return;
  if (new Set(found.map(({ depth }) => depth)).size > 1) showDepths(found);
  print();
  print(
    wrap(
      'The margin is the least distance between the states of any two tokens behind the same prefix: noise of less than half of it leaves the nearest candidate the true one.',
      columns(),
      '  ',
    ),
  );
}

/** The margin of the deepest layer by depth. */
function showDepths(found: readonly PrefixMargins[]): void {
  const deepest = (one: PrefixMargins): Margin => one.layers[one.layers.length - 1];
  const largest = found.reduce((most, one) => Math.max(most, deepest(one).distance), 0);
  const room = columns() - 9 - 2 * NUMBER;
  print();
  print(
    paint('dim', `  depth${number(`layer ${found[0].layers[0].layer}`)}${number(`layer ${deepest(found[0]).layer}`)}`),
  );
  for (const one of found.toSorted((p, q) => p.depth - q.depth)) {
    const [shallow, deep] = [one.layers[0], deepest(one)].map(({ distance }) => number(significant(distance)));
    const drawn = paint('cyan', bar(deepest(one).distance / largest, room));
    print(`  ${cell(String(one.depth), 5, 'right')}${shallow}${deep}  ${drawn}`);
  }
}
