import type { Command } from 'commander';
import { fileBytes } from '../io/folder.node.ts';
import { parseJson } from '../io/json.ts';
import { checkCertificate, type Verdict } from '../probe/certificates/check.ts';
import { modelParameters } from '../probe/certificates/model-parts.ts';
import { readCertificate } from '../probe/certificates/read.ts';
import { type SharedOptions, sharedOptions } from './options.ts';
import { EXIT, withFiles } from './session.ts';
import { columns, paint, print, printJson } from './terminal.ts';
import { printable, wrap } from './text.ts';

/** Adds `preimage certify`. */
export function addCertify(program: Command): void {
  sharedOptions(
    program
      .command('certify <file>')
      .description('check a certificate that a vector or a token cannot be reached, without the solver'),
  )
    .addHelpText('after', EXAMPLES)
    .action(async (file: string, options: SharedOptions) => {
      process.exitCode = await certify(file, options);
    });
}

const EXAMPLES = `
The file is JSON, as "preimage probe" writes it. It is checked in float64 on the CPU:
no search, no adapter. Exits with 0 when it holds, 1 when it does not.

Examples:
  preimage certify unreachable.json
  preimage certify unreachable.json --model openai-community/gpt2 --json`;

async function certify(file: string, options: SharedOptions): Promise<number> {
  const json = await readFile(file);
  const ownsMatrices = 'block' in readCertificate(json).subject;
  const verdict = ownsMatrices
    ? await checkCertificate(json)
    : await withFiles(options, (files) => checkCertificate(json, modelParameters(files)));
  if (options.json) printJson({ file, ...verdict });
  else show(verdict, options.quiet ?? false);
  return verdict.holds ? EXIT.done : EXIT.negative;
}

async function readFile(path: string): Promise<unknown> {
  const source = await fileBytes(path);
  try {
    return parseJson(path, await source.read(0, source.sizeBytes));
  } finally {
    await source.close();
  }
}

function show({ holds, kind, claim, reason, numbers }: Verdict, quiet: boolean): void {
  const verdict = holds ? paint('green', 'PROVED') : paint('red', 'DOES NOT HOLD');
  print(`${verdict}${quiet ? '' : `  (${kind})`}`);
  if (quiet) return;
  if (reason) print(wrap(printable(reason), columns(), '  '));
  print();
  print(wrap(printable(holds ? claim : `It claims: ${claim}`), columns(), '  '));
  print();
  for (const [name, value] of Object.entries(numbers)) {
    print(`  ${paint('dim', name.padEnd(12))}${Number(value.toPrecision(7))}`);
  }
}
