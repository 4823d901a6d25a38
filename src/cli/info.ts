import type { Command } from 'commander';
import type { Context } from '../gpu/context.ts';
import type { ModelFiles } from '../model/load.ts';
import { largestBinding } from '../model/load.ts';
import { parametersOf } from '../model/parameters.ts';
import { sizeOf } from '../reference/shape.ts';
import { type SharedOptions, sharedOptions } from './options.ts';
import { packageVersion } from './package.ts';
import { EXIT, withContext, withFiles } from './session.ts';
import { columns, paint, print, printJson } from './terminal.ts';
import { byteSize, count, printable, wrap } from './text.ts';

/** Adds `preimage info`. */
export function addInfo(program: Command): void {
  sharedOptions(program.command('info').description('show the adapter, its limits and features, and the model'))
    .addHelpText('after', EXAMPLES)
    .action(async (options: SharedOptions) => {
      process.exitCode = await info(options);
    });
}

const EXAMPLES = `
Examples:
  preimage info
  preimage info --model openai-community/gpt2 --json`;

async function info(options: SharedOptions): Promise<number> {
  return withFiles(options, (files) =>
    withContext(
      options,
      async (context) => {
        const report = { ...program(), adapter: adapterCard(context), model: await modelCard(files) };
        if (options.json) printJson(report);
        else show(report);
        return EXIT.done;
      },
      largestBinding(files.config),
    ),
  );
}

function program() {
  return { version: packageVersion(), node: process.versions.node, platform: `${process.platform} ${process.arch}` };
}

function adapterCard({ adapter, device }: Context) {
  const limits: Record<string, number> = {};
  // Limits are getters of the prototype.
  for (const name in device.limits) {
    const value = device.limits[name as keyof GPUSupportedLimits];
    if (typeof value === 'number') limits[name] = value;
  }
  return { ...adapter, features: [...device.features].sort(), limits };
}

async function modelCard({ name, config, checkpoint, tokenizer, digest }: ModelFiles) {
  const { family, layers, width, heads, innerWidth, vocabularySize, contextLength, activation, warnings } = config;
  let parameters = 0;
  for (const { shape } of parametersOf(config)) parameters += sizeOf(shape);
  return {
    name,
    family,
    layers,
    width,
    heads,
    innerWidth,
    vocabulary: vocabularySize,
    context: contextLength,
    activation,
    parameters,
    stored: [...new Set(Array.from(checkpoint.tensors.values(), ({ dtype }) => dtype))],
    memoryBytes: 4 * parameters,
    tokenizer: tokenizer !== undefined,
    digest: await digest(),
    warnings,
  };
}

interface Report extends ReturnType<typeof program> {
  readonly adapter: ReturnType<typeof adapterCard>;
  readonly model: Awaited<ReturnType<typeof modelCard>>;
}

const SHOWN_LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupsPerDimension',
];

function show({ version, node, platform, adapter, model }: Report): void {
  print(`preimage ${version} on Node ${node}, ${platform}`);
  section('adapter', [
    ['name', adapter.name],
    ['kind', adapter.kind === 'cpu' ? 'CPU (shaders run on the processor)' : 'GPU'],
    ['why', adapter.reason],
    ['features', adapter.features.join(', ') || 'none'],
    ...SHOWN_LIMITS.map((name): Row => {
      const value = adapter.limits[name];
      return [name, name.endsWith('Size') ? byteSize(value) : count(value)];
    }),
  ]);
  section('model', [
    ['name', model.name],
    ['family', `${model.family}, ${model.activation}`],
    ['size', `${model.layers} layers, width ${model.width}, ${model.heads} heads, ${model.innerWidth} hidden units`],
    ['parameters', `${count(model.parameters)}, stored as ${model.stored.join(', ')}`],
    ['memory', `${byteSize(model.memoryBytes)} as f32 on the adapter`],
    ['vocabulary', `${count(model.vocabulary)} tokens${model.tokenizer ? '' : ', no tokenizer.json: ids only'}`],
    ['context', `${count(model.context)} positions`],
    ['digest', model.digest],
    ...model.warnings.map((warning): Row => ['warning', warning]),
  ]);
}

type Row = readonly [label: string, value: string];

function section(title: string, rows: readonly Row[]): void {
  print();
  print(paint('bold', title));
  const width = Math.max(...rows.map(([label]) => label.length)) + 4;
  for (const [label, value] of rows) {
    const text = wrap(printable(value), columns(), ' '.repeat(width)).slice(width);
    print(paint('dim', `  ${label}`.padEnd(width)) + text);
  }
}
