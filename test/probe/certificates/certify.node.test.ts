import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { addCertify } from '../../../src/cli/certify.ts';
import { fail } from '../../../src/cli/failure.ts';
import { folderSource } from '../../../src/io/folder.node.ts';
import { openModel } from '../../../src/model/load.ts';
import { regionFor } from '../../../src/probe/certificates/check.ts';
import { ellipsoid } from '../../../src/probe/certificates/ellipsoid.ts';
import { modelParameters } from '../../../src/probe/certificates/model-parts.ts';
import { certificateJson } from '../../../src/probe/certificates/read.ts';
import { certify } from '../../../src/probe/certificates/separation.ts';
import { fixture } from '../../support/fixtures.node.ts';

const MODEL = fixture('gpt2-tanh')!;
let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'preimage-certify-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs `preimage certify` in this process. */
async function run(...args: string[]): Promise<{ code: unknown; out: string; err: string }> {
  const written = { out: '', err: '' };
  const spies = (['out', 'err'] as const).map((name) =>
    vi.spyOn(process[`std${name}`], 'write').mockImplementation((text) => {
      written[name] += text;
      return true;
    }),
  );
  const before = process.exitCode;
  try {
    const program = new Command('preimage').exitOverride();
    addCertify(program);
    process.exitCode = undefined;
    await program.parseAsync(['certify', ...args], { from: 'user' });
  } catch (error) {
    process.exitCode = fail(error, args.includes('--json'));
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
  const code = process.exitCode;
  process.exitCode = before;
  return { code, ...written };
}

async function file(name: string, text: string): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, text);
  return path;
}

describe('preimage certify', () => {
  const own = () => certify(ellipsoid({ weight: [1, 1, 1], bias: [0, 0, 0] }), [3, 0, 0])!;

  test('proves what holds, with the numbers', async () => {
    const { code, out } = await run(await file('own.json', certificateJson(own())));
    expect(code).toBe(0);
    expect(out).toMatch(/^PROVED {2}\(ellipsoid\)\n/);
    expect(out).toContain('No input gives the target, 3 numbers');
    expect(out).toMatch(/ value +\d/);
    expect(out).toMatch(/ bound +\d/);
  });

  test('about a model opens it, needs no adapter, and prints JSON', async () => {
    const files = await openModel(folderSource(MODEL));
    const model = modelParameters(files);
    const subject = { model: await files.digest(), part: 'h.1.attn', prefix: [5, 17] };
    const region = await regionFor('hull', subject, model);
    const target = Float64Array.from({ length: region.width }, (_, i) => 1000 * Math.cos(i * i));
    const path = await file('model.json', certificateJson(certify(region, target)!));
    await files.checkpoint.close();
    const { code, out } = await run(path, '--model', MODEL, '--json', '--adapter', 'no such adapter');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ holds: true, kind: 'hull', numbers: { margin: expect.any(Number) } });

    const wrong = await run(path, '--model', fixture('gpt2-relu-untied')!);
    expect(wrong).toMatchObject({ code: 2, out: '' });
    expect(wrong.err).toContain('--model');
  });

  test('exits with 1 and the reason when it does not hold', async () => {
    const path = await file('tampered.json', certificateJson({ ...own(), target: [3, 1, 0] }));
    const { code, out } = await run(path);
    expect(code).toBe(1);
    expect(out).toMatch(/^DOES NOT HOLD/);
    expect(out).toContain('The certificate states value = ');
    expect(out).toContain('It claims: No input');
    expect(JSON.parse((await run(path, '--json')).out)).toMatchObject({ holds: false, reason: expect.any(String) });
  });

  test.each([
    ['not JSON', 'hello', 'not valid JSON'],
    ['the same key twice', '{"kind":"hull","kind":"cone"}', 'occurs twice'],
    ['something else', '{"kind":"\\u001b[2Jx"}', '"kind" must be one of'],
    ['an empty file', '', 'not valid JSON'],
  ])('exits with 2 for %s', async (name, text, message) => {
    const { code, err, out } = await run(await file(`${name}.json`, text));
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain(message);
  });

  test('exits with 2 for a file that is not there, in JSON too', async () => {
    const { code, out } = await run(join(folder, 'none.json'), '--json');
    expect(code).toBe(2);
    expect(JSON.parse(out).error.name).toBe('SourceError');
  });
});
