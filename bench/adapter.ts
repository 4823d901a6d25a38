import { cpus } from 'node:os';
import type { Context } from '../src/gpu/context.ts';

/** Where a benchmark ran, for its table. */
export function describeRun(context: Context): string {
  const { name, kind, reason } = context.adapter;
  const cpu = `${cpus().length} x ${cpus()[0]?.model ?? 'unknown CPU'}`;
  return `${new Date().toISOString().slice(0, 10)}, ${name} (${kind}; ${reason}), ${cpu}, Node ${process.versions.node}`;
}

/** The best of several timed repeats, in milliseconds: the least disturbed one. */
export async function bestOf(repeats: number, work: () => Promise<void>): Promise<number> {
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < repeats; i++) {
    const start = performance.now();
    await work();
    best = Math.min(best, performance.now() - start);
  }
  return best;
}

/** A table in Markdown. */
export function table(header: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`;
  return [line(header), line(header.map(() => '---')), ...rows.map(line)].join('\n');
}
