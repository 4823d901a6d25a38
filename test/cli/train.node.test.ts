import { once } from 'node:events';
import { copyFile, mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { encodeSafetensors } from '../../src/io/safetensors-writer.ts';
import { parseConfig } from '../../src/model/config.ts';
import { initialCheckpoint } from '../../src/model/initial.ts';
import { DEFAULT_MODEL } from '../support/fixtures.node.ts';
import { buildCommandLine, type CommandLine, expectationsOf, jsonLines } from './support.node.ts';

const CONFIG = { model_type: 'gpt2', vocab_size: 256, n_positions: 16, n_embd: 16, n_layer: 1, n_head: 2 };
/** A small model of bytes. */
const SMALL = ['--config', 'config.json', '--tokenizer', 'bytes', '--batch', '4', '--seed', '3'];

let cli: CommandLine;
const at = (name: string) => join(cli.folder, name);

beforeAll(async () => {
  cli = await buildCommandLine();
  await writeFile(at('config.json'), JSON.stringify(CONFIG));
  await writeFile(at('text.txt'), 'the cat sat on the mat, and the rat sat on the cat. '.repeat(40));
});
afterAll(() => cli?.remove());

const { ok, refused } = expectationsOf(() => cli);

const report = async (run: string) => JSON.parse(await readFile(at(`${run}/training.json`), 'utf8'));

describe('train', () => {
  test('makes a model that the other commands take, and says how good it is', async () => {
    const out = await ok('train', 'text.txt', ...SMALL, '--out', 'run', '--steps', '60', '--learning-rate', '0.01');
    const [, heldOut, unigram] =
      /held-out loss ([\d.]+) nats a token, perplexity [\d.]+ \(token frequencies alone: ([\d.]+)\)/.exec(out)!;
    expect(Number(heldOut)).toBeLessThan(Number(unigram));
    expect(out).toMatch(/60 steps, 3,840 tokens in .* tokens\/s/);
    expect(await ok('generate', 'the ', '--model', 'run', '--max-tokens', '5', '--quiet')).toMatch(/^.{5}\n$/);
    const { step, corpus, losses, evaluations } = await report('run');
    expect(step).toBe(60);
    expect(losses).toHaveLength(60);
    expect(corpus.name).toBe(at('text.txt'));
    expect(evaluations.map((evaluation: { step: number }) => evaluation.step)).toEqual([
      0, 6, 12, 18, 24, 30, 36, 42, 48, 54, 60,
    ]);
    expect(await readFile(at('run/loss.svg'), 'utf8')).toMatch(/^<svg/);
  });

  test('prints a line of JSON for each step and evaluation, and one at the end', async () => {
    const lines = jsonLines(await ok('train', 'text.txt', ...SMALL, '--out', 'json', '--steps', '4', '--json'));
    const types = lines.map(({ type }) => type);
    expect(types.filter((type) => type === 'step')).toHaveLength(4);
    expect(types.filter((type) => type === 'evaluation')).toHaveLength(5);
    expect(lines.at(-1)).toMatchObject({ type: 'done', out: 'json', step: 4, steps: 4, tokens: 256 });
    expect(lines.at(-1).heldOutLoss).toBeGreaterThan(1);
    expect(lines.at(-1).unigramLoss).toBeGreaterThan(1);
  });

  test('takes as many steps as fit into a time', async () => {
    const args = ['--out', 'timed', '--minutes', '0.1', '--json'];
    const lines = jsonLines(await ok('train', 'text.txt', ...SMALL, ...args));
    const { step, steps, seconds } = lines.at(-1);
    expect(step).toBe(steps);
    expect(step).toBeGreaterThanOrEqual(1);
    expect(seconds).toBeLessThan(60);
  });

  test('goes on after Ctrl-C as if nothing had been', async () => {
    const options = [...SMALL, '--steps', '120', '--evaluate-every', '50', '--json'];
    await ok('train', 'text.txt', ...options, '--out', 'unbroken');
    const { child, result } = cli.start(['train', 'text.txt', ...options, '--out', 'broken']);
    for (let seen = ''; !seen.includes('"step":7,'); ) seen += (await once(child.stdout!, 'data'))[0];
    child.kill('SIGINT');
    const { code, stderr } = await result;
    expect(code).toBe(130);
    expect(stderr).toMatch(/Stopped after step \d+ of 120. To go on:\n +preimage train --resume --out broken/);
    const broken = await report('broken');
    expect(broken.step).toBeLessThan(120);
    expect(broken.step).toBeGreaterThanOrEqual(7);
    const lines = jsonLines(await ok('train', '--resume', '--out', 'broken', '--json'));
    expect(lines[0]).toMatchObject({ type: 'step', step: broken.step + 1, steps: 120 });
    const [resumed, unbroken] = [await report('broken'), await report('unbroken')];
    expect(resumed.losses).toEqual(unbroken.losses);
    expect(resumed.evaluations).toEqual(unbroken.evaluations);
    expect(await readFile(at('broken/model.safetensors'))).toEqual(await readFile(at('unbroken/model.safetensors')));
  });

  test('begins with the weights of a model, and its tokenizer', async () => {
    const args = ['--init', 'run', '--steps', '2', '--batch', '4', '--out', 'more', '--json'];
    const [first] = jsonLines(await ok('train', 'text.txt', ...args));
    expect(first).toMatchObject({ type: 'evaluation', step: 0 });
    expect(first.loss).toBeCloseTo((await report('run')).evaluations.at(-1).loss, 4);
    expect(await readFile(at('more/tokenizer.json'))).toEqual(await readFile(at('run/tokenizer.json')));
  });

  test('stops at numbers that are none, with exit code 1, and keeps nothing spoilt', async () => {
    await mkdir(at('spoilt'));
    await copyFile(at('config.json'), at('spoilt/config.json'));
    await copyFile(at('run/tokenizer.json'), at('spoilt/tokenizer.json'));
    const fresh = initialCheckpoint(parseConfig(CONFIG, 'config.json'), 1);
    const tensors = await Promise.all(
      [...fresh.tensors].map(async ([name, { shape }]) => {
        const data = await fresh.float32(name);
        if (name.endsWith('wte.weight')) data.fill(Number.NaN);
        return { name, dtype: 'F32' as const, shape, data };
      }),
    );
    await writeFile(at('spoilt/model.safetensors'), encodeSafetensors(tensors));
    const args = ['--init', 'spoilt', '--steps', '9', '--batch', '4', '--out', 'nan'];
    const { code, stderr } = await cli.run(['train', 'text.txt', ...args]);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error: After 0 steps: the held-out loss is not a finite number\./);
    await expect(report('nan')).rejects.toThrow(/ENOENT/);
  });

  test('descends plainly at its own learning rate, whatever a config suggests for AdamW', async () => {
    const args = ['--config', 'tiny', '--tokenizer', 'bytes', '--window', '16', '--optimizer', 'sgd', '--steps', '1'];
    const lines = jsonLines(await ok('train', 'text.txt', ...args, '--out', 'sgd', '--json'));
    expect(lines.find(({ type }) => type === 'step').learningRate).toBe(0.1);
  });

  test('goes on with held-out text that has moved, and over the model it began with', async () => {
    await copyFile(at('text.txt'), at('valid.txt'));
    await ok('train', 'text.txt', ...SMALL, '--out', 'moved', '--steps', '1', '--valid', 'valid.txt', '--quiet');
    await rename(at('valid.txt'), at('elsewhere.txt'));
    const go = ['--resume', '--out', 'moved', '--quiet'];
    expect(await refused('train', ...go)).toMatch(/valid.txt could not be read/);
    await ok('train', ...go, '--steps', '2', '--valid', 'elsewhere.txt');
    await ok('train', ...go, '--steps', '3');
    const over = ['--init', 'moved', '--out', 'moved', '--force', '--steps', '1', '--batch', '4', '--quiet'];
    await ok('train', 'text.txt', ...over);
    expect((await report('moved')).step).toBe(1);
    expect(await refused('train', ...go, '--valid', 'text.txt')).toMatch(/held out the end of its corpus/);
    await writeFile(at('moved/tokenizer_config.json'), '{}');
    expect(await refused('train', ...go)).toMatch(/The tokenizer in moved is not what was trained on/);
  });
});

describe('train refuses', () => {
  const out = ['--out', 'refused'];

  test('a corpus that is missing, no text, or shorter than a batch', async () => {
    expect(await refused('train', ...out)).toMatch(/There is no corpus.*--resume/);
    expect(await refused('train', 'none.txt', ...out)).toMatch(/none.txt could not be read: no such file/);
    await writeFile(at('binary'), Uint8Array.of(0xff, 0xfe, 0, 1));
    expect(await refused('train', 'binary', ...out)).toMatch(/binary is not UTF-8.*--tokenizer bytes/);
    await writeFile(at('short.txt'), 'a cat sat.');
    const short = await refused('train', 'short.txt', ...SMALL, ...out);
    expect(short).toMatch(/has 10 tokens to train on; a batch of 4 windows of 16 takes 65/);
    expect(await refused('train', 'text.txt', ...SMALL, ...out, '--valid', 'short.txt')).toMatch(
      /There are 10 held-out tokens; a window of 16 takes 17/,
    );
  });

  test('a tokenizer and a config that disagree, or are not there', async () => {
    const disagree = await refused('train', 'text.txt', '--config', 'config.json', ...out);
    expect(disagree).toMatch(/The tokenizer .*weights has 4096 tokens; vocab_size = 256 in config.json/);
    const own = join(DEFAULT_MODEL, 'tokenizer.json');
    expect(await refused('train', 'text.txt', '--config', 'config.json', '--tokenizer', own, ...out)).toMatch(
      /tokenizer.json has 4096 tokens/,
    );
    expect(await refused('train', 'text.txt', '--init', 'run', '--tokenizer', own, ...out)).toMatch(/vocab_size = 256/);
    expect(await refused('train', 'text.txt', '--config', 'huge', ...out)).toMatch(
      /There is no config huge\. .*one of tiny, small, gpt2/,
    );
    expect(await refused('train', 'text.txt', '--tokenizer', './none', ...out)).toMatch(/none could not be opened/);
    expect(await refused('train', 'text.txt', '--tokenizer', 'text.txt', ...out)).toMatch(/not valid JSON/);
  });

  test('options that contradict each other or make no sense', async () => {
    for (const [message, ...args] of [
      [/There are --steps and --minutes/, '--steps', '5', '--minutes', '1'],
      [/There are --config and --init/, '--config', 'tiny', '--init', 'run'],
      [/--checkpoint-every is 0 minutes/, '--checkpoint-every', '0'],
      [/There are 0 minutes/, '--minutes', '0'],
      [/sgd has no weight decay/, '--optimizer', 'sgd', '--weight-decay', '0.1'],
      [/Windows of 17 tokens do not fit/, ...SMALL, '--window', '17'],
      [/9 windows cannot be cut into 2/, ...SMALL, '--batch', '9', '--accumulate', '2'],
      [/learning rate is -1/, ...SMALL, '--learning-rate', '-1'],
    ] as const) {
      expect(await refused('train', 'text.txt', ...out, ...args)).toMatch(message);
    }
  });

  test('a folder that holds something, unless told to', async () => {
    expect(await refused('train', 'text.txt', ...SMALL, '--out', 'json')).toMatch(
      /json exists and is not empty\. .*--resume.*--force/,
    );
    expect(await refused('train', 'text.txt', ...SMALL, '--out', 'text.txt')).toMatch(/text.txt .*not a directory/);
    await ok('train', 'text.txt', ...SMALL, '--out', 'json', '--steps', '2', '--force');
    expect((await report('json')).step).toBe(2);
  });

  test('to go on where there is nothing to go on from, or with something else', async () => {
    expect(await refused('train', '--resume', '--out', 'none')).toMatch(/none holds no training.safetensors/);
    expect(await refused('train', '--resume', '--out', 'run', '--batch', '8')).toMatch(
      /--batch is given with --resume/,
    );
    expect(await refused('train', '--resume', '--out', 'run', '--steps', '5')).toMatch(/has taken 60 steps already/);
    await writeFile(at('other.txt'), 'another text '.repeat(200));
    expect(await refused('train', 'other.txt', '--resume', '--out', 'run')).toMatch(
      /other.txt is not what was trained on: its SHA-256 is/,
    );
    await writeFile(at('more/config.json'), JSON.stringify({ ...CONFIG, n_head: 4 }));
    expect(await refused('train', '--resume', '--out', 'more')).toMatch(
      /more\/config.json is not the config that was trained/,
    );
    await writeFile(at('timed/training.safetensors'), encodeSafetensors([]));
    expect(await refused('train', '--resume', '--out', 'timed')).toMatch(/is no state of training/);
  });
});
