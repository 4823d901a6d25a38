import type { Command } from 'commander';
import type { LoadedModel } from '../model/load.ts';
import { type Margins, marginsOf } from '../sipit/margins.ts';
import { type SweptLayer, sweep } from '../sipit/sweep.ts';
import { warmUpInverter } from '../sipit/warm-up.ts';
import { layersOf } from './lens.ts';
import { lensProgress } from './lens-progress.ts';
import { marginText } from './live.ts';
import { type Layers, layerList, type SharedOptions, sharedOptions, tokenIds, wholeNumber } from './options.ts';
import { checkOutputs } from './output.ts';
import { promptIds } from './prompt.ts';
import { writeSweepReport } from './report.ts';
import { jsonResult } from './result-line.ts';
import { EXIT, interruptible, isChatty, withFiles, withLoaded } from './session.ts';
import { columns, paint, print, printJson, statusLine } from './terminal.ts';
import { bar, cell, counted, cut, duration, significant, wrap } from './text.ts';
import { tokenNames } from './token-names.ts';

interface Options extends SharedOptions {
  readonly ids?: number[];
  readonly layers: Layers;
  readonly prove?: boolean;
  readonly batch?: number;
  readonly report?: string;
  readonly force?: boolean;
}

/** Adds `preimage sweep`. */
export function addSweep(program: Command): void {
  const command = program
    .command('sweep')
    .description('invert a text from the states of every layer: margin and cost by depth')
    .argument('[text]', 'the prompt')
    .option('--ids <list>', 'token ids in place of text, such as 5,17,3', tokenIds)
    .option('--layers <list>', 'all (1 to L), or some: 0,3,6', layerList, 'all')
    .option('--prove', 'try the whole vocabulary at every position: margins are then true minima')
    .option('--batch <n>', 'most candidates at once', wholeNumber(1))
    .option('--report <file>', 'also write a page of HTML with the results')
    .option('--force', 'overwrite a file that exists');
  sharedOptions(command)
    .addHelpText('after', EXAMPLES)
    .action(async (text: string | undefined, options: Options) => {
      process.exitCode = await sweepText(text, options);
    });
}

const EXAMPLES = `
Exits with 0 if the text was recovered exactly from every layer, 1 if not.

Examples:
  preimage sweep "It was past midnight when the stranger knocked."
  preimage sweep --ids 5,17,3 --layers 1,6 --prove --json`;

async function sweepText(text: string | undefined, options: Options): Promise<number> {
  const { prove, batch, report, force } = options;
  if (report !== undefined) await checkOutputs([report], [], force);
  return withFiles(options, async (files) => {
    const ids = promptIds(files, text, options.ids);
    const layers = layersOf(files, options.layers);
    const work = async (model: LoadedModel, signal: AbortSignal): Promise<number> => {
      const lens = lensProgress(options, signal);
      const status = statusLine(isChatty(options));
      const done: Depth[] = [];
      try {
        for await (const one of sweep(model, ids, layers, { prove, batch, lens: lens.lens, signal })) {
          lens.end();
          status.clear();
          const depth = depthOf(one, ids);
          if (options.json) printJson({ ...jsonDepth(depth), ...jsonResult(one.inversion) });
          else if (options.quiet) print(`${one.layer} ${depth.verdict.toLowerCase()} ${marginOf(depth)}`);
          else print(row(depth, model, done.length === 0));
          done.push(depth);
          if (done.length < layers.length) status.show(`  layer ${layers[done.length]} ...`);
        }
      } finally {
        lens.end();
        status.clear();
      }
      if (isChatty(options)) showPlot(done, model, ids.length);
      if (report !== undefined) await writeSweepReport(report, done, model);
      return done.filter(isExact).length === layers.length ? EXIT.done : EXIT.negative;
    };
    return withLoaded(options, files, (model) => interruptible((signal) => work(model, signal)), warmUpInverter);
  });
}

/** One layer, with its narrowest position. */
interface Depth extends SweptLayer, Margins {
  /** `WRONG`: other tokens than went in were accepted. */
  readonly verdict: 'EXACT' | 'NOT EXACT' | 'WRONG';
}

const isExact = ({ verdict }: Depth): boolean => verdict === 'EXACT';

function depthOf({ layer, inversion }: SweptLayer, ids: Uint32Array): Depth {
  const isSame = inversion.tokens.join() === ids.join();
  const verdict = !inversion.exact ? 'NOT EXACT' : isSame ? 'EXACT' : 'WRONG';
  return { layer, inversion, verdict, ...marginsOf(inversion) };
}

const marginOf = ({ narrowest }: Depth): string => (narrowest ? marginText(narrowest) : '');

function jsonDepth({ verdict, narrowest, median }: Depth) {
  return {
    verdict: verdict.toLowerCase(),
    margin: { min: narrowest?.margin, median },
    narrowest: narrowest && { position: narrowest.position, token: narrowest.token, runnerUp: narrowest.runnerUp },
  };
}

const NUMBER = 9;

function row(depth: Depth, { tokenizer }: LoadedModel, isFirst: boolean): string {
  const { layer, inversion, narrowest, median } = depth;
  const name = tokenNames(tokenizer);
  const rival = narrowest?.runnerUp && `, not ${name(narrowest.runnerUp.token)}`;
  const place = narrowest ? `${narrowest.position}: ${name(narrowest.token)}${rival ?? ''}` : '';
  const cells = [
    `  ${cell(String(layer), 5, 'right')}  `,
    paint(isExact(depth) ? 'green' : 'red', cell(depth.verdict, 10)),
    cell(marginOf(depth), NUMBER, 'right'),
    cell(median === undefined ? '' : significant(median), NUMBER, 'right'),
    cell(inversion.cost.forwardEquivalents.toFixed(2), NUMBER, 'right'),
    cell(duration(inversion.cost.seconds), NUMBER, 'right'),
    '  ',
  ].join('');
  const line = cells + cut(place, Math.max(columns() - FIXED, 8));
  return isFirst ? `${header()}\n${line}` : line;
}

const FIXED = 2 + 5 + 2 + 10 + 4 * NUMBER + 2;

function header(): string {
  const number = (text: string) => cell(text, NUMBER, 'right');
  return paint(
    'dim',
    `  ${cell('layer', 5)}  ${cell('verdict', 10)}${number('margin')}${number('median')}${number('passes')}${number('time')}  narrowest at`,
  );
}

/** The least margin of each layer as a bar (arXiv 2510.15511 plots it by layer). */
function showPlot(done: readonly Depth[], model: LoadedModel, length: number): void {
  const margins = done.map(({ narrowest }) => narrowest?.margin ?? 0);
  const largest = Math.max(...margins);
  if (largest > 0) {
    print();
    print('  least margin by layer: how much farther than the true token the next one is');
    print();
    const room = columns() - 9 - 10;
    for (const [i, depth] of done.entries()) {
      const drawn = cell(bar(margins[i] / largest, room), room);
      print(`  ${cell(String(depth.layer), 5, 'right')}  ${paint('cyan', drawn)}${cell(marginOf(depth), 9, 'right')}`);
    }
  }
  const exact = done.filter(isExact).length;
  const bounded = done.some((depth) => marginOf(depth).startsWith('≥'));
  const why = bounded ? " Margins with ≥ are bounds by the lens's calibration; --prove finds the true ones." : '';
  print();
  print(
    wrap(
      `${exact} of ${counted(done.length, 'layer')} gave back all ${counted(length, 'token')}, on ${model.context.adapter.name}.${why}`,
      columns(),
      '  ',
    ),
  );
}
