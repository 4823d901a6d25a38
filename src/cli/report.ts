import { cpus } from 'node:os';
import { writeFileAtomic } from '../io/folder.node.ts';
import type { LoadedModel } from '../model/load.ts';
import { inversionReport, type NamedInversion, type ReportRun, sweepReport } from '../sipit/report.ts';
import type { Inversion } from '../sipit/types.ts';
import { packageVersion } from './package.ts';

/** Writes the page of `invert --report`. @throws SourceError */
export async function writeReport(path: string, results: readonly NamedInversion[], model: LoadedModel): Promise<void> {
  await writePage(path, inversionReport(results, await runOf(model)));
}

/** Writes the page of `sweep --report`. @throws SourceError */
export async function writeSweepReport(
  path: string,
  layers: readonly { readonly inversion: Inversion }[],
  model: LoadedModel,
): Promise<void> {
  const inversions = layers.map(({ inversion }) => inversion);
  await writePage(path, sweepReport(inversions, await runOf(model)));
}

/** Writes a page. @throws SourceError */
export const writePage = (path: string, html: string): Promise<void> =>
  writeFileAtomic(path, new TextEncoder().encode(html));

/** How a page came about: this command, now. */
export async function runOf({ name, tokenizer, context, digest }: LoadedModel): Promise<ReportRun> {
  const [processor] = cpus();
  return {
    command: ['preimage', ...process.argv.slice(2)].map(shellWord).join(' '),
    model: name,
    digest: await digest(),
    adapter: context.adapter.name,
    ...(processor && { machine: `${cpus().length} x ${processor.model.trim()}, ${process.platform} ${process.arch}` }),
    date: new Date(),
    version: packageVersion(),
    token: tokenizer && ((id) => tokenizer.token(id)),
  };
}

/** A word as a shell takes it. */
const shellWord = (word: string): string =>
  /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
