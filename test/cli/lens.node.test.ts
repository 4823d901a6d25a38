import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fileBytes } from '../../src/io/folder.node.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';
import { readLens } from '../../src/lens/file.ts';
import { fixture } from '../support/fixtures.node.ts';
import { buildCommandLine, type CommandLine, expectationsOf, jsonLines, untilInterruptible } from './support.node.ts';

const MODEL = ['--model', fixture('gpt2-tanh')!];
const FITTING = /^Fitting the lens of layer 2, once for this model: about 60 forward passes of 128 tokens \.\.\.\n$/;

let cli: CommandLine;
const at = (name: string) => join(cli.folder, name);
const { ok, refused } = expectationsOf(() => cli);

beforeAll(async () => {
  cli = await buildCommandLine();
  await ok('states', '--ids', '5,17,3,9', '--layer', '2', '-o', 's.safetensors', '--quiet', ...MODEL);
});
afterAll(() => cli?.remove());

describe('lens', () => {
  const cache = () => ({ XDG_CACHE_HOME: at('empty') });
  const invert = () => cli.run(['invert', 's.safetensors', ...MODEL], cache());
  const lensFile = async () => {
    const [digest] = await readdir(at('empty/preimage/lens'));
    return join(at('empty/preimage/lens'), digest, '2.safetensors');
  };

  test('the first inversion fits one and says so, the next finds it', async () => {
    await mkdir(at('empty'));
    const first = await invert();
    expect(first.stderr).toMatch(FITTING);
    expect(first.stdout).toContain('EXACT: 4 tokens');
    const second = await invert();
    expect(second).toMatchObject({ code: 0, stderr: '' });
  });

  test('one that is damaged is fitted again', async () => {
    const whole = await readFile(await lensFile());
    await truncate(await lensFile(), whole.length >> 1);
    const info = await cli.run(['lens', 'info', ...MODEL], cache());
    expect(info.stdout).toMatch(/layer 2 +not fitted yet/);
    const { code, stderr, stdout } = await invert();
    expect(stderr).toMatch(FITTING);
    expect(stdout).toContain('EXACT');
    expect(code).toBe(0);
    expect(await readFile(await lensFile())).toEqual(whole);
  });

  test('fit keeps those of all layers, says where and at what cost, and writes them to a file', async () => {
    const args = ['lens', 'fit', ...MODEL, '-o', 'lenses.safetensors'];
    const { code, stdout, stderr } = await cli.run(args, cache());
    expect(code).toBe(0);
    expect(stderr).toMatch(/^Fitting the lenses of layers 1, 3, once for this model/);
    expect(stdout).toMatch(/\n +1 +0\.\d+ +0\.\d+ +fitted now\n +2 +0\.\d+ +0\.\d+ +in the cache\n +3 /);
    expect(stdout).toMatch(/cost +\d\d\.\d forward passes of 128 tokens, /);
    expect(stdout).toMatch(/kept in +.*empty\/preimage\/lens\/[0-9a-f]{16}\n/);
    const file = await openSafetensors(await fileBytes(at('lenses.safetensors')));
    const model = file.metadata.get('model')!;
    for (const layer of [1, 2, 3]) expect(await readLens(file, { model, layer, width: 24 })).toMatchObject({ layer });
    await file.close();

    const again = JSON.parse((await cli.run(['lens', 'fit', ...MODEL, '--json'], cache())).stdout);
    expect(again).toMatchObject({ digest: model, forwards: 0, layers: [{ layer: 1, from: 'cache' }, {}, {}] });
    expect(again.layers[1].kappa.first).toBeGreaterThan(0);
    const info = await cli.run(['lens', 'info', ...MODEL, '--json'], cache());
    expect(JSON.parse(info.stdout).layers.map(({ from }: { from: string }) => from)).toEqual([
      'cache',
      'cache',
      'cache',
    ]);
  });

  test('the default model brings its own', async () => {
    const { layers } = JSON.parse(await ok('lens', 'info', '--json'));
    expect(layers.map(({ from }: { from: string }) => from)).toEqual(Array(6).fill('model'));
  });

  test('is refused for layers there are not, and over a file that exists', async () => {
    expect(await refused('lens', 'fit', '--layers', '1,4', ...MODEL)).toMatch(/Layer 4 does not exist/);
    expect(await refused('lens', 'fit', '--layers', 'some', ...MODEL)).toMatch(/It must be all, or layers/);
    await writeFile(at('precious'), 'precious');
    expect(await refused('lens', 'fit', '-o', 'precious', ...MODEL)).toMatch(/--force/);
  });

  test('a cache that cannot be written is a warning; the lens is used', async () => {
    const [digest] = await readdir(at('empty/preimage/lens'));
    // A folder where a file should be.
    await mkdir(at(`blocked/preimage/lens/${digest}/2.safetensors.part`), { recursive: true });
    const { code, stderr, stdout } = await cli.run(['invert', 's.safetensors', '--json', ...MODEL], {
      XDG_CACHE_HOME: at('blocked'),
    });
    expect(stderr).toMatch(/^warning: the lens is used, but could not be kept for the next time\. .*lens/);
    expect(JSON.parse(stdout).exact).toBe(true);
    expect(code).toBe(0);
  });

  test.runIf(process.platform === 'linux')('Ctrl-C ends a fit', async () => {
    const { child, result } = cli.start(['lens', 'fit', ...MODEL], { XDG_CACHE_HOME: at('stopped') });
    await untilInterruptible(child);
    child.kill('SIGINT');
    const { code, stderr } = await result;
    expect(code).toBe(130);
    expect(stderr).toMatch(/Stopped before there was anything to show\.\n$/);
    expect(existsSync(at('stopped/preimage/lens'))).toBe(false);
  });
});

describe('sweep', () => {
  const sweep = ['sweep', '--ids', '5,17,3,9,90'];

  test('inverts from every layer: a line of JSON each, with margin and cost', async () => {
    const lines = jsonLines(await ok(...sweep, '--json', ...MODEL));
    expect(lines.map(({ layer }) => layer)).toEqual([1, 2, 3]);
    for (const { tokens, exact, verdict, margin, narrowest, positions, cost } of lines) {
      expect(tokens).toEqual([5, 17, 3, 9, 90]);
      expect({ exact, verdict }).toEqual({ exact: true, verdict: 'exact' });
      const margins = positions.map((position: { margin: number }) => position.margin);
      expect(margin.min).toBe(Math.min(...margins));
      expect(margin.median).toBe(margins.sort((a: number, b: number) => a - b)[2]);
      expect(tokens[narrowest.position]).toBe(narrowest.token);
      expect(cost.forwardEquivalents).toBeGreaterThan(1);
    }
  });

  test('for people, draws the true margins of some layers with their rivals', async () => {
    const shown = await ok(...sweep, '--layers', '3,1', '--prove', '--report', 'sweep.html', ...MODEL);
    expect(shown).toMatch(/\n +3 +EXACT +\d\S+ +\d\S+ +\d+\.\d\d +[\d.]+ s +\d: #\d+, not #\d+\n +1 +EXACT/);
    expect(shown).toMatch(/least margin by layer.*\n\n +3 +█+.*\n +1 +█+/);
    expect(shown).toContain('2 of 2 layers gave back all 5 tokens');
    expect(await readFile(at('sweep.html'), 'utf8')).toContain('2 of 2 layers gave back all 5 tokens');
    expect(shown).not.toContain('≥');
  });

  test('refuses layers there are not, and no prompt', async () => {
    expect(await refused(...sweep, '--layers', '4', ...MODEL)).toMatch(/Layer 4 does not exist/);
    expect(await refused('sweep', ...MODEL)).toMatch(/There is no prompt/);
  });
});
