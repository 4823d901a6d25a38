import { existsSync } from 'node:fs';
import { mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { folderSource } from '../../src/io/folder.node.ts';
import { encodeSafetensors } from '../../src/io/safetensors-writer.ts';
import { openModel } from '../../src/model/load.ts';
import { resolveParameters } from '../../src/model/parameters.ts';
import { loadReferenceModel } from '../../src/model/reference.ts';
import { seededRandom } from '../../src/reference/random.ts';
import { fixture } from '../support/fixtures.node.ts';
import { buildCommandLine, type CommandLine, expectationsOf, jsonLines } from './support.node.ts';

const FIXTURE = fixture('gpt2-tanh')!;
const MODEL = ['--model', FIXTURE];
const LAYER = 2;
const WIDTH = 24;
const VOCABULARY = 97;

let cli: CommandLine;
const at = (name: string) => join(cli.folder, name);
const { ok, refused } = expectationsOf(() => cli);

/** The prompts of a file, by record. */
type Prompts = readonly (readonly number[])[];

/** Random prompts of the lengths given. */
function prompts(seed: number, lengths: readonly number[]): Prompts {
  const { next } = seededRandom(seed);
  return lengths.map((length) => Array.from({ length }, () => Math.floor(next() * VOCABULARY)));
}

/** States of prompts by the float64 twin, as other software would write them. */
async function statesWriter() {
  const { config, checkpoint } = await openModel(folderSource(FIXTURE));
  const names = resolveParameters(config, checkpoint);
  const twin = await loadReferenceModel(config, (name) => checkpoint.float32(names.get(name)!));
  await checkpoint.close();
  return (path: string, records: Prompts, spoil?: (record: number, values: Float32Array) => void) => {
    const tensors = records.map((ids, i) => {
      const data = Float32Array.from(twin.residualStates(ids)[LAYER]);
      spoil?.(i, data);
      return { name: `states.${i}`, dtype: 'F32', shape: [ids.length, WIDTH], data } as const;
    });
    return writeFile(at(path), encodeSafetensors(tensors, { layer: String(LAYER) }));
  };
}

let write: Awaited<ReturnType<typeof statesWriter>>;

/** A line of results without what differs from run to run. */
const steady = ({ file, name, tokens, exact, error }: Record<string, unknown>) => ({
  file,
  name,
  tokens,
  exact,
  error,
});
const results = async (path: string) => jsonLines(await readFile(at(path), 'utf8'));

const FOLDER: Readonly<Record<string, Prompts>> = {
  '2.safetensors': prompts(2, [1, 7, 40]),
  '10.safetensors': prompts(10, [3]),
  'b.safetensors': prompts(11, [13, 2, 2, 31]),
};
const ALL = Object.values(FOLDER).flat();

beforeAll(async () => {
  cli = await buildCommandLine();
  write = await statesWriter();
  await mkdir(at('folder'));
  for (const [name, records] of Object.entries(FOLDER)) await write(`folder/${name}`, records);
  await writeFile(at('folder/notes.txt'), 'no states');
  await ok('lens', 'fit', '--layers', `${LAYER}`, ...MODEL, '--quiet');
});
afterAll(() => cli?.remove());

describe('a folder of records of odd lengths', () => {
  test('each comes back, in the order of the files by number, then of the records', async () => {
    const shown = await ok('invert', 'folder', '-o', 'folder.jsonl', '--report', 'folder.html', ...MODEL);
    expect(shown).toContain('8 of 8 records exact, 99 tokens at ');
    expect(shown).toMatch(/\n2:states.1 +EXACT +7\/7 +1\.\d\d /);
    const lines = await results('folder.jsonl');
    expect(lines.map(({ tokens }) => tokens)).toEqual(ALL);
    expect(lines[3]).toMatchObject({ file: 'folder/10.safetensors', name: 'states.0', exact: true, layer: LAYER });
    expect(lines[3]).toMatchObject({ scope: 'calibrated', noise: 0, policy: 'speculative', length: 3 });
    expect(lines[3].positions[2]).toMatchObject({ verdict: 'accepted', candidates: expect.any(Number) });
    expect(lines[3].positions[2].margin).toBeGreaterThan(lines[3].positions[2].radius);
    expect(lines[3].cost.forwardEquivalents).toBeLessThan(3);
    const page = await readFile(at('folder.html'), 'utf8');
    expect(page).toMatch(/^<!doctype html>.*8 of 8 records exact/is);
    expect(page).toContain('preimage invert folder -o folder.jsonl --report folder.html');
  });

  test('a report of a run that went on holds what was done before, too', async () => {
    const [first, second] = (await readFile(at('folder.jsonl'), 'utf8')).split('\n');
    await writeFile(at('half.jsonl'), `${first}\n${second}\n`);
    const args = ['-o', 'half.jsonl', '--resume', '--report', 'half.html', '--quiet'];
    await ok('invert', 'folder', ...args, ...MODEL);
    expect(await readFile(at('half.html'), 'utf8')).toContain('8 of 8 records exact');
  });

  test('shards share them out, and together are the whole', async () => {
    // To resume what has not begun is to begin.
    const shard = (i: number) => ['-o', `shard.${i}.jsonl`, '--shard', `${i}/3`, '--resume', '--quiet'];
    await Promise.all([0, 1, 2].map((i) => ok('invert', 'folder', ...shard(i), ...MODEL)));
    const shards = await Promise.all([0, 1, 2].map((i) => results(`shard.${i}.jsonl`)));
    const whole = ALL.map((_, i) => shards[i % 3][Math.floor(i / 3)]);
    const single = await results('folder.jsonl');
    expect(whole.map(steady)).toEqual(single.map(steady));
    const merged = await ok('invert', 'merge', 'shard.2.jsonl', 'shard.0.jsonl', 'shard.1.jsonl', '-o', 'merged.jsonl');
    expect(merged).toBe('8 of 8 records exact, 99 tokens, from 3 files\n');
    // Line by line what one run wrote, but for the time it took.
    const timeless = ({ cost, ...line }: Record<string, object>) => ({ ...line, cost: { ...cost, seconds: 0 } });
    expect((await results('merged.jsonl')).map(timeless)).toEqual(single.map(timeless));
  });

  test('a shard is gone on with by the same shard of the same files only', async () => {
    const shard = (folder: string, i: number) =>
      refused('invert', folder, '-o', 'shard.0.jsonl', '--shard', `${i}/3`, '--resume', ...MODEL);
    expect(await shard('folder', 1)).toMatch(/shard.0.jsonl was begun with --shard 0\/3; this run has 1\/3/);
    expect(await shard('folder/2.safetensors', 0)).toMatch(
      /files of names and sizes with digest \w+; this run has \w+/,
    );
  });

  test('one that is damaged, of another width or unreadable is reported in its place, the others go on', async () => {
    await mkdir(at('mixed'));
    await write('mixed/a.safetensors', prompts(1, [4, 5, 6]), (record, values) => {
      if (record === 1) values[3 * WIDTH] = Number.NaN;
    });
    await writeFile(at('mixed/b.safetensors'), 'no safetensors');
    const long = { name: 'states.0', dtype: 'F32', shape: [41, WIDTH], data: new Float32Array(41 * WIDTH) } as const;
    const short = { ...long, name: 'states.1', shape: [1, WIDTH], data: new Float32Array(WIDTH) };
    await writeFile(at('mixed/c.safetensors'), encodeSafetensors([long, short], { layer: '2' }));
    const { code, stdout, stderr } = await cli.run(['invert', 'mixed', '-o', 'mixed.jsonl', ...MODEL]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/error: a:states.1: .*NaN at position 3, dimension 0/);
    expect(stderr).toMatch(/error: b: mixed\/b.safetensors: .*safetensors file/);
    expect(stderr).toMatch(/error: c:states.0: .*holds 41 positions; the model has 1 to 40/);
    expect(stdout).toContain('2 of 6 records exact');
    expect(stdout).toContain('3 records could not be inverted');
    const lines = await results('mixed.jsonl');
    expect(lines.map(({ error, exact }) => error?.name ?? exact)).toEqual([
      true,
      'InputError',
      true,
      'FormatError',
      'InputError',
      false,
    ]);
  });

  test('where nothing fits, the summary says what was tried', async () => {
    const { code, stdout } = await cli.run(['invert', 'folder', '--layer', '3', ...MODEL]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/\n10 +(NOT FOUND|AMBIGUOUS) +0\/3/);
    expect(stdout).toMatch(/Nothing fits\. Tried: layer 3 of .*gpt2-tanh\. .*--model.*--layer/s);
  });
});

describe('a run that was interrupted', () => {
  const many = prompts(20, [...Array.from({ length: 400 }, (_, i) => 1 + (i % 9)), 40]);
  const args = () => ['invert', 'many.safetensors', ...MODEL];
  beforeAll(async () => {
    await write('many.safetensors', many);
    await ok(...args(), '-o', 'unbroken.jsonl', '--quiet');
  });

  const MARK = '\nstates.10 ';
  /** Starts a run, and sends a signal when the first lines are out. */
  async function interrupted(output: string, signal: NodeJS.Signals) {
    const { child, result } = cli.start([...args(), '-o', output]);
    let shown = '';
    child.stdout!.on('data', (chunk) => {
      const before = shown;
      shown += chunk;
      if (!before.includes(MARK) && shown.includes(MARK)) child.kill(signal);
    });
    return result;
  }
  async function expectUnbroken(output: string) {
    expect((await results(output)).map(steady)).toEqual((await results('unbroken.jsonl')).map(steady));
  }

  test('by kill -9 in the middle, goes on as if nothing had been', async () => {
    await interrupted('killed.jsonl', 'SIGKILL');
    const before = (await readFile(at('killed.jsonl'), 'utf8')).split('\n').length - 1;
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(many.length);
    const shown = await ok(...args(), '-o', 'killed.jsonl', '--resume');
    expect(shown).toContain(`${many.length} of ${many.length} records exact`);
    await expectUnbroken('killed.jsonl');
  });

  test('with a torn last line, goes on from the line before, and says so', async () => {
    const whole = await readFile(at('unbroken.jsonl'));
    await writeFile(at('torn.jsonl'), whole);
    await truncate(at('torn.jsonl'), whole.length - 100);
    const { code, stderr } = await cli.run([...args(), '-o', 'torn.jsonl', '--resume', '--quiet']);
    expect(stderr).toBe('torn.jsonl ended in a torn line, which is left out and done again.\n');
    expect(code).toBe(0);
    await expectUnbroken('torn.jsonl');
  });

  test('by Ctrl-C, keeps what is recovered and says how to go on', async () => {
    const { code, stdout, stderr } = await interrupted('stopped.jsonl', 'SIGINT');
    expect(code).toBe(130);
    expect(stdout).toMatch(/Stopped after \d+ of 401\./);
    expect(stderr).toContain('What is done is in stopped.jsonl; the same command with --resume goes on from there.');
    expect((await results('stopped.jsonl')).length).toBeLessThan(many.length);
    await cli.run([...args(), '-o', 'stopped.jsonl', '--resume', '--quiet']);
    await expectUnbroken('stopped.jsonl');
  });

  test('that is done already needs nothing', async () => {
    expect(await ok(...args(), '-o', 'unbroken.jsonl', '--resume')).toContain('401 of 401 records exact');
    await expectUnbroken('unbroken.jsonl');
  });

  test('is not gone on with by another model, other options or other states', async () => {
    const resume = [...args(), '-o', 'unbroken.jsonl', '--resume'];
    const before = await readFile(at('unbroken.jsonl'));
    for (const [message, ...more] of [
      [
        /begun with the model with digest \w+; this run has \w+\. Resume with the same/,
        '--model',
        fixture('gpt2-massive')!,
      ],
      [/begun with --policy speculative; this run has random/, '--policy', 'random'],
      [/begun with noise none; this run has \{gaussian:0.01\}/, '--noise', '0.01'],
      [/begun with --prove none; this run has true/, '--prove'],
      [/begun with --layer none; this run has 2/, '--layer', '2'],
      [/begun with --shard none; this run has 0\/2/, '--shard', '0/2'],
    ] as const) {
      expect(await refused(...resume, ...more)).toMatch(message);
    }
    await write('elsewhere.safetensors', many);
    expect(await refused('invert', 'elsewhere.safetensors', '-o', 'unbroken.jsonl', '--resume', ...MODEL)).toMatch(
      /the record in its place is states.0 of elsewhere.safetensors/,
    );
    expect(await readFile(at('unbroken.jsonl'))).toEqual(before);
    await write('many.safetensors', many, (record, values) => {
      if (record === 7) values[0] += 1;
    });
    expect(await refused(...resume)).toMatch(/Line 8 of unbroken.jsonl is states.7 of .*, whose states have changed/);
    await writeFile(at('other.jsonl'), '{"a":1}\n');
    expect(await refused(...args(), '-o', 'other.jsonl', '--resume')).toMatch(
      /Line 1 of other.jsonl is no result of "preimage invert"/,
    );
    expect(await readFile(at('other.jsonl'), 'utf8')).toBe('{"a":1}\n');
  });
});

describe('invert refuses', () => {
  test('options that make no sense, or contradict each other', async () => {
    const one = ['invert', 'folder/10.safetensors', ...MODEL];
    for (const [message, ...more] of [
      [/It must be i\/n/, '--shard', '3/3'],
      [/It must be i\/n/, '--shard', '-1/3'],
      [/It must be i\/n/, '--shard', '1/0'],
      [/It must be i\/n/, '--shard', 'half'],
      [/It must be a share of the RMS/, '--noise', '-0.1'],
      [/It must be a share of the RMS/, '--noise', 'some'],
      [/Allowed choices are bf16, f16/, '--dtype-noise', 'f32'],
      [/There are --noise and --dtype-noise/, '--noise', '0.1', '--dtype-noise', 'bf16'],
      [/There is nothing to resume.*-o/, '--resume'],
      [/There are --resume and --force/, '--resume', '--force', '-o', 'x.jsonl'],
    ] as const) {
      expect(await refused(...one, ...more)).toMatch(message);
    }
    expect(existsSync(at('x.jsonl'))).toBe(false);
  });

  test('a folder without states, and inputs that are not there', async () => {
    await mkdir(at('empty'), { recursive: true });
    expect(await refused('invert', 'empty', ...MODEL)).toMatch(/empty holds no .safetensors files/);
    expect(await refused('invert', 'folder', 'nowhere', ...MODEL)).toMatch(/nowhere could not be opened: no such file/);
  });
});

describe('what is known of the noise', () => {
  test('is allowed for, and told', async () => {
    const { normal } = seededRandom(4);
    await write('noisy.safetensors', prompts(5, [20]), (_, values) => {
      const rms = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
      normal(values.length, 0.01 * rms).forEach((noise, i) => {
        values[i] += noise;
      });
    });
    const shown = await ok('invert', 'noisy.safetensors', '--noise', '0.01', '-o', 'noisy.jsonl', ...MODEL);
    expect(shown).toContain('EXACT: 20 tokens');
    expect(shown).toContain('Noise of 1 % of the RMS is allowed for.');
    expect((await results('noisy.jsonl'))[0]).toMatchObject({ exact: true, noise: 0.01 });
  });

  test('a proof tries the whole vocabulary at every position', async () => {
    const shown = await ok('invert', 'folder/10.safetensors', '--prove', '-o', 'proof.jsonl', ...MODEL);
    expect(shown).toContain('no other token of the vocabulary fits');
    expect(shown).not.toContain('≥');
    const [{ scope, positions }] = await results('proof.jsonl');
    expect(scope).toBe('vocabulary');
    for (const { candidates, runnerUp, distance, margin } of positions) {
      expect(candidates).toBe(VOCABULARY);
      expect(margin).toBeCloseTo(runnerUp.distance - distance, 5);
    }
  });

  test('a published policy does without a lens', async () => {
    const [{ tokens, ...line }] = jsonLines(
      await ok('invert', 'folder/10.safetensors', '--layer', '2', '--policy', 'gradient', '--json', ...MODEL),
    );
    expect(tokens).toEqual(FOLDER['10.safetensors'][0]);
    expect(line).toMatchObject({ name: 'states.0', policy: 'gradient', exact: true, scope: 'evaluated' });
    const run = { model: expect.stringMatching(/^[0-9a-f]{16}$/), policy: 'gradient', layer: 2 };
    expect(line).toMatchObject({ run, states: expect.stringMatching(/^[0-9a-f]{16}$/) });
  });
});
