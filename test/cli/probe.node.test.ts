import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { bytesFromArray } from '../../src/io/blobs.ts';
import type { Dtype } from '../../src/io/checkpoint.ts';
import { folderSource } from '../../src/io/folder.node.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { encodeSafetensors } from '../../src/io/safetensors-writer.ts';
import { openModel } from '../../src/model/load.ts';
import { modelParameters } from '../../src/probe/certificates/model-parts.ts';
import { fixture } from '../support/fixtures.node.ts';
import { buildCommandLine, type CommandLine, expectationsOf, jsonLines, untilInterruptible } from './support.node.ts';

const MODEL = fixture('gpt2-tanh')!; // 3 layers, d 24
const UNTIED = fixture('gpt2-relu-untied')!;

let cli: CommandLine;
beforeAll(async () => {
  cli = await buildCommandLine();
});
afterAll(() => cli?.remove());

const at = (name: string) => join(cli.folder, name);
const { refused } = expectationsOf(() => cli);
const probe = (...args: string[]) => cli.run(['probe', '--model', MODEL, ...args]);
async function parametersOf(folder: string) {
  const files = await openModel(folderSource(folder));
  onTestFinished(() => files.checkpoint.close());
  return modelParameters(files);
}

async function writeStates(name: string, values: Float32Array, width: number, layer = 3) {
  const shape = [values.length / width, width];
  const tensor = { name: 'states', dtype: 'F32' as const, shape, data: values };
  await writeFile(at(name), encodeSafetensors([tensor], { layer: String(layer) }));
}

/** Rows that differ from each other, and have neither mean 0 nor variance 1. */
const rows = (count: number, width: number) =>
  Float32Array.from({ length: count * width }, (_, i) => 3 * Math.sin(i * i + 1) + 0.4);

test('preimages under one half block are listed, and those of attention at the first position beside all there are', async () => {
  const { code, stdout } = await probe('--random', '2', '--layer', '2', '--block', 'attn', '--count', '--json');
  expect(code).toBe(0);
  const lists = jsonLines(stdout);
  expect(lists.map(({ name }) => name)).toEqual(['random 0', 'random 1']);
  for (const { preimages, signSum, exact, block } of lists) {
    expect(block).toBe('h.1.attn');
    expect(preimages.length).toBe(exact.found);
    expect(preimages.reduce((sum: number, { sign }: { sign: number }) => sum + sign, 0)).toBe(signSum);
    for (const { residual, input } of preimages) {
      expect(residual).toBeLessThan(1e-8);
      expect(input).toHaveLength(24);
    }
  }
  await refused('probe', '--model', MODEL, '--random', '1', '--count');
});

test('a text is forced token by token, and float64 confirms what the file of vectors holds', async () => {
  const { code, stdout } = await probe(
    '--target-ids',
    '5,17,3',
    '--signs',
    '3',
    '--prefix-ids',
    '8,9',
    '-o',
    'text.safetensors',
    '--json',
  );
  expect(code).toBe(0);
  const [line] = jsonLines(stdout);
  expect(line).toMatchObject({ name: 'text', solved: true, layer: 3, from: 0, prefix: [8, 9], text: [5, 17, 3] });
  expect(line.vectors.map(({ position }: { position: number }) => position)).toEqual([2, 3, 4]);
  for (const { forced, exactResidual, decoded, steps, nearest } of line.vectors) {
    expect(Math.min(forced.margin, forced.exactMargin)).toBeGreaterThan(2);
    expect(decoded[0].token).toBe(forced.token);
    expect(exactResidual).toBeLessThan(1e-5);
    expect(steps).toHaveLength(6);
    for (const { distance, bound, sign } of steps) {
      expect(distance).toBeLessThan(bound);
      expect(sign).toBe(1);
    }
    expect(nearest).toHaveLength(3);
  }

  const file = await openSafetensors(bytesFromArray('text', await readFile(at('text.safetensors'))));
  expect(Object.fromEntries(file.metadata)).toMatchObject({ layer: '3', from: '0', free: '2' });
  const [inputs, targets] = [await file.float32('inputs.0'), await file.float32('targets.0')];
  const model = await parametersOf(MODEL);
  const twin = await model.reference();
  const positions = await model.parameter('wpe.weight');
  const states = twin.extend(
    inputs.map((value, i) => value + positions[i]),
    twin.prefix(),
  );
  const apart = Math.hypot(...states.map((value, i) => value - targets[i]));
  expect(apart / Math.hypot(...targets)).toBeLessThan(1e-5);
  const vocabulary = await model.parameter('wte.weight');
  expect(inputs.subarray(0, 24)).toEqual(vocabulary.slice(8 * 24, 9 * 24));
});

test('random states of one MLP, with a page', async () => {
  const args = ['--random', '3', '--layer', '2', '--block', 'mlp', '--seed', '4', '--report', 'page.html'];
  const { code, stdout } = await probe(...args);
  expect(code).toBe(0);
  expect(stdout).toContain('REACHED: 3 targets');
  expect(stdout).toContain('Probed: h.1.mlp');
  expect(await readFile(at('page.html'), 'utf8')).toContain('3 of 3 targets reached');
});

test('the states of a file, all of them or one', async () => {
  await writeStates('states.safetensors', rows(2, 24), 24);
  const all = jsonLines((await probe('--target-state', 'states.safetensors', '--json')).stdout);
  expect(all.map(({ solved, wanted }) => [solved, wanted])).toEqual([[true, 2]]);
  // Behind the input no free vector sees another: each state is for itself.
  const { stdout } = await probe('--target-state', 'states.safetensors', '--block', 'block', '--json');
  expect(jsonLines(stdout).map(({ name, from, solved }) => [name, from, solved])).toEqual([
    ['states[0]', 2, true],
    ['states[1]', 2, true],
  ]);
});

test('a budget that is spent leaves the best so far, not certified', async () => {
  const { code, stdout, stderr } = await probe('--random', '2', '--budget', '20', '-o', 'short.safetensors');
  expect(code).toBe(1);
  expect(stdout).toContain('BUDGET SPENT');
  expect(stdout).toContain('not certified');
  expect(stderr).toContain('short.safetensors');
  const file = await openSafetensors(bytesFromArray('short', await readFile(at('short.safetensors'))));
  expect([...file.tensors.keys()].sort()).toEqual(['inputs.0', 'inputs.1', 'targets.0', 'targets.1']);
});

describe('what cannot be reached comes with a proof that "certify" accepts', () => {
  test('a state after the final norm, outside of the ellipsoid', async () => {
    await writeStates('far.safetensors', rows(1, 24), 24);
    const args = ['--target-state', 'far.safetensors', '--after-norm', '--certificate', 'far.json'];
    const { code, stdout } = await probe(...args);
    expect(stdout).toContain('UNREACHABLE: states');
    expect(code).toBe(1);
    const certified = await cli.run(['certify', 'far.json', '--model', MODEL, '--quiet']);
    expect(certified).toMatchObject({ code: 0, stdout: 'PROVED\n' });
  });

  test('a token whose row is a mixture of others', async () => {
    const folder = await withDominatedToken();
    const args = ['probe', '--model', folder, '--target-ids', '6,5', '--certificate', 'token.json', '--json'];
    const { code, stdout } = await cli.run(args);
    expect(code).toBe(1);
    const [{ name, certificate }] = jsonLines(stdout);
    expect(name).toBe('token 5');
    expect(certificate.dominators.map(({ token }: { token: number }) => token).sort()).toEqual([6, 7]);
    expect((await cli.run(['certify', 'token.json', '--model', folder])).code).toBe(0);
  });
});

/** A copy of the untied model in which token 5 is never ahead of tokens 6 and 7. */
async function withDominatedToken(): Promise<string> {
  const bytes = await readFile(join(UNTIED, 'model.safetensors'));
  const file = await openSafetensors(bytesFromArray('model', bytes));
  const tensors = await Promise.all(
    Array.from(file.tensors, async ([name, { dtype, shape }]) => {
      const data = await file.float32(name);
      if (name.endsWith('lm_head.weight')) {
        for (let i = 0; i < 16; i++) {
          // Few enough digits that their mean is exact.
          for (const row of [6, 7]) data[16 * row + i] = Math.round(256 * data[16 * row + i]) / 256;
          data[16 * 5 + i] = (data[16 * 6 + i] + data[16 * 7 + i]) / 2;
        }
      }
      return { name, dtype: dtype as Dtype, shape, data };
    }),
  );
  await writeFile(at('config.json'), await readFile(join(UNTIED, 'config.json')));
  await writeFile(at('model.safetensors'), encodeSafetensors(tensors));
  return cli.folder;
}

test('Ctrl-C writes what there is', async () => {
  await writeStates('many.safetensors', rows(30, 24), 24);
  const args = ['probe', '--model', MODEL, '--target-state', 'many.safetensors', '-o', 'stopped.safetensors'];
  const { child, result } = cli.start(args);
  await untilInterruptible(child);
  child.kill('SIGINT');
  const { code, stdout } = await result;
  expect(code).toBe(130);
  expect(stdout).toContain('STOPPED');
  const file = await openSafetensors(bytesFromArray('stopped', await readFile(at('stopped.safetensors'))));
  const { shape } = file.tensors.get('inputs.0')!;
  expect(shape[0]).toBeLessThan(30);
});

describe('bad input is refused before any work', () => {
  test.each<[string, string[], RegExp]>([
    ['no target', [], /no target.*--target "text"/],
    ['two targets', ['--random', '1', '--target-ids', '3'], /2 targets/],
    ['a layer that no block ends at', ['--random', '1', '--layer', '0'], /--layer 1 to 3/],
    ['a layer too many', ['--random', '1', '--layer', '4'], /--layer 1 to 3/],
    ['a text inside', ['--target-ids', '3', '--block', 'mlp'], /Leave out --layer and --block/],
    ['a margin of nothing', ['--target-ids', '3', '--margin', '0'], /forces nothing/],
    ['a token of another vocabulary', ['--target-ids', '3,5000'], /5000.*not in the vocabulary/],
    ['a text over the context', ['--target-ids', '1,2,3', '--prefix-ids', new Array(39).fill(1).join()], /do not fit/],
    ['a text without tokenizer', ['--target', 'Hello'], /no tokenizer.json/],
  ])('%s', async (_, args, message) => {
    expect(await refused('probe', '--model', MODEL, ...args)).toMatch(message);
  });

  test('states of another width, NaN, too many, and no such state', async () => {
    await writeStates('wide.safetensors', rows(2, 30), 30);
    await writeStates('nan.safetensors', rows(2, 24).fill(Number.NaN, 3, 4), 24);
    await writeStates('long.safetensors', rows(60, 24), 24);
    await writeStates('good.safetensors', rows(2, 24), 24);
    await writeFile(at('junk.safetensors'), 'no states at all');
    const state = (name: string, ...more: string[]) =>
      refused('probe', '--model', MODEL, '--target-state', `${name}.safetensors`, ...more);
    expect(await state('wide')).toMatch(/30 elements.*have 24/);
    expect(await state('nan')).toMatch(/NaN/);
    expect(await state('long')).toMatch(/60 free vectors do not fit/);
    expect(await state('good', '--at', '2')).toMatch(/--at 0 to 1/);
    expect(await state('junk')).toMatch(/safetensors/);
    expect(await state('good', '-o', 'good.safetensors', '--force')).toMatch(/given twice/);
  });
});
