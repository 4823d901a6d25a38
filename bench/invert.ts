import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { createNodeContext } from '../src/gpu/context.node.ts';
import { folderSource } from '../src/io/folder.node.ts';
import { forward } from '../src/model/forward.ts';
import { loadModel, openModel, requireTokenizer } from '../src/model/load.ts';
import { seededRandom } from '../src/reference/random.ts';
import { invert } from '../src/sipit/invert.ts';
import type { PolicyName } from '../src/sipit/types.ts';
import { read } from '../src/tensor/tensor.ts';
import { describeRun, table } from './adapter.ts';

const LAYERS = [1, 3, 6];
const TEXT = fileURLToPath(new URL('../../shared/data/text/books_valid.txt', import.meta.url));

interface Prompts {
  readonly kind: string;
  readonly policy: PolicyName;
  readonly prompts: readonly Uint32Array[];
}

/** Inverts natural and random prompts at three layers of the default model; every token is compared with the truth. */
export async function main(args: readonly string[]): Promise<void> {
  if (!existsSync(TEXT)) {
    console.error(`${TEXT} is not here: nothing was measured.`);
    process.exitCode = 1;
    return;
  }
  const share = Number(args[0] ?? 1);
  const context = await createNodeContext();
  const model = await loadModel(
    context,
    await openModel(folderSource(fileURLToPath(new URL('../weights', import.meta.url)))),
  );
  const ids = requireTokenizer(model).encode(readFileSync(TEXT, 'utf8'));
  const { next } = seededRandom(1);
  const upTo = (count: number) => Math.max(1, Math.round(share * count));
  const cut = (count: number, length: number) =>
    Array.from({ length: upTo(count) }, () => {
      const first = Math.floor(next() * (ids.length - length));
      return ids.slice(first, first + length);
    });
  const random = (count: number, length: number) =>
    Array.from({ length: upTo(count) }, () =>
      Uint32Array.from({ length }, () => Math.floor(next() * model.config.vocabularySize)),
    );
  const sets: Prompts[] = [
    { kind: 'text, 20 tokens', policy: 'likely-first', prompts: cut(50, 20) },
    { kind: 'random, 10 tokens', policy: 'likely-first', prompts: random(5, 10) },
    { kind: 'text, 10 tokens', policy: 'exhaustive', prompts: cut(3, 10) },
  ];

  console.log(`Default model; ${describeRun(context)}\n`);
  const rows: (string | number)[][] = [];
  for (const { kind, policy, prompts } of sets) {
    for (const layer of LAYERS) {
      let exact = 0;
      let [candidates, equivalents, seconds, narrowest, tokens] = [0, 0, 0, Number.POSITIVE_INFINITY, 0];
      let worst = 0;
      for (const prompt of prompts) {
        const states = forward(model, prompt, { layer });
        const values = await read(states);
        states.dispose();
        const result = await invert(model, { values, width: model.config.width, layer, dtype: 'F32' }, { policy });
        if (result.exact && result.tokens.join() === prompt.join()) exact++;
        else {
          process.exitCode = 1;
          console.log(`not exact: layer ${layer}, ${kind}, ${policy}: [${prompt}] gave [${result.tokens}]`);
        }
        for (const { margin = 0, distance } of result.positions) {
          narrowest = Math.min(narrowest, margin);
          worst = Math.max(worst, distance);
        }
        tokens += prompt.length;
        candidates += result.cost.candidates;
        equivalents += result.cost.forwardEquivalents;
        seconds += result.cost.seconds;
      }
      rows.push([
        kind,
        policy,
        layer,
        `${exact} of ${prompts.length}`,
        (candidates / tokens).toFixed(0),
        (equivalents / prompts.length).toFixed(0),
        worst.toExponential(1),
        narrowest.toFixed(2),
        (seconds / prompts.length).toFixed(1),
      ]);
      console.error(rows.at(-1)?.join('  '));
    }
  }
  const header = [
    'prompts',
    'policy',
    'layer',
    'exact',
    'candidates a token',
    'forward equivalents',
    'worst distance',
    'narrowest margin',
    's',
  ];
  console.log(table(header, rows));
  context.destroy();
}
