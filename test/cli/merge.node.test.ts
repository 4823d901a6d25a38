import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mergeCollisions } from '../../src/cli/collide-merge.ts';
import { mergeInversions } from '../../src/cli/invert-merge.ts';
import type { MergeOptions } from '../../src/cli/merge-command.ts';
import { InputError } from '../../src/errors.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { fixture } from '../support/fixtures.node.ts';
import { buildCommandLine, type CommandLine, expectationsOf, jsonLines } from './support.node.ts';

const VOCABULARY = 97;
const MODEL = ['--model', 'model'];

let cli: CommandLine;
const at = (name: string) => join(cli.folder, name);
const { ok, refused } = expectationsOf(() => cli);
const text = (name: string) => readFile(at(name), 'utf8');

/** A tiny model whose tokens are the words w0 to w96. */
async function writeModel(): Promise<void> {
  await mkdir(at('model'));
  for (const file of ['config.json', 'model.safetensors']) {
    await copyFile(join(fixture('gpt2-tanh')!, file), at(`model/${file}`));
  }
  const vocab = Object.fromEntries(Array.from({ length: VOCABULARY }, (_, id) => [`w${id}`, id]));
  const model = { type: 'WordLevel', vocab, unk_token: 'w0' };
  const steps = { normalizer: null, pre_tokenizer: { type: 'Whitespace' }, post_processor: null, decoder: null };
  await writeFile(at('model/tokenizer.json'), JSON.stringify({ model, ...steps }));
}

/** Writes random prompts of 2 to 6 tokens, one on each line. */
async function writePrompts(name: string, seed: number, prompts: number): Promise<void> {
  const { next } = seededRandom(seed);
  const word = () => `w${Math.floor(next() * VOCABULARY)}`;
  const lines = Array.from({ length: prompts }, (_, i) => Array.from({ length: 2 + (i % 5) }, word).join(' '));
  await writeFile(at(name), `${lines.join('\n')}\n`);
}

/** What merging files in the folder of the tests is refused with. */
async function refusal(
  merge: (paths: string[], options: MergeOptions) => Promise<number>,
  ...names: readonly string[]
): Promise<string> {
  const error = await merge(names.map(at), {}).catch((error: unknown) => error);
  expect(error).toBeInstanceOf(InputError);
  return (error as InputError).message.replaceAll(`${cli.folder}/`, '');
}

beforeAll(async () => {
  cli = await buildCommandLine();
  await writeModel();
});
afterAll(() => cli?.remove());

describe('the shards of a test of injectivity', () => {
  // Prompts are compared in groups of 64 or so: two groups are three tiles, one for each shard.
  const PROMPTS = 70;
  const parts = ['part0.json', 'part1.json', 'part2.json'];
  // Some pairs are nearer than this: the negative result, and its causes, must come together, too.
  const BELOW = '2.5';
  const collide = async (output: string, ...more: string[]) => {
    const of = ['prompts.txt', '--layers', '1,2', '--below', BELOW, ...MODEL];
    const { code, stderr } = await cli.run(['collide', ...of, '-o', output, '--quiet', ...more]);
    expect(stderr).toBe('');
    return code;
  };

  beforeAll(async () => {
    await writePrompts('prompts.txt', 1, PROMPTS);
    await writeFile(at('prompts.txt'), `\nw1 w2\n${await text('prompts.txt')}w1 w2\n`);
    for (const [i, part] of parts.entries()) await collide(part, '--shard', `${i}/3`);
    expect(await collide('single.json')).toBe(1);
  });

  test('together are the one run, byte for byte, in whatever order', async () => {
    const { code, stdout } = await cli.run(['collide', 'merge', ...parts.toReversed(), '-o', 'all.json']);
    expect(code).toBe(1);
    expect(await text('all.json')).toBe(await text('single.json'));
    expect(stdout).toMatch(/^ +layer +minimum .*\n +1 +\d.*\n +2 +\d/);
    expect(stdout).toContain('71 distinct prompts (1 duplicate, 1 skipped), 4,970 pairs');
    expect(await refused('collide', 'merge', ...parts, '-o', 'all.json')).toMatch(/all.json exists.*--force/);
    expect(await refused('collide', 'merge', ...parts, '-o', 'part1.json', '--force')).toMatch(/given twice/);
    const { stdout: json } = await cli.run(['collide', 'merge', ...parts, '--json']);
    const single = JSON.parse(await text('single.json'));
    expect(JSON.parse(json)).toEqual(single);
    expect(single.layers[0].below[BELOW]).toBeGreaterThan(0);
  });

  test('merged, are continued as one run is', async () => {
    await cli.run(['collide', 'merge', ...parts, '-o', 'merged.json', '--quiet']);
    const more = ['--exhaustive', '2'];
    expect(await collide('merged.json', ...more, '--resume')).toBe(1);
    expect(await collide('continued.json', ...more)).toBe(1);
    const whole = await text('continued.json');
    expect(JSON.parse(whole).exhaustive).toHaveLength(4);
    expect(await text('merged.json')).toBe(whole);
  });

  test('a whole result is all there is to merge of it', async () => {
    await cli.run(['collide', 'merge', 'single.json', '-o', 'same.json', '--quiet']);
    expect(await text('same.json')).toBe(await text('single.json'));
  });

  test('are refused when one is missing, twice there, or a whole result', async () => {
    expect(await refusal(mergeCollisions, 'part0.json', 'part2.json')).toMatch(
      /Of 3 shards.* 1.* missing.*every shard/,
    );
    expect(await refusal(mergeCollisions, ...parts, 'part1.json')).toMatch(/part1.json and part1.json are both shard/);
    expect(await refusal(mergeCollisions, ...parts, 'single.json')).toMatch(/single.json is a whole result, no shard/);
  });

  test.each<[string, (part: ReturnType<typeof JSON.parse>) => void, RegExp]>([
    ['model', (part) => Object.assign(part.test, { model: 'ff' }), /bad.json is of another test than part0.json/],
    ['prompts', (part) => Object.assign(part.test, { prompts: 'ff' }), /of another test.*the same model, prompts/],
    ['cut', (part) => Object.assign(part.shard, { count: 4 }), /bad.json is shard 1\/4; part0.json is one of 3/],
    ['bound', ({ layers }) => Object.assign(layers[0], { below: { '0.1': 0 } }), /bad.json was made with --below 0.1/],
    ['lines', (part) => part.duplicates.pop(), /bad.json has other prompts, duplicates or skipped lines/],
    ['sums', ({ layers }) => layers[1].pairs--, /At layer 2 in f32 there are 2,484 pairs.* make 2,485.*same version/],
    ['kind', (part) => Object.assign(part, { layers: [] }), /bad.json is no result .*"layers" is missing.*--resume/],
  ])('are refused when one has the wrong %s', async (_, spoil, message) => {
    const part = JSON.parse(await text('part1.json'));
    spoil(part);
    await writeFile(at('bad.json'), JSON.stringify(part));
    expect(await refusal(mergeCollisions, 'part0.json', 'bad.json', 'part2.json')).toMatch(message);
  });

  test('are refused when a file is anything else', async () => {
    for (const [content, message] of [
      ['', /bad.json is no result of "preimage collide": it is not JSON/],
      [(await text('part1.json')).slice(0, -9), /it is not JSON.*--resume/],
      ['[]', /"prompts" is missing/],
      ['{"prompts":3}', /"duplicates" is missing/],
    ] as const) {
      await writeFile(at('bad.json'), content);
      expect(await refusal(mergeCollisions, 'part0.json', 'bad.json', 'part2.json')).toMatch(message);
    }
  });
});

// That those of real runs are merged, and to what one run gives, is tested with the runs: `invert.node.test.ts`.
describe('the shards of an inversion', () => {
  const RECORDS = 8;
  const parts = ['part0.jsonl', 'part1.jsonl', 'part2.jsonl'];
  const run = { model: 'aa', policy: 'exhaustive' };
  /** A record's line as one run writes it; record 3 is an error. */
  const line = (number: number) => ({
    file: 'states/a.safetensors',
    name: `states.${number}`,
    ...(number === 3 ? { error: { name: 'FormatError' } } : { text: 'ü', tokens: [number, 0.1], exact: true }),
    states: 'bb',
    run,
  });
  const shardLine = (number: number, shards: number, records: number) => ({
    ...line(number),
    number,
    ...(number === records - 1 && { last: true }),
    run: { ...run, shard: `${number % shards}/${shards}`, inputs: 'cc' },
  });
  const numbers = (records: number) => Array.from({ length: records }, (_, number) => number);
  const write = (name: string, lines: readonly object[]) =>
    writeFile(at(name), lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  const writeShards = async (names: readonly string[], shards: number, records: number) => {
    for (const [i, name] of names.entries()) {
      const own = numbers(records).filter((number) => number % shards === i);
      await write(
        name,
        own.map((number) => shardLine(number, shards, records)),
      );
    }
  };

  beforeAll(async () => {
    await writeShards(parts, 3, RECORDS);
    await write('single.jsonl', numbers(RECORDS).map(line));
  });

  test('together are the lines of one run, in its order', async () => {
    const { code, stdout } = await cli.run(['invert', 'merge', ...parts.toReversed(), '-o', 'all.jsonl']);
    expect(code).toBe(2); // as the one run's, for the record that is an error
    expect(stdout).toBe('7 of 8 records exact, 1 could not be inverted, 14 tokens, from 3 files\n');
    expect(await text('all.jsonl')).toBe(await text('single.jsonl'));
    const { stdout: printed } = await cli.run(['invert', 'merge', ...parts, '--json']);
    expect(printed).toBe(await text('single.jsonl'));
    expect(await refused('invert', 'merge', ...parts, '-o', 'all.jsonl')).toMatch(/all.jsonl exists.*--force/);
  });

  test('a shard that holds nothing may be missing or empty', async () => {
    const few = ['few0.jsonl', 'few1.jsonl', 'few2.jsonl', 'few3.jsonl'];
    await writeShards(few, 4, 3);
    expect(await text(few[3])).toBe('');
    expect(await ok('invert', 'merge', ...few.slice(0, 3))).toContain('3 of 3 records exact');
    expect(await mergeInversions(few.map(at), { quiet: true })).toBe(0);
    expect(await refusal(mergeInversions, few[0], few[2], few[3])).toMatch(
      /Of 4 shards these are missing: 1; few3.jsonl is empty/,
    );
    expect(await refusal(mergeInversions, few[3])).toMatch(/few3.jsonl is empty: there are no results/);
    expect(await refusal(mergeInversions, ...parts.slice(0, 2), few[2])).toMatch(/few2.jsonl is shard 2\/4/);
  });

  test('are refused when one is of other files', async () => {
    await writeFile(at('bad.jsonl'), (await text('part2.jsonl')).replaceAll('"cc"', '"ff"'));
    expect(await refusal(mergeInversions, 'part0.jsonl', 'bad.jsonl')).toMatch(
      /bad.jsonl was made with files of names and sizes with digest ff, part0.jsonl with cc\. /,
    );
  });

  test('are refused when one is missing, twice there, or of no shard', async () => {
    expect(await refusal(mergeInversions, 'part0.jsonl')).toMatch(/these are missing: 1, 2\. .*every shard/);
    expect(await refusal(mergeInversions, ...parts, 'part2.jsonl')).toMatch(/part2.jsonl and part2.jsonl are both/);
    expect(await refusal(mergeInversions, ...parts, 'single.jsonl')).toMatch(/single.jsonl is of no shard/);
  });

  test('are refused when one is not finished', async () => {
    // Shard 0 holds records 0, 3, 6; shard 1 holds 1, 4, 7, the last of all; shard 2 holds 2, 5.
    for (const [i, message] of [
      [0, /bad.jsonl, shard 0\/3, ends before record 6.*--resume/],
      [1, /bad.jsonl, shard 1\/3, ends before record 7.*--resume/],
      [2, /bad.jsonl, shard 2\/3, ends before record 5.*--resume/],
    ] as const) {
      const whole = await text(parts[i]);
      const others = parts.filter((_, j) => j !== i);
      await writeFile(at('bad.jsonl'), whole.replace(/[^\n]*\n$/, ''));
      expect(await refusal(mergeInversions, ...others, 'bad.jsonl')).toMatch(message);
      await writeFile(at('bad.jsonl'), whole.slice(0, -5));
      expect(await refusal(mergeInversions, ...others, 'bad.jsonl')).toMatch(/ends in a torn line.*--resume/);
    }
  });

  test.each<[string, (lines: ReturnType<typeof JSON.parse>[]) => void, RegExp]>([
    ['stopped', (lines) => Object.assign(lines[2], { stopped: true }), /Line 3 of bad.jsonl was stopped.*--resume/],
    ['of another option', (lines) => lines.map(({ run }) => Object.assign(run, { prove: true })), /--prove true/],
    ['of two shards', ([, line]) => Object.assign(line.run, { shard: '0/3' }), /Line 2 .* --shard 0\/3, the first/],
    ['without a line', (lines) => lines.splice(1, 1), /Line 2 of bad.jsonl is record 7 .* 1\/3 number 4 .*--force/],
    ['anything else', (lines) => lines.push({ a: 1 }), /Line 4 of bad.jsonl is no result .*wrote with -o/],
  ])('are refused when one is %s', async (_, spoil, message) => {
    const lines = jsonLines(await text('part1.jsonl'));
    spoil(lines);
    await write('bad.jsonl', lines);
    expect(await refusal(mergeInversions, 'part0.jsonl', 'bad.jsonl', 'part2.jsonl')).toMatch(message);
  });
});
