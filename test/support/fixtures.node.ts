import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import type { Checkpoint } from '../../src/io/checkpoint.ts';
import { fileBytes } from '../../src/io/folder.node.ts';
import { openSafetensors } from '../../src/io/safetensors.ts';

const DATA = new URL('../data/', import.meta.url);
const SHARED = new URL('../../../shared/', import.meta.url);

/** The folder of the default model. */
export const DEFAULT_MODEL = fileURLToPath(new URL('../../weights', import.meta.url));

/** The folder of a fixture by its name (`gpt2-tanh`): kept in `test/data`, else among the shared ones; undefined when absent. */
export function fixture(name: string): string | undefined {
  return existing(new URL(name, DATA)) ?? shared(`fixtures/${name}`);
}

/** A path under the shared material beside the checkout (`data/models/llm-viz-sort`); undefined when absent. */
export function shared(path: string): string | undefined {
  return existing(new URL(path, SHARED));
}

function existing(url: URL): string | undefined {
  const path = fileURLToPath(url);
  return existsSync(path) ? path : undefined;
}

/** One safetensors file, closed when the test ends. */
export async function openFile(folder: string, file: string): Promise<Checkpoint> {
  const checkpoint = await openSafetensors(await fileBytes(join(folder, file)));
  onTestFinished(() => checkpoint.close());
  return checkpoint;
}
