import { dirname, join } from 'node:path';
import type { Command } from 'commander';
import { cacheFolder } from '../cache-folder.node.ts';
import { PreimageError } from '../errors.ts';
import { bytesFromArray } from '../io/blobs.ts';
import { folderCache } from '../io/cache.node.ts';
import { cachePath } from '../io/cache.ts';
import { writeFileAtomic } from '../io/folder.node.ts';
import { openSafetensors } from '../io/safetensors.ts';
import type { ByteSource } from '../io/source.ts';
import { encodeLenses, tryReadLens } from '../lens/file.ts';
import type { LayerLens } from '../lens/lens.ts';
import { LENS_FILE, lensesOf, lensKey } from '../lens/store.ts';
import type { LoadedModel, ModelFiles } from '../model/load.ts';
import { checkLayer } from '../model/model.ts';
import { lensProgress } from './lens-progress.ts';
import { type Layers, layerList, type SharedOptions, sharedOptions } from './options.ts';
import { checkOutputs } from './output.ts';
import { EXIT, interruptible, isChatty, withFiles, withLoaded } from './session.ts';
import { columns, paint, print, printJson } from './terminal.ts';
import { cell, duration, printable, significant, wrap } from './text.ts';

interface FitCommandOptions extends SharedOptions {
  readonly layers: Layers;
  readonly output?: string;
  readonly force?: boolean;
}

/** Adds `preimage lens`. */
export function addLens(program: Command): void {
  const command = program.command('lens').description('the lenses that propose tokens to an inversion');
  sharedOptions(
    command
      .command('fit')
      .description('fit lenses to the model, and keep them for every inversion to come')
      .option('--layers <list>', 'all (1 to L), or some: 1,3,6', layerList, 'all')
      .option('-o, --output <file>', `also write them to one file, such as the model's own ${LENS_FILE}`)
      .option('--force', 'overwrite a file that exists'),
  )
    .addHelpText('after', FIT_EXAMPLES)
    .action(async (options: FitCommandOptions) => {
      process.exitCode = await fitAndKeep(options);
    });
  sharedOptions(command.command('info').description('which layers have a lens, and where it is'))
    .addHelpText('after', INFO_EXAMPLES)
    .action(async (options: SharedOptions) => {
      process.exitCode = await showPlaces(options);
    });
}

const FIT_EXAMPLES = `
A lens is fitted to the model alone, in about 60 forward passes of 128 tokens for all layers together; no text is
needed. "preimage invert" does it by itself, for the layer it is given.

Examples:
  preimage lens fit
  preimage lens fit --layers 3,6 --model openai-community/gpt2`;

const INFO_EXAMPLES = `
Examples:
  preimage lens info
  preimage lens info --model openai-community/gpt2 --json`;

/** The layers meant, each of which the model has. @throws InputError */
export function layersOf({ config }: Pick<ModelFiles, 'config'>, layers: Layers): readonly number[] {
  if (layers === 'all') return Array.from({ length: config.layers }, (_, i) => i + 1);
  for (const layer of layers) checkLayer(config, layer);
  return layers;
}

async function fitAndKeep(options: FitCommandOptions): Promise<number> {
  const { output, force } = options;
  if (output !== undefined) await checkOutputs([output], [], force);
  return withFiles(options, async (files) => {
    const layers = layersOf(files, options.layers);
    const before = await placesOf(files, layers);
    const work = async (model: LoadedModel, signal: AbortSignal): Promise<number> => {
      const progress = lensProgress(options, signal);
      const started = performance.now();
      const lenses = await lensesOf(model, layers, progress.lens).finally(progress.end);
      const seconds = (performance.now() - started) / 1000;
      const digest = await model.digest();
      const rows = lenses.map((lens, i) => describe(lens, before[i]));
      const forwards = progress.forwards();
      const folder = lensFolder(digest);
      // First to the user: what cannot be written is not lost.
      if (options.json) printJson({ model: model.name, digest, layers: rows, forwards, seconds, folder, file: output });
      else if (isChatty(options)) showFit(rows, { forwards, seconds, folder, model });
      if (output !== undefined) {
        await writeFileAtomic(output, encodeLenses(lenses, digest));
        if (isChatty(options)) print(fact('written', output));
      }
      return EXIT.done;
    };
    return withLoaded(options, files, (model) => interruptible((signal) => work(model, signal)));
  });
}

/** Where the lens of a layer is: beside the model, in the cache, or nowhere yet. */
type Place = 'model' | 'cache' | undefined;

function describe({ layer, rms, first, rest }: LayerLens, place: Place) {
  return { layer, rms, kappa: { first: first.kappa, rest: rest.kappa }, from: place ?? ('fit' as const) };
}

type Described = ReturnType<typeof describe>;

function showFit(
  rows: readonly Described[],
  { forwards, seconds, folder, model }: { forwards: number; seconds: number; folder: string; model: LoadedModel },
): void {
  const number = (text: string) => cell(text, 13, 'right');
  print(paint('dim', `  ${cell('layer', 5, 'right')}${number('kappa first')}${number('others')}  from`));
  for (const { layer, kappa, from } of rows) {
    const place = from === 'fit' ? 'fitted now' : PLACES[from];
    print(
      `  ${cell(String(layer), 5, 'right')}${number(significant(kappa.first))}${number(significant(kappa.rest))}  ${place}`,
    );
  }
  print();
  print(wrap(KAPPA, columns(), '  '));
  print();
  const fitted = rows.filter(({ from }) => from === 'fit').length;
  if (fitted === 0) {
    print(fact('cost', 'none: every lens was at hand'));
  } else {
    print(
      fact(
        'cost',
        `${forwards.toFixed(1)} forward passes of 128 tokens, ${duration(seconds)} on ${model.context.adapter.name}`,
      ),
    );
    print(fact('kept in', folder));
  }
}

const KAPPA =
  'kappa: by how much distances between states may fall short of what the lens predicts; the nearer to 1, the fewer rivals.';

const fact = (label: string, value: string) => `  ${paint('dim', label.padEnd(9))}${printable(value)}`;

async function showPlaces(options: SharedOptions): Promise<number> {
  return withFiles(options, async (files) => {
    const digest = await files.digest();
    const layers = layersOf(files, 'all');
    const places = await placesOf(files, layers);
    const folder = lensFolder(digest);
    if (options.json) {
      const rows = layers.map((layer, i) => ({ layer, from: places[i] ?? null }));
      printJson({ model: files.name, digest, layers: rows, folder });
      return EXIT.done;
    }
    print(fact('model', `${files.name}, digest ${digest}`));
    print(fact('cache', folder));
    for (const [i, layer] of layers.entries()) {
      print(fact(`layer ${layer}`, PLACES[places[i] ?? 'none']));
    }
    if (places.some((place) => place === undefined)) {
      print();
      print('  "preimage lens fit" fits all that are missing; an inversion fits the one it needs.');
    }
    return EXIT.done;
  });
}

const PLACES = { model: `in the model's ${LENS_FILE}`, cache: 'in the cache', none: 'not fitted yet' } as const;

const lensFolder = (digest: string): string => join(cacheFolder(), ...cachePath(dirname(lensKey(digest, 0))));

/** Where each layer's lens would be taken from. */
async function placesOf(
  files: Pick<ModelFiles, 'config' | 'digest' | 'open'>,
  layers: readonly number[],
): Promise<Place[]> {
  const model = await files.digest();
  const cache = folderCache();
  const holds = async (file: ByteSource | undefined, wanted: readonly number[]): Promise<number[]> => {
    if (!file) return [];
    try {
      const checkpoint = await openSafetensors(bytesFromArray(file.name, await file.read(0, file.sizeBytes)));
      const lenses = await Promise.all(
        wanted.map((layer) => tryReadLens(checkpoint, { model, layer, width: files.config.width })),
      );
      return lenses.flatMap((lens) => lens?.layer ?? []);
    } catch (error) {
      if (error instanceof PreimageError) return []; // it will be fitted again
      throw error;
    } finally {
      await file.close();
    }
  };
  const own = await holds(await files.open(LENS_FILE), layers);
  return Promise.all(
    layers.map(async (layer): Promise<Place> => {
      if (own.includes(layer)) return 'model';
      const kept = await holds(await cache.open(lensKey(model, layer)), [layer]);
      return kept.length > 0 ? 'cache' : undefined;
    }),
  );
}
