import type { Cause } from '../injectivity/causes.ts';
import type { CollisionCost } from '../injectivity/collide.ts';
import { explainCollision, idsOf } from '../injectivity/explain.ts';
import type { PromptSet } from '../injectivity/prompt-set.ts';
import {
  boundOf,
  boundText,
  colliding,
  collisionsIn,
  nearContinuations,
  nearestLayer,
  relativeText,
} from '../injectivity/report-words.ts';
import type { CollisionResult, ResultLayer } from '../injectivity/result.ts';
import type { LoadedModel } from '../model/load.ts';
import { EXIT } from './session.ts';
import { columns, paint, print } from './terminal.ts';
import { cell, count, counted, cut, duration, printable, quoted, significant, wrap } from './text.ts';
import { tokenNames } from './token-names.ts';

/** What a view may know besides the result. */
export interface CollisionView {
  readonly quiet: boolean;
  /** The model and the prompts, where they are at hand: texts are shown then. */
  readonly model?: Pick<LoadedModel, 'name' | 'context' | 'tokenizer'>;
  readonly set?: PromptSet;
  readonly cost?: CollisionCost;
  /** Of `findCauses`. */
  readonly causes?: readonly Cause[];
}

const NUMBER = 12;

/** The exit code of a command with such a result. */
export const exitCodeOf = (result: CollisionResult): number =>
  result.layers.every((layer) => collisionsIn(layer) === 0) && nearContinuations(result).length === 0
    ? EXIT.done
    : EXIT.negative;

/** What a test came to: a line for each layer, and the texts of the closest pair. */
export function showCollisions(result: CollisionResult, view: CollisionView): void {
  const { layers } = result;
  const hasPrecisions = layers.some(({ precision }) => precision !== 'f32');
  if (!view.quiet) {
    const number = (text: string) => cell(text, NUMBER, 'right');
    const heads = ['minimum', 'relative', 'RMS length', 'collisions'].map(number).join('');
    print(paint('dim', `  layer${hasPrecisions ? '      ' : ''}${heads}  closest lines`));
  }
  for (const layer of layers) print(row(layer, hasPrecisions));
  if (!view.quiet) {
    showClosest(result, view);
    showCauses(result, view);
    if (result.exhaustive) print();
  }
  showContinuations(result, view);
  if (!view.quiet) showSummary(result, view);
}

function row(layer: ResultLayer, hasPrecisions: boolean): string {
  const { closest, minimum, rms, precision } = layer;
  const collisions = collisionsIn(layer);
  const [nearest] = closest;
  const numbers = [minimum, nearest?.relative, rms].map((value) =>
    cell(value === undefined ? '' : significant(value), NUMBER, 'right'),
  );
  const found = paint(collisions > 0 ? 'red' : 'green', cell(count(collisions), NUMBER, 'right'));
  const name = cell(String(layer.layer), 5, 'right') + (hasPrecisions ? ` ${cell(precision, 5)}` : '');
  return `  ${name}${numbers.join('')}${found}${nearest ? `  ${nearest.a} and ${nearest.b}` : ''}`;
}

/** The pair that is nearest relative to the states of its layer. */
function showClosest({ layers }: CollisionResult, { model, set }: CollisionView): void {
  const nearest = nearestLayer(layers.filter(({ precision }) => precision === 'f32'));
  if (!nearest || !set || !model?.tokenizer) return;
  const {
    layer,
    closest: [pair],
  } = nearest;
  print();
  print(`  closest of all, at layer ${layer} (${significant(pair.distance)}${relativeText(pair)}):`);
  for (const [rank, line] of pair.ranks.map((rank) => [rank, set.prompts[rank].line])) {
    const text = quoted(model.tokenizer.decode(set.prompts[rank].ids));
    print(`  ${cell(count(line), 9, 'right')}  ${cut(text, columns() - 13)}`);
  }
}

/** Where prompts or continuations collide: the causes that imply one of those at hand; where none does, all there are. */
function showCauses(result: CollisionResult, { set, causes = [] }: CollisionView): void {
  const collisions = colliding(result);
  if (collisions.length === 0) return;
  const telling = new Set(
    collisions.flatMap(({ found, layer }) => (set ? explainCollision(causes, ...idsOf(found, set), layer) : [])),
  );
  const shown = telling.size > 0 ? [...telling] : (result.causes ?? []);
  print();
  if (shown.length === 0) print('  Nothing was found in the weights that explains the collisions.');
  for (const { what } of shown) print(wrap(`${paint('red', 'cause:')} ${printable(what)}`, columns(), '  '));
}

function showContinuations(result: CollisionResult, { model }: CollisionView): void {
  const { exhaustive = [] } = result;
  const name = tokenNames(model?.tokenizer);
  for (const layer of new Set(exhaustive.map((one) => one.layer))) {
    const own = exhaustive.filter((one) => one.layer === layer);
    const least = own.reduce((best, one) => (one.distance < best.distance ? one : best));
    const tokens = least.tokens.map(name).join(' and ');
    const found = `nearest ${significant(least.distance)} (${significant(least.relative)}), line ${least.line} by ${tokens}`;
    print(
      `  layer ${layer}: ${counted(own.length, 'prompt')} continued by ${count(least.continuations)} tokens: ${least.distance < boundOf(result) ? paint('red', found) : found}`,
    );
  }
}

function showSummary(result: CollisionResult, { model, cost }: CollisionView): void {
  const { prompts, duplicates, skipped, layers, shard } = result;
  const pairs = layers.reduce((sum, layer) => sum + layer.pairs, 0);
  const part = shard ? ` (shard ${shard.index}/${shard.count})` : '';
  const of = model ? ` of ${printable(model.name)}` : '';
  const lines = [
    `${counted(prompts, 'distinct prompt')} (${counted(duplicates.length, 'duplicate')}, ${count(skipped.length)} skipped), ${counted(pairs, 'pair')}${part}${of}; a collision is a distance below ${boundText(result)}.`,
  ];
  if (skipped.length > 0) lines.push(`Skipped, first: line ${skipped[0].line}: ${printable(skipped[0].reason)}`);
  if (cost && model) {
    lines.push(
      `States in ${duration(cost.statesSeconds)}, pairs in ${duration(cost.pairsSeconds)} on ${model.context.adapter.name}.`,
    );
  }
  print();
  for (const line of lines) print(wrap(line, columns(), '  '));
}
