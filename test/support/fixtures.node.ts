import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

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
