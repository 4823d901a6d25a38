import { cp, mkdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { folderSource } from '../../src/io/folder.node.ts';
import { encodeSafetensors } from '../../src/io/safetensors-writer.ts';
import { loadTokenizer } from '../../src/io/tokenizer.ts';
import { parseConfig } from '../../src/model/config.ts';
import { hashedCheckpoint } from '../support/hashed.ts';
import { buildCommandLine, type CommandLine, expectationsOf } from './support.node.ts';

let cli: CommandLine;
const { ok, refused } = expectationsOf(() => cli);
const at = (name: string) => join(cli.folder, name);

/** Two blocks, the default model's tokenizer, and 24 positions. */
const CONFIG = { model_type: 'gpt2', vocab_size: 4096, n_positions: 24, n_embd: 24, n_layer: 2, n_head: 2 };

/** A model folder that is quick to run. @param change Of a weight, before it is written. */
async function writeModel(name: string, change: (tensor: string, values: Float32Array) => void = () => {}) {
  await mkdir(at(name));
  await writeFile(join(at(name), 'config.json'), JSON.stringify(CONFIG));
  await cp(fileURLToPath(new URL('../../weights/tokenizer.json', import.meta.url)), join(at(name), 'tokenizer.json'));
  const checkpoint = hashedCheckpoint(parseConfig(CONFIG, name));
  const tensors = await Promise.all(
    [...checkpoint.tensors].map(async ([tensor, info]) => {
      const values = await checkpoint.float32(tensor);
      change(tensor, values);
      return { name: tensor, dtype: 'F32', shape: info.shape, data: values } as const;
    }),
  );
  await writeFile(join(at(name), 'model.safetensors'), encodeSafetensors(tensors));
}

const lines = (count: number) => Array.from({ length: count }, (_, i) => `The ${i} ships came in at noon.`);

beforeAll(async () => {
  cli = await buildCommandLine();
  await writeModel('model');
  await writeFile(
    at('prompts.txt'),
    `${lines(90).join('\n')}\n\n${lines(3).join('\n')}\n${'a long one '.repeat(30)}\n`,
  );
});
afterAll(() => cli.remove());

test('compares all pairs at every layer, and says what it left out', async () => {
  const table = await ok(
    'collide',
    'prompts.txt',
    '--model',
    'model',
    '-o',
    'all.json',
    '--exhaustive',
    '1',
    '--report',
    'all.html',
  );
  expect(table).toMatch(/layer +minimum +relative +RMS length +collisions/);
  expect(table).toContain('90 distinct prompts (3 duplicates, 2 skipped), 8,010 pairs of model');
  expect(table).toMatch(/layer 2: 1 prompt continued by 4,096 tokens: nearest/);
  const result = JSON.parse(await readFile(at('all.json'), 'utf8'));
  expect(result).toMatchObject({
    prompts: 90,
    duplicates: [
      { line: 92, of: 1 },
      { line: 93, of: 2 },
      { line: 94, of: 3 },
    ],
    skipped: [{ line: 91, reason: 'The line is blank.' }, { line: 95 }],
  });
  expect(result.layers.map(({ layer }: { layer: number }) => layer)).toEqual([1, 2]);
  const [{ minimum, closest, below, histogram, pairs }] = result.layers;
  expect(closest).toHaveLength(10);
  expect(closest[0].distance).toBe(minimum);
  expect(below).toEqual({ '0.000001': 0 });
  expect(histogram.reduce((sum: number, bin: { count: number }) => sum + bin.count, 0)).toBe(pairs);
  expect(await stat(at('all.json.work')).catch(() => 'gone')).toBe('gone');
  expect(await readFile(at('all.html'), 'utf8')).toContain('ships came in at noon');
});

test('killed in the middle and resumed, writes the file of an unbroken run', async () => {
  await writeFile(at('many.txt'), lines(700).join('\n'));
  const args = ['collide', 'many.txt', '--model', 'model', '--quiet'];
  await ok(...args, '-o', 'unbroken.json');
  const { child, result } = cli.start([...args, '-o', 'broken.json']);
  const progress = at('broken.json.work/progress.json');
  while (!(await stat(progress).catch(() => undefined))) await new Promise((resolve) => setTimeout(resolve, 5));
  child.kill('SIGKILL');
  expect((await result).code).toBe(null);
  expect(await refused(...args, '-o', 'broken.json')).toContain('Go on with --resume');
  await writeFile(at('other.txt'), lines(699).join('\n'));
  const other = ['collide', 'other.txt', '--model', 'model', '--resume', '-o', 'broken.json'];
  expect(await refused(...other)).toMatch(/begun with prompts with digest/);
  await ok(...args, '-o', 'broken.json', '--resume');
  expect(await readFile(at('broken.json'), 'utf8')).toBe(await readFile(at('unbroken.json'), 'utf8'));
  const again = await ok(...args, '-o', 'broken.json', '--resume'); // done already: shown, not run
  expect(again).toMatch(/ 1 +\d/);
  expect(await refused(...other)).toMatch(/result of another test/);
  const wider = [...args, '-o', 'broken.json', '--resume', '--below', '1e-3'];
  expect(await refused(...wider)).toMatch(/result of another test/);
  const reported = [...args, '-o', 'broken.json', '--resume', '--report', 'broken.html'];
  await ok(...reported);
  expect(await refused(...reported)).toMatch(/broken.html exists/);
});

test('names the equal rows that make prompts collide, and exits with 1', async () => {
  const tokenizer = (await loadTokenizer(folderSource(at('model'))))!;
  const [man, house] = [' man', ' house'].map((word) => tokenizer.encode(word)[0]);
  await writeModel('broken', (tensor, values) => {
    if (tensor.endsWith('wte.weight')) values.copyWithin(24 * man, 24 * house, 24 * (house + 1));
  });
  await writeFile(at('equal.txt'), ['It was a man here', 'It was a house here', 'It was early'].join('\n'));
  const { code, stdout } = await cli.run(['collide', 'equal.txt', '--model', 'broken']);
  expect(stdout).toMatch(/cause: The embedding rows of the tokens .*equal/);
  expect(code).toBe(1);
});

test('continues a result that is whole, and exits with 1 for continuations alone', async () => {
  await writeFile(at('apart.txt'), ['It was early', 'It was late'].join('\n')); // none of the equal tokens
  const args = ['collide', 'apart.txt', '--model', 'broken'];
  await ok(...args, '-o', 'apart.json');
  const more = ['--exhaustive', '1', '--report', 'apart.html'];
  const { code, stdout } = await cli.run([...args, '-o', 'apart.json', '--resume', ...more]);
  expect(stdout).toMatch(/layer 2: 1 prompt continued by 4,096 tokens: nearest 0 .*by .*(man|house)/);
  expect(stdout).toMatch(/cause: The embedding rows of the tokens .*equal/);
  expect(code).toBe(1);
  const page = await readFile(at('apart.html'), 'utf8');
  expect(page).toMatch(/COLLISIONS.*The cause:.*The embedding rows of the tokens/s);
  const further = await cli.run([...args, '-o', 'apart.json', '--resume', '--exhaustive', '2', '--quiet']);
  expect(further).toMatchObject({ code: 1, stdout: expect.stringMatching(/layer 2: 2 prompts .*nearest 0 /) });
  await cli.run([...args, '-o', 'at-once.json', '--exhaustive', '2']);
  const text = await readFile(at('at-once.json'), 'utf8');
  expect(await readFile(at('apart.json'), 'utf8')).toBe(text);
  expect((await cli.run([...args, '-o', 'apart.json', '--resume'])).code).toBe(1); // as it is
  expect(await readFile(at('apart.json'), 'utf8')).toBe(text);
  expect(await refused(...args, '-o', 'apart.json', '--resume', '--exhaustive', '12')).toMatch(/keeps the 10 closest/);
});

test('measures the margins behind the beginnings of a text', async () => {
  const args = ['margins', 'The ships came in.', '--model', 'model', '--tokens', '200', '--depths', '0,3'];
  const found = (await ok(...args, '--json'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  expect(found.map(({ depth, layers }) => [depth, layers.length])).toEqual([
    [0, 2],
    [3, 2],
  ]);
  const table = await ok(...args, '--report', 'margins.html');
  expect(table).toMatch(/layer +least +relative +median +nearest two/);
  expect(await readFile(at('margins.html'), 'utf8')).toContain('arXiv');
  expect(await refused(...args.slice(0, -1), '99')).toMatch(/depth 99 is asked for/);
});

test('refuses what it cannot test, and says what to do', async () => {
  await writeFile(at('empty.txt'), '');
  await writeFile(at('one.txt'), 'Only one.\nOnly one.\n');
  await writeFile(at('latin.txt'), Buffer.from([...Buffer.from('fine\nna'), 0xef, ...Buffer.from('ve\n')]));
  const collide = (file: string, ...args: string[]) => refused('collide', file, '--model', 'model', ...args);
  expect(await collide('empty.txt')).toMatch(/holds no prompts/);
  expect(await collide('one.txt')).toMatch(/there is no pair/);
  expect(await collide('latin.txt')).toMatch(/Line 2 of latin.txt is not UTF-8/);
  expect(await collide('missing.txt')).toMatch(/could not be read/);
  expect(await collide('prompts.txt', '-o', 'nowhere/x.json')).toMatch(/could not be written/);
  expect(await collide('prompts.txt', '--layers', '0')).toMatch(/Layer 0 is the embedding/);
  expect(await collide('prompts.txt', '--resume')).toMatch(/nothing to resume/);
  expect(await collide('prompts.txt', '--shard', '0/2', '--exhaustive', '20')).toMatch(/all shards.*--closest 19/);
  expect(await collide('prompts.txt', '--precision', 'int8', '--exhaustive', '3')).toMatch(/Put f32 among/);
  await rm(at('one.txt'));
});
