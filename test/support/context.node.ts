import { createNodeContext } from '../../src/gpu/context.node.ts';
import { folderSource } from '../../src/io/folder.node.ts';
import type { Source } from '../../src/io/source.ts';

/** A context on the adapter the tests are pinned to. */
export const testContext = () => createNodeContext();

/** A folder of the checkout, by its path from the root. */
export const checkoutSource = (path: string): Source =>
  folderSource(new URL(`../../${path}`, import.meta.url).pathname);
