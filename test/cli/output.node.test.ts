import { existsSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkOutputs } from '../../src/cli/output.ts';
import { newResults } from '../../src/cli/results-file.ts';

let folder: string;
const at = (name: string) => join(folder, name);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'preimage-'));
  await writeFile(at('states'), 'states');
  await symlink('states', at('alias'));
});
afterAll(() => rm(folder, { recursive: true }));

test('new files in a folder that is there may be written, old ones by force', async () => {
  await checkOutputs([at('new'), at('other')], [at('states')], undefined);
  await checkOutputs([at('states')], [], true);
  await expect(checkOutputs([at('states')], [], undefined)).rejects.toThrow(/exists.*--force/);
});

describe('refused before any work is done, by force too', () => {
  test.each<[string, string[], string[], RegExp]>([
    ['the input', ['states'], ['states'], /states is given twice/],
    ['the input by another name', ['alias'], ['states'], /alias is given twice/],
    ['one new file for two outputs', ['new', './x/../new'], [], /given twice/],
    ['a file in no folder', ['nowhere/new'], [], /nowhere\/new could not be written: no such file or directory/],
    ['a file below a file', ['states/new'], [], /states\/new could not be written: not a directory/],
    ['a folder', ['.'], [], /not a plain file/],
  ])('%s', async (_, outputs, inputs, message) => {
    const checked = checkOutputs(
      outputs.map((name) => `${folder}/${name}`),
      inputs.map(at),
      true,
    );
    await expect(checked).rejects.toThrow(message);
  });

  // Root may write everywhere.
  test.skipIf(process.getuid?.() === 0)('a file in a folder that may not be written', async () => {
    await expect(checkOutputs(['/etc/preimage'], [], true)).rejects.toThrow(/could not be written.*permission/);
  });
});

test.runIf(existsSync('/dev/full'))('results on a full disk are an error with its cure', async () => {
  const results = newResults('/dev/full');
  await expect(results.append({ text: 'lost' })).rejects.toThrow(/no space left on device. Free space/);
  await results.close();
});
