import type { CollisionCost } from '../injectivity/collide.ts';
import type { CollisionResult } from '../injectivity/result.ts';
import type { LoadedModel } from '../model/load.ts';
import { columns, paint, print } from './terminal.ts';
import { cell, count, counted, duration, significant, wrap } from './text.ts';

const NUMBER = 12;

/** What a test came to: a line for each layer. */
export function showCollisions(
  { prompts, duplicates, skipped, layers, shard }: CollisionResult,
  cost: CollisionCost,
  { context, name }: Pick<LoadedModel, 'context' | 'name'>,
  quiet: boolean,
): void {
  if (!quiet) {
    const number = (text: string) => cell(text, NUMBER, 'right');
    print(
      paint('dim', `  layer${['minimum', 'relative', 'RMS length', 'collisions'].map(number).join('')}  closest lines`),
    );
  }
  for (const { layer, minimum, closest, rms, below } of layers) {
    const collisions = Object.values(below).reduce((sum, pairs) => sum + pairs, 0);
    const [nearest] = closest;
    const cells = [minimum, nearest?.relative, rms].map((value) =>
      cell(value === undefined ? '' : significant(value), NUMBER, 'right'),
    );
    const found = paint(collisions > 0 ? 'red' : 'green', cell(count(collisions), NUMBER, 'right'));
    const lines = nearest ? `  ${nearest.a} and ${nearest.b}` : '';
    print(`  ${cell(String(layer), 5, 'right')}${cells.join('')}${found}${lines}`);
  }
  if (quiet) return;
  const [bound] = Object.keys(layers[0]?.below ?? {});
  const pairs = layers.reduce((sum, layer) => sum + layer.pairs, 0);
  const part = shard ? ` (shard ${shard.index}/${shard.count})` : '';
  print();
  for (const line of [
    `${counted(prompts, 'distinct prompt')} (${counted(duplicates.length, 'duplicate')}, ${count(skipped.length)} skipped), ${counted(pairs, 'pair')}${part} of ${name}; a collision is a distance below ${bound}.`,
    `States in ${duration(cost.statesSeconds)}, pairs in ${duration(cost.pairsSeconds)} on ${context.adapter.name}.`,
  ]) {
    print(wrap(line, columns(), '  '));
  }
}
