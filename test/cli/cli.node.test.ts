import { closeSync, existsSync, openSync } from 'node:fs';
import { readFile, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fileBytes } from '../../src/io/folder.node.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { encodeSafetensors } from '../../src/io/safetensors-writer.ts';
import { fixture } from '../support/fixtures.node.ts';
import { buildCommandLine, type CommandLine, expectationsOf, jsonLines, untilInterruptible } from './support.node.ts';

const TEXT = '"Yes," said he.';
const WIDTH = 192;
/** At layer 0 the cheapest policy: it compiles no block. */
const EXHAUSTIVE = ['--policy', 'exhaustive'];

let cli: CommandLine;

beforeAll(async () => {
  cli = await buildCommandLine();
});
afterAll(() => cli?.remove());

const at = (name: string) => join(cli.folder, name);

const { ok, refused } = expectationsOf(() => cli);

async function writeStates(name: string, values: Float32Array, width: number, metadata?: Record<string, string>) {
  const shape = [values.length / width, width];
  await writeFile(at(name), encodeSafetensors([{ name: 'hidden', dtype: 'F32', shape, data: values }], metadata));
}

describe('help and usage', () => {
  test('--help names every command', async () => {
    const help = await ok('--help');
    const commands = ['demo', 'info', 'selftest', 'generate', 'states', 'invert', 'sweep', 'probe', 'certify', 'lens'];
    for (const command of [...commands, 'train']) expect(help).toContain(command);
  });

  test('--version is that of the package', async () => {
    const manifest = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8'));
    expect(await ok('--version')).toBe(`${manifest.version}\n`);
  });

  test('an unknown command or option, or a missing argument, is bad input', async () => {
    expect(await refused('invret', 'x')).toContain("unknown command 'invret'");
    expect(await refused('info', '--frobnicate')).toContain("unknown option '--frobnicate'");
    expect(await refused('states', 'x')).toContain("'-o, --output <file>' not specified");
    expect(await refused('invert', 's', '--policy', 'best')).toContain('speculative, likely-first, random, gradient');
  });

  test('a usage error with --json leaves JSON on standard output', async () => {
    const { code, stdout } = await cli.run(['invert', '--json']);
    expect(code).toBe(2);
    expect(JSON.parse(stdout).error.name).toBe('UsageError');
  });
});

test('info describes adapter and model', async () => {
  const info = JSON.parse(await ok('info', '--json'));
  expect(info.adapter).toMatchObject({ kind: expect.any(String), name: expect.any(String) });
  expect(info.adapter.limits.maxStorageBufferBindingSize).toBeGreaterThan(0);
  expect(info.model).toMatchObject({ family: 'gpt2', layers: 6, width: WIDTH, vocabulary: 4096, parameters: 3505152 });
  expect(info.model.digest).toMatch(/^[0-9a-f]{16}$/);
});

test('generate writes the text as it comes, and tells tokens and time as JSON', async () => {
  const [quiet, json] = await Promise.all([
    ok('generate', TEXT, '--max-tokens', '4', '--quiet'),
    ok('generate', TEXT, '--max-tokens', '4', '--json'),
  ]);
  const result = JSON.parse(json);
  expect(result).toMatchObject({ prompt: TEXT, text: expect.any(String), seconds: expect.any(Number) });
  expect(result.tokens).toHaveLength(4);
  expect(quiet).toBe(`${result.text}\n`);
});

// Side by side: each spends most of its time compiling kernels on one core.
describe.concurrent('states and invert', () => {
  test.each([
    ['1', 'f32'],
    ['3', 'bf16'],
  ])('a text comes back from layer %s in %s', async (layer, dtype) => {
    const file = at(`round-${layer}-${dtype}.safetensors`);
    const written = JSON.parse(await ok('states', TEXT, '--layer', layer, '--dtype', dtype, '-o', file, '--json'));
    const result = JSON.parse(await ok('invert', file, '--json'));
    expect(written).toMatchObject({ layer: Number(layer), dtype, records: 1, positions: result.tokens.length });
    expect(result).toMatchObject({ text: TEXT, exact: true, layer: Number(layer), scope: 'calibrated' });
    expect(result).toMatchObject({ name: 'states', policy: 'speculative', length: result.positions.length });
    // Half precision counts as a model run in it.
    expect(result.noise > 0).toBe(dtype === 'bf16');
    for (const position of result.positions) {
      expect(position).toMatchObject({ verdict: 'accepted', text: expect.any(String), radius: expect.any(Number) });
      expect(position.distance).toBeLessThanOrEqual(position.radius);
      expect(position.margin).toBeGreaterThan(position.radius);
    }
    expect(result.cost).toEqual({
      forwardEquivalents: expect.any(Number),
      scoring: expect.any(Number),
      candidates: expect.any(Number),
      seconds: expect.any(Number),
    });
  });

  test('for people, invert shows each token, the verdict and the cost', async () => {
    expect(await ok('states', TEXT, '-o', at('people.safetensors'))).toContain('layer 6, the last');
    const shown = await ok('invert', at('people.safetensors'), '-o', at('people.jsonl'));
    expect(shown).toContain('"·said"');
    expect(shown).toContain(`\n  ${TEXT}\n`);
    expect(shown).toContain('EXACT: 6 tokens');
    expect(shown).toMatch(/cost: 1\.\d\d forward passes of the prompt, \d+ rows evaluated/);
    expect(jsonLines(await readFile(at('people.jsonl'), 'utf8'))).toMatchObject([
      { text: TEXT, exact: true, layer: 6 },
    ]);
  });

  test('the states file holds no token ids; the answer has a file of its own', async () => {
    await ok('states', TEXT, '--layer', '0', '-o', at('plain.safetensors'), '--answer', at('plain.json'), '--quiet');
    const file = await openSafetensors(await fileBytes(at('plain.safetensors')));
    await file.close();
    expect([...file.tensors.keys()]).toEqual(['states']);
    expect([...file.metadata.keys()].sort()).toEqual(['layer', 'model']);
    const answer = JSON.parse(await readFile(at('plain.json'), 'utf8'));
    expect(answer.text).toBe(TEXT);
    expect(file.tensors.get('states')!.shape).toEqual([answer.tokens.length, WIDTH]);
  });

  test('a file of prompts becomes many records, each with its result', async () => {
    await writeFile(at('prompts.txt'), 'Call me.\n\n  \nI was late.\n');
    const said = await ok('states', '--prompts', at('prompts.txt'), '--layer', '0', '-o', at('many.safetensors'));
    expect(said).toContain('2 records');
    expect(said).toContain('2 blank lines');
    const shown = await ok('invert', at('many.safetensors'), ...EXHAUSTIVE, '-o', at('many.jsonl'));
    expect(shown).toContain('2 of 2 records exact');
    const results = jsonLines(await readFile(at('many.jsonl'), 'utf8'));
    expect(results.map(({ text }) => text)).toEqual(['Call me.', 'I was late.']);
  });

  test('a prompt that is too long is named by its line', async () => {
    await writeFile(at('long.txt'), `Call me.\n${'word '.repeat(300)}\n`);
    const message = await refused('states', '--prompts', at('long.txt'), '-o', at('long.safetensors'));
    expect(message).toContain('long.txt, line 2: The prompt has');
    expect(existsSync(at('long.safetensors'))).toBe(false);
  });

  test('without a tokenizer, token ids go in and come out', async () => {
    const model = ['--model', fixture('gpt2-tanh')!];
    expect(await refused('states', 'text', '-o', at('ids.safetensors'), ...model)).toContain('--ids 5,17,3');
    await ok('states', '--ids', '5,17,3', '--layer', '0', '-o', at('ids.safetensors'), '--quiet', ...model);
    const result = JSON.parse(await ok('invert', at('ids.safetensors'), ...EXHAUSTIVE, '--json', ...model));
    expect(result).toMatchObject({ tokens: [5, 17, 3], exact: true, scope: 'vocabulary' });
    expect(result).not.toHaveProperty('text');
  });

  test('states that no token explains are a negative result that says what to check', async () => {
    await writeStates('noise.safetensors', new Float32Array(2 * WIDTH).fill(0.5), WIDTH);
    const { code, stdout } = await cli.run(['invert', at('noise.safetensors'), '--layer', '1']);
    expect(code).toBe(1);
    expect(stdout).toMatch(/(NOT FOUND|AMBIGUOUS) at positions 0, 1/);
    expect(stdout).toMatch(/Are the states of this model .*, of layer 1 \(--layer\)/);
  });

  test('states of another model are tried, with a warning', async () => {
    await writeStates('other.safetensors', new Float32Array(WIDTH), WIDTH, { layer: '1', model: '\x1b[2J0123' });
    const { code, stdout, stderr } = await cli.run(['invert', at('other.safetensors'), '--json']);
    expect(stderr).toContain('warning: the states come from a model with digest \\x1b[2J0123');
    expect(JSON.parse(stdout).exact).toBe(false);
    expect(code).toBe(1);
  });
});

describe('a file with a bad record, a good one and a mask', () => {
  const model = ['--model', fixture('gpt2-tanh')!];
  beforeAll(async () => {
    const tensor = (name: string, width: number, value: number) => {
      return { name, dtype: 'F32', shape: [1, width], data: new Float32Array(width).fill(value) } as const;
    };
    const tensors = [tensor('states.0', 24, Number.NaN), tensor('states.1', 24, 0), tensor('mask\x1b[2J', 3, 1)];
    await writeFile(at('mixed.safetensors'), encodeSafetensors(tensors, { layer: '1' }));
  });

  test('the good one is inverted, and each of the others is told', async () => {
    const { code, stdout, stderr } = await cli.run(['invert', at('mixed.safetensors'), '--json', ...model]);
    const [bad, good] = jsonLines(stdout);
    expect(bad).toMatchObject({ name: 'states.0', error: { message: expect.stringContaining('states.0 holds NaN') } });
    expect(good).toMatchObject({ name: 'states.1', exact: false, layer: 1, length: 1 });
    expect(stderr).toContain('warning: tensor mask\\x1b[2J is skipped');
    expect(code).toBe(2);
  });

  test('all results are saved, though nobody reads the output', async () => {
    const { child, result } = cli.start(['invert', at('mixed.safetensors'), '-o', at('mixed.jsonl'), ...model]);
    child.stdout!.destroy();
    expect((await result).code).toBe(2);
    expect(jsonLines(await readFile(at('mixed.jsonl'), 'utf8'))).toHaveLength(2);
  });
});

describe('bad input is refused with its cure', () => {
  test('states of another width, with NaN, of a layer there is not, or without a layer', async () => {
    await writeStates('narrow.safetensors', new Float32Array(4 * 64), 64, { layer: '1' });
    expect(await refused('invert', at('narrow.safetensors'))).toContain('rows of 64');
    const values = new Float32Array(4 * WIDTH);
    values[2 * WIDTH + 7] = Number.NaN;
    await writeStates('nan.safetensors', values, WIDTH, { layer: '1' });
    expect(await refused('invert', at('nan.safetensors'))).toContain('NaN at position 2, dimension 7');
    expect(await refused('invert', at('nan.safetensors'), '--layer', '9')).toContain('Layer 9 does not exist');
    await writeStates('bare.safetensors', new Float32Array(WIDTH), WIDTH);
    expect(await refused('invert', at('bare.safetensors'))).toContain('Pass --layer N');
  });

  test('a file that is missing or truncated', async () => {
    expect(await refused('invert', at('missing.safetensors'))).toContain('no such file');
    await writeStates('short.safetensors', new Float32Array(4 * WIDTH), WIDTH, { layer: '1' });
    await truncate(at('short.safetensors'), 500);
    expect(await refused('invert', at('short.safetensors'))).toMatch(/^error: .*short\.safetensors/);
  });

  test('as JSON on standard output, when asked', async () => {
    const { code, stdout } = await cli.run(['invert', at('missing.safetensors'), '--json']);
    expect(code).toBe(2);
    const { error } = JSON.parse(stdout);
    expect(error).toEqual({ name: 'SourceError', message: expect.any(String), cure: expect.any(String) });
    expect(error.message).not.toContain(error.cure);
  });

  test('a prompt that is empty, given twice or not at all, and a layer there is not', async () => {
    const output = ['-o', at('never.safetensors')];
    expect(await refused('states', '', ...output)).toContain('The prompt is empty');
    expect(await refused('states', TEXT, '--ids', '1', ...output)).toContain('two prompts');
    expect(await refused('states', TEXT, '--layer', '7', ...output)).toContain('Layer 7 does not exist');
    expect(await refused('generate')).toContain('There is no prompt');
    expect(existsSync(at('never.safetensors'))).toBe(false);
  });

  test('an output that exists, unless --force is given', async () => {
    await writeFile(at('precious'), 'precious');
    expect(await refused('states', TEXT, '-o', at('precious'))).toContain('--force');
    expect(await readFile(at('precious'), 'utf8')).toBe('precious');
    await ok('states', TEXT, '--layer', '0', '-o', at('precious'), '--force', '--quiet');
    expect(await refused('states', TEXT, '-o', at('free'), '--answer', at('precious'))).toContain('--force');
    expect(existsSync(at('free'))).toBe(false);
    expect(await refused('invert', at('precious'), '-o', at('precious'), '--force')).toContain('given twice');
  });

  test('a model that cannot be found, and a file in place of one', async () => {
    expect(await refused('info', '--model', './nowhere')).toContain('./nowhere could not be opened');
    expect(await refused('info', '--model', at('precious'))).toContain('is a file, not a model');
    expect(await refused('info', '--model', 'no//where')).toContain("'no//where' is not a hub id");
    expect(await refused('info', '--revision', 'v1')).toContain('no revision v1');
  });

  test('a hub id that the hub does not know', async () => {
    const server = createServer((_request, response) => {
      response.writeHead(404, { 'x-error-code': 'RepoNotFound' }).end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const env = { HF_ENDPOINT: `http://127.0.0.1:${port}`, XDG_CACHE_HOME: at('cache') };
    const { code, stderr } = await cli.run(['info', '--model', 'nobody/nothing'], env);
    server.close();
    expect(stderr).toContain('nobody/nothing/resolve/main/config.json: RepoNotFound');
    expect(stderr).toContain('nobody/nothing is taken for a hub id: there is no folder');
    expect(code).toBe(2);
  });

  test('an adapter that there is not', async () => {
    // The model, which every command takes, is of no account to this one.
    const message = await refused('selftest', '--model', 'nobody/nothing', '--adapter', 'voodoo');
    expect(message).toContain("No WebGPU adapter for 'voodoo'");
  });
});

test('Ctrl-C ends an exhaustive inversion with what is recovered so far', async () => {
  await ok('states', TEXT.repeat(10), '--layer', '1', '-o', at('stop.safetensors'), '--quiet');
  const options = [...EXHAUSTIVE, '--batch', '256', '-o', at('stop.jsonl')];
  const { child, result } = cli.start(['invert', at('stop.safetensors'), ...options]);
  let interrupted = 0;
  child.stdout!.on('data', (chunk) => {
    if (interrupted > 0 || !String(chunk).includes('✓   0')) return;
    interrupted = performance.now();
    child.kill('SIGINT');
  });
  const { code, stdout } = await result;
  expect(code).toBe(130);
  expect(performance.now() - interrupted).toBeLessThan(5000);
  expect(stdout).toMatch(/STOPPED after \d+ of \d+ positions/);
  expect(stdout).toMatch(/\n {2}"\S*\n/);
  expect(JSON.parse(await readFile(at('stop.jsonl'), 'utf8')).tokens.length).toBeGreaterThan(0);
});

test.runIf(process.platform === 'linux')('a stop by the system says that no states were written', async () => {
  await writeFile(at('endless.txt'), `${TEXT}\n`.repeat(2000));
  const { child, result } = cli.start(['states', '--prompts', at('endless.txt'), '-o', at('endless.safetensors')]);
  await untilInterruptible(child);
  child.kill('SIGTERM');
  const { code, stderr } = await result;
  expect(stderr).toMatch(/Stopped after [\d,]+ of 2,000 prompts; nothing was written\./);
  expect(code).toBe(143);
  expect(existsSync(at('endless.safetensors'))).toBe(false);
});

test.runIf(existsSync('/dev/full'))('output that cannot be written is an error', async () => {
  const full = openSync('/dev/full', 'w');
  const { code, stderr } = await cli.start(['info'], {}, full).result;
  closeSync(full);
  expect(stderr).toBe(
    'error: standard output could not be written: no space left on device. ' +
      'Free space on the disk, or choose another folder.\n',
  );
  expect(code).toBe(2);
});

test('a reader that closes the pipe early is no error', async () => {
  const { child, result } = cli.start(['info']);
  child.stdout!.destroy();
  const { code, stderr } = await result;
  expect(stderr).toBe('');
  expect(code).toBe(0);
});

test('the demo recovers a sentence of your own', async () => {
  const shown = await ok('demo', TEXT, '--layer', '1');
  expect(shown).toContain(`\n  ${TEXT}\n`);
  expect(shown).toContain('This is the sentence that went in, character for character.');
});
